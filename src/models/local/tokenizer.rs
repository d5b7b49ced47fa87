//! From texts to tokens, as the tokenizer of a model's own library does it.
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Tokenizer};

use super::config::TextConfig;
use super::folder::ModelFolder;
use super::text::Tokens;
use crate::error::{Error, Result};

/// The tokenizer of a model.
#[derive(Debug)]
pub(super) struct TextTokenizer {
    tokenizer: Tokenizer,
    max_tokens: usize,
    /// How many of them are special.
    special: usize,
    /// What texts are filled up with to the most tokens, if they are.
    padding: Option<u32>,
    lowercase: bool,
    direction: TruncationDirection,
}

/// What is put before texts.
#[derive(Debug)]
pub(super) struct Prompt<'p> {
    text: &'p str,
    /// With the special ones before it.
    tokens: usize,
}

/// A text as tokens, which can be none.
#[derive(Debug)]
pub(super) struct Tokenized {
    pub(super) tokens: Tokens,
    /// Whether the text has more tokens than the model reads.
    pub(super) is_cut: bool,
    /// The tokens that the text has, special ones included.
    pub(super) length: usize,
}

impl TextTokenizer {
    /// Reads the tokenizer of a model.
    pub(super) fn load(folder: &ModelFolder, config: &TextConfig) -> Result<Self> {
        let failed =
            |error| Error::Query(format!("cannot use tokenizer.json of model '{}': {error}", folder.name()));
        let mut tokenizer = Tokenizer::from_bytes(folder.read("tokenizer.json")?).map_err(failed)?;
        let own_padding = tokenizer.get_padding().map(|padding| padding.pad_id);
        // the file may ask for lengths: the model's own are kept here
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        if let Some(NormalizerWrapper::BertNormalizer(letters)) = tokenizer.get_normalizer() {
            let (mut letters, wanted) = (*letters, &config.bert);
            letters.lowercase = wanted.do_lower_case.unwrap_or(letters.lowercase);
            letters.handle_chinese_chars =
                wanted.tokenize_chinese_chars.unwrap_or(letters.handle_chinese_chars);
            letters.strip_accents = wanted.strip_accents.or(letters.strip_accents);
            tokenizer.with_normalizer(Some(letters)).map_err(failed)?;
        }
        if !config.special_tokens {
            tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        }
        let special = tokenizer.get_post_processor().map_or(0, |added| added.added_tokens(false));
        if config.max_tokens <= special {
            return Err(failed(
                format!("it adds {special} tokens to a text, which can have {}", config.max_tokens).into(),
            ));
        }
        let padding = config.pads_to_length.then(|| {
            let named = config.padding.as_ref().and_then(|token| tokenizer.token_to_id(token));
            named.or(own_padding).unwrap_or(config.pad_token)
        });
        let direction = if config.keeps_end { TruncationDirection::Left } else { TruncationDirection::Right };
        let (max_tokens, lowercase) = (config.max_tokens, config.lowercase);
        Ok(Self { tokenizer, max_tokens, special, padding, lowercase, direction })
    }

    /// The most tokens of a text, special ones included.
    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// What is put before texts; one special token is taken to be behind a text, as in sentence-transformers.
    pub(super) fn prompt<'p>(&self, text: &'p str) -> Result<Prompt<'p>> {
        if text.is_empty() {
            return Ok(Prompt { text, tokens: 0 });
        }
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| failed(&*error))?;
        Ok(Prompt { text, tokens: encoding.len() - self.special.min(1) })
    }

    /// The tokens of a text behind its prompt, cut at the most that the model reads.
    pub(super) fn encode(&self, prompt: &Prompt<'_>, text: &str) -> Result<Tokenized> {
        let text = format!("{}{text}", prompt.text);
        let text = if self.lowercase { text.to_lowercase() } else { text };
        let mut encoding = self.tokenizer.encode_fast(text, false).map_err(|error| failed(&*error))?;
        let (length, room) = (encoding.len() + self.special, self.max_tokens - self.special);
        encoding.truncate(room, 0, self.direction);
        // what was cut would be given special tokens too
        encoding.take_overflowing();
        let encoding = self.tokenizer.post_process(encoding, None, true).map_err(|error| failed(&*error))?;
        let tokens = self.tokens(&encoding, prompt.tokens);
        Ok(Tokenized { tokens, is_cut: length > self.max_tokens, length })
    }

    fn tokens(&self, encoding: &Encoding, prompted: usize) -> Tokens {
        let (mut ids, mut types) = (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec());
        if let Some(padding) = self.padding.filter(|_| !ids.is_empty()) {
            ids.resize(self.max_tokens, padding);
            types.resize(self.max_tokens, 0);
        }
        Tokens::new(ids, types, prompted)
    }

    /// The parts of a text that, behind the prompt, have no more tokens than the model reads, with their lengths in
    /// tokens. Together they are the text; words are cut only where they fill half a part.
    pub(super) fn windows<'t>(&self, prompt: &Prompt<'_>, text: &'t str) -> Result<Vec<(&'t str, usize)>> {
        let room = (self.max_tokens - self.special).saturating_sub(prompt.tokens).max(1);
        let encoding = self.tokenizer.encode(text, false).map_err(|error| failed(&*error))?;
        let (offsets, words, count) = (encoding.get_offsets(), encoding.get_word_ids(), encoding.len());
        let mut windows = vec![];
        let (mut first, mut from) = (0, 0);
        while first < count {
            let mut next = (first + room).min(count);
            let whole = |next: &usize| *next == count || words[*next] != words[*next - 1];
            next = (first + room / 2 + 1..=next).rev().find(whole).unwrap_or(next);
            // the offset of a token can be inside of a character
            let to = if next == count { text.len() } else { offsets[next].0.max(from) };
            let to = (to..=text.len()).find(|to| text.is_char_boundary(*to)).unwrap_or(text.len());
            windows.push((&text[from..to], next - first));
            (first, from) = (next, to);
        }
        Ok(windows)
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::Data(format!("cannot tokenize a text: {error}"))
}
