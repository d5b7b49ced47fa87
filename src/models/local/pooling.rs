//! From the vectors of tokens to the vector of a text.
use serde::Deserialize;

use super::folder::ModelFolder;
use crate::error::{Result, query_err};

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean; padding does not count.
    Mean,
    /// The vector of the first token.
    FirstToken,
}

/// `1_Pooling/config.json` of sentence-transformers.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own layout")]
struct PoolingConfig {
    pooling_mode_mean_tokens: bool,
    pooling_mode_cls_token: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

impl Pooling {
    /// From `config.json` in the folder of the pooling module.
    pub(super) fn read(folder: &ModelFolder, module: &str) -> Result<Self> {
        let file = format!("{module}/config.json");
        let Some(config) = folder.read_json::<PoolingConfig>(&file)? else {
            return query_err!("model '{}' has no file {file}", folder.name());
        };
        let others = config.pooling_mode_max_tokens
            || config.pooling_mode_mean_sqrt_len_tokens
            || config.pooling_mode_weightedmean_tokens
            || config.pooling_mode_lasttoken;
        match (config.pooling_mode_mean_tokens, config.pooling_mode_cls_token, others) {
            (true, false, false) => Ok(Self::Mean),
            (false, true, false) => Ok(Self::FirstToken),
            _ => query_err!(
                "model '{}' pools otherwise than by mean or by the first token ({file})",
                folder.name()
            ),
        }
    }

    /// The vector of a text, written to `text`.
    ///
    /// `tokens` holds one vector of `text.len()` numbers for each of its tokens, padding left out.
    pub(super) fn pool(self, tokens: &[f32], text: &mut [f32]) {
        let vectors = tokens.chunks_exact(text.len());
        match self {
            Self::FirstToken => text.copy_from_slice(&tokens[..text.len()]),
            Self::Mean => {
                #[expect(clippy::cast_precision_loss, reason = "a text has far fewer tokens than 2^24")]
                let count = vectors.len() as f32;
                text.fill(0.0);
                for vector in vectors {
                    text.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
                }
                for sum in text.iter_mut() {
                    *sum /= count;
                }
            }
        }
    }
}

/// Scales a vector to length 1; one of zeros stays as it is.
pub(super) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            #[expect(clippy::cast_possible_truncation, reason = "the result is f32")]
            {
                *value = (f64::from(*value) / length) as f32;
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "small numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn by_definition() {
        let tokens = [1.0, 2.0, 5.0, 8.0];
        let mut text = [0.0; 2];
        Pooling::Mean.pool(&tokens, &mut text);
        assert_eq!(text, [3.0, 5.0]);
        Pooling::FirstToken.pool(&tokens, &mut text);
        assert_eq!(text, [1.0, 2.0]);
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zeros = [0.0; 2];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 2]);
    }
}
