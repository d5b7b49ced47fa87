//! Texts with more tokens than a model reads.
use super::text::Tokens;
use super::tokenizer::TextTokenizer;
use crate::error::{Error, Result};
use crate::models::LongText;

/// What the model is run for: a text, or a window of it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) tokens: Tokens,
    /// Whether there is more of it that nobody reads.
    pub(super) is_cut: bool,
    /// Its share of the text's vector.
    pub(super) weight: usize,
}

/// The parts of each text, one unless it is too long and windows are averaged; or why it cannot be embedded.
pub(super) fn parts(
    tokenizer: &TextTokenizer,
    prompt: &str,
    texts: &[String],
    long_text: LongText,
) -> Result<Vec<Result<Vec<Part>>>> {
    let prompt = tokenizer.prompt(prompt)?;
    let of_text = |text: &String| {
        let whole = tokenizer.encode(&prompt, text)?;
        let part = |encoded: super::tokenizer::Tokenized, weight| Part {
            tokens: encoded.tokens,
            is_cut: encoded.is_cut,
            weight,
        };
        match long_text {
            LongText::Raise if whole.is_cut => Ok(Err(Error::Data(format!(
                "a text has {} tokens, the model reads {}: SET semantic.providers.transformers.long_text = 'truncate' or \
                 'average' embeds such texts",
                whole.length,
                tokenizer.max_tokens()
            )))),
            LongText::Average if whole.is_cut => {
                let windows = tokenizer.windows(&prompt, text)?.into_iter().map(|(window, tokens)| {
                    let encoded = tokenizer.encode(&prompt, window)?;
                    // a window that is cut elsewhere than the text's tokens are may have one more of them
                    Ok(Part { is_cut: false, ..part(encoded, tokens) })
                });
                windows.collect::<Result<_>>().map(Ok)
            }
            _ => Ok(Ok(vec![part(whole, 1)])),
        }
    };
    texts.iter().map(of_text).collect()
}

/// The mean of the vectors of a text's windows by their lengths, with length 1: what a long text is to providers on the
/// network too.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "vectors are 32-bit floats")]
pub(super) fn average<'v>(
    vectors: impl Iterator<Item = &'v [f32]>,
    weights: &[usize],
    dimensions: usize,
) -> Vec<f32> {
    let mut sum = vec![0.0_f64; dimensions];
    for (vector, weight) in vectors.zip(weights) {
        for (sum, value) in sum.iter_mut().zip(vector) {
            *sum += f64::from(*value) * *weight as f64;
        }
    }
    let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    sum.into_iter().map(|value| (value / length) as f32).collect()
}
