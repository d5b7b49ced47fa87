//! How many tokens a text may have, for a provider whose tokenizer is not here.

/// What a byte may be of a token, in twelfths: tokenizers put about four letters of a word into one, a few digits or
/// marks, and one to three for the two to four bytes of any other character.
const fn weight(byte: u8) -> usize {
    match byte {
        b' ' | b'a'..=b'z' | b'A'..=b'Z' => 4,
        128.. => 6,
        _ => 12,
    }
}

const fn tokens(weights: usize) -> usize {
    weights.div_ceil(12) + 1
}

/// The tokens of a text, rather too many than too few: a third more than English prose has.
pub(super) fn estimate(text: &str) -> usize {
    tokens(text.bytes().map(weight).sum())
}

/// What an answer says was read, where about `expected` tokens were sent: at most 16 times as many. More is a mistake of
/// the server, for which nobody waits, and 0 says that nobody counted.
pub(super) fn credible(told: Option<usize>, expected: usize) -> Option<usize> {
    told.filter(|tokens| *tokens > 0).map(|tokens| tokens.min(expected.saturating_mul(16)))
}

/// The parts of a text that have at most `max_tokens` each by [`estimate`], cut behind a space where there is one in
/// the second half of a part. Together they are the text.
pub(super) fn windows(text: &str, max_tokens: usize) -> Vec<&str> {
    let mut windows = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let mut weights = 0;
        let fits = rest.char_indices().find(|(at, character)| {
            weights +=
                rest.as_bytes()[*at..][..character.len_utf8()].iter().copied().map(weight).sum::<usize>();
            *at > 0 && tokens(weights) > max_tokens
        });
        let end = match fits {
            None => rest.len(),
            Some((end, _)) => {
                let space = rest[..end].rfind(char::is_whitespace);
                let behind = |at: usize| at + rest[at..].chars().next().map_or(0, char::len_utf8);
                space.map(behind).filter(|end_of_word| *end_of_word > end / 2).unwrap_or(end)
            }
        };
        let (window, after) = rest.split_at(end);
        windows.push(window);
        rest = after;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_more_than_the_rules_of_thumb() {
        // four letters a token in English prose, one token a digit or mark, 1.5 a character of Chinese or Japanese
        let prose = "Daft is a distributed dataframe library";
        assert!((prose.len() / 4..prose.len()).contains(&estimate(prose)));
        assert_eq!(estimate("3.14159"), 8);
        assert_eq!(estimate("{\"a\":[1]}"), 10);
        assert_eq!(estimate("日本語"), 6);
        assert_eq!(estimate(""), 1);
    }

    #[test]
    fn what_no_server_can_have_read_is_not_believed() {
        for (told, expected) in [
            (None, None),
            (Some(0), None),
            (Some(70), Some(70)),
            (Some(1_000_000_000_000), Some(1600)),
            (Some(usize::MAX), Some(1600)),
        ] {
            assert_eq!(credible(told, 100), expected);
        }
        assert_eq!(credible(Some(usize::MAX), usize::MAX), Some(usize::MAX));
    }

    #[test]
    fn windows_are_the_text_and_fit() {
        let prose = "the quick brown fox jumps over the lazy dog ".repeat(50);
        let japanese = "日本語のテキストを埋め込む".repeat(20);
        let word = "x".repeat(1000);
        for text in [&prose, &japanese, &word] {
            let windows = windows(text, 40);
            assert!(windows.len() > 1);
            assert_eq!(windows.concat(), **text);
            assert!(windows.iter().all(|window| estimate(window) <= 40 && !window.is_empty()));
        }
        assert!(windows(&prose, 40).iter().all(|window| window.ends_with(' ')));
        assert_eq!(windows("short", 40), ["short"]);
        // a character is never cut, however small the limit
        assert_eq!(windows("日本", 1), ["日", "本"]);
    }
}
