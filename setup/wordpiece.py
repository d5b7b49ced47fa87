"""The tokenizer of uncased BERT models, as far as short texts need it.

Follows BasicTokenizer and WordpieceTokenizer of google-research/bert: clean, lower, strip accents, split at
white space and punctuation, then the longest known piece first. The vocabulary is that of tokenizer.json.
"""

import json
import unicodedata


def _is_punctuation(character):
    # BERT counts every ASCII sign that is not a letter or a digit, "$" and "+" too.
    if character < "\x7f":
        return character > " " and not character.isalnum()
    return unicodedata.category(character).startswith("P")


def _is_ideograph(character):
    return "\u4e00" <= character <= "\u9fff" or "\u3400" <= character <= "\u4dbf" or "\uf900" <= character <= "\ufaff"


def words(text):
    """Splits a text into lower-case words and single signs."""
    out = []
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if category == "Mn":
            continue
        if character.isspace():
            out.append(" ")
        elif category.startswith("C") or character == "\ufffd":
            continue
        elif _is_punctuation(character) or _is_ideograph(character):
            out.append(f" {character} ")
        else:
            out.append(character)
    return "".join(out).split()


class WordPiece:
    """Turns a text into token ids, [CLS] and [SEP] included. Texts are not cut."""

    LONGEST_WORD = 100

    def __init__(self, tokenizer_json):
        with open(tokenizer_json, encoding="utf-8") as file:
            self._ids = json.load(file)["model"]["vocab"]

    def encode(self, text):
        ids = [self._ids["[CLS]"]]
        for word in words(text):
            ids.extend(self._pieces(word))
        return ids + [self._ids["[SEP]"]]

    def _pieces(self, word):
        unknown = [self._ids["[UNK]"]]
        if len(word) > self.LONGEST_WORD:
            return unknown
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = self._ids.get(("##" if start else "") + word[start:end])
                if piece is not None:
                    break
            else:
                return unknown
            pieces.append(piece)
            start = end
        return pieces
