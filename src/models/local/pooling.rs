//! From the vectors of tokens to the vector of a text.
//!
//! The definitions are those of the module `Pooling` of sentence-transformers.
use serde::Deserialize;

use super::config::Module;
use super::folder::ModelFolder;
use crate::error::{Result, query_err};

/// How the vectors of a text's tokens become one. Padding never counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The vector of the first token.
    FirstToken,
    /// The largest number of each place.
    Max,
    /// Their mean.
    Mean,
    /// Their sum, divided by the root of their number.
    MeanSqrtLength,
    /// Their mean, weighted by their position, from 1.
    WeightedMean,
    /// The vector of the last token.
    LastToken,
}

/// Several ways give vectors that are put one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pooling {
    modes: Vec<Mode>,
    /// Whether the tokens of a prompt count.
    pub(super) includes_prompt: bool,
}

impl Default for Pooling {
    /// As sentence-transformers pools a plain transformer.
    fn default() -> Self {
        Self { modes: vec![Mode::Mean], includes_prompt: true }
    }
}

/// `1_Pooling/config.json` of sentence-transformers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own layout")]
struct File {
    #[serde(alias = "embedding_dimension")]
    word_embedding_dimension: Option<usize>,
    /// As newer versions write it.
    pooling_mode: Option<Names>,
    pooling_mode_cls_token: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
    include_prompt: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl File {
    /// In the order in which sentence-transformers puts vectors one behind the other; an error is a name that is unknown.
    fn modes(&self) -> Result<Vec<Mode>, &str> {
        let names: Vec<&str> = match &self.pooling_mode {
            None => vec![],
            Some(Names::One(name)) => vec![name],
            Some(Names::Several(names)) => names.iter().map(String::as_str).collect(),
        };
        let all = [
            ("cls", self.pooling_mode_cls_token, Mode::FirstToken),
            ("max", self.pooling_mode_max_tokens, Mode::Max),
            ("mean", self.pooling_mode_mean_tokens, Mode::Mean),
            ("mean_sqrt_len_tokens", self.pooling_mode_mean_sqrt_len_tokens, Mode::MeanSqrtLength),
            ("weightedmean", self.pooling_mode_weightedmean_tokens, Mode::WeightedMean),
            ("lasttoken", self.pooling_mode_lasttoken, Mode::LastToken),
        ];
        if let Some(unknown) = names.iter().find(|name| all.iter().all(|(known, ..)| known != *name)) {
            return Err(unknown);
        }
        let chosen = all.iter().filter(|(name, chosen, _)| *chosen || names.contains(name));
        Ok(chosen.map(|(.., mode)| *mode).collect())
    }
}

impl Pooling {
    /// That of a model's modules, with the numbers of a token's vector where its file says them; `None` where no module
    /// pools.
    pub(super) fn of_modules(
        folder: &ModelFolder,
        modules: &[Module],
    ) -> Result<Option<(Self, Option<usize>)>> {
        let Some(module) = modules.iter().find(|module| module.class() == "Pooling") else {
            return Ok(None);
        };
        let path = module.file(folder, "config.json")?;
        let Some(file) = folder.read_json::<File>(&path)? else {
            return query_err!("model '{}' has no file {path}", folder.name());
        };
        let modes = match file.modes() {
            Ok(modes) if !modes.is_empty() => modes,
            Ok(_) => return query_err!("{path} of model '{}' chooses no way to pool", folder.name()),
            Err(unknown) => {
                return query_err!(
                    "model '{}' pools by '{unknown}' ({path}): known are cls, max, mean, mean_sqrt_len_tokens, \
                     weightedmean and lasttoken",
                    folder.name()
                );
            }
        };
        let pooling = Self { modes, includes_prompt: file.include_prompt.unwrap_or(true) };
        Ok(Some((pooling, file.word_embedding_dimension)))
    }

    /// The numbers of a text's vector, given those of a token's.
    pub(super) fn dimensions(&self, of_token: usize) -> usize {
        self.modes.len() * of_token
    }

    /// The vector of a text, written to `text`.
    ///
    /// `tokens` holds the vectors of its tokens, padding left out, of which the first `skipped` are those of a prompt.
    /// What is skipped still counts for the position of what follows, and is no token if nothing follows.
    pub(super) fn pool(&self, tokens: &[f32], skipped: usize, text: &mut [f32]) {
        let dimensions = text.len() / self.modes.len();
        let skipped = if self.includes_prompt { 0 } else { skipped };
        let begin = skipped.min((tokens.len() / dimensions).saturating_sub(1));
        let counted = &tokens[begin * dimensions..];
        for (mode, text) in self.modes.iter().zip(text.chunks_exact_mut(dimensions)) {
            mode.pool(tokens, counted, begin, text);
        }
    }
}

impl Mode {
    /// `all` tokens, and those that count, from the one at `begin` on.
    fn pool(self, all: &[f32], counted: &[f32], begin: usize, text: &mut [f32]) {
        let vectors = counted.chunks_exact(text.len());
        #[expect(clippy::cast_precision_loss, reason = "a text has far fewer tokens than 2^24")]
        let number = |count: usize| count as f32;
        let count = number(vectors.len());
        match self {
            Self::FirstToken => text.copy_from_slice(&all[..text.len()]),
            Self::LastToken => text.copy_from_slice(&counted[counted.len() - text.len()..]),
            Self::Max => {
                text.fill(f32::NEG_INFINITY);
                for vector in vectors {
                    text.iter_mut().zip(vector).for_each(|(most, value)| *most = most.max(*value));
                }
            }
            Self::Mean => weighted_sum(vectors, |_| 1.0, count, text),
            Self::MeanSqrtLength => weighted_sum(vectors, |_| 1.0, count.sqrt(), text),
            Self::WeightedMean => {
                let weight = |index: usize| number(begin + index + 1);
                let total = (0..vectors.len()).map(weight).sum();
                weighted_sum(vectors, weight, total, text);
            }
        }
    }
}

/// The sum of vectors by their weights, divided.
fn weighted_sum<'v>(
    vectors: impl Iterator<Item = &'v [f32]>,
    weight: impl Fn(usize) -> f32,
    divisor: f32,
    text: &mut [f32],
) {
    text.fill(0.0);
    for (index, vector) in vectors.enumerate() {
        let weight = weight(index);
        text.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * value);
    }
    for sum in text.iter_mut() {
        *sum /= divisor;
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

    fn pooled(file: &str, tokens: &[f32], skipped: usize) -> Vec<f32> {
        let file: File = serde_json::from_str(file).unwrap();
        let pooling =
            Pooling { modes: file.modes().unwrap(), includes_prompt: file.include_prompt.unwrap_or(true) };
        let mut text = vec![0.0; pooling.dimensions(2)];
        pooling.pool(tokens, skipped, &mut text);
        text
    }

    /// Of (1, 2), (5, 8), (3, -1) and (7, 3).
    #[test]
    fn each_way_by_its_definition() {
        let tokens = [1.0, 2.0, 5.0, 8.0, 3.0, -1.0, 7.0, 3.0];
        for (file, expected) in [
            (r#"{"pooling_mode_cls_token": true}"#, vec![1.0, 2.0]),
            (r#"{"pooling_mode_max_tokens": true}"#, vec![7.0, 8.0]),
            (r#"{"pooling_mode_mean_tokens": true}"#, vec![4.0, 3.0]),
            // (16, 12) / sqrt(4)
            (r#"{"pooling_mode_mean_sqrt_len_tokens": true}"#, vec![8.0, 6.0]),
            // (1 + 10 + 9 + 28, 2 + 16 - 3 + 12) / 10
            (r#"{"pooling_mode_weightedmean_tokens": true}"#, vec![4.8, 2.7]),
            (r#"{"pooling_mode_lasttoken": true}"#, vec![7.0, 3.0]),
            (
                r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#,
                vec![1.0, 2.0, 4.0, 3.0],
            ),
            (r#"{"pooling_mode": "lasttoken"}"#, vec![7.0, 3.0]),
            (r#"{"pooling_mode": ["mean", "cls"]}"#, vec![1.0, 2.0, 4.0, 3.0]),
        ] {
            assert_eq!(pooled(file, &tokens, 2), expected, "{file}");
        }
        let unknown: File = serde_json::from_str(r#"{"pooling_mode": "median"}"#).unwrap();
        assert_eq!(unknown.modes(), Err("median"));
    }

    #[test]
    fn a_prompt_may_be_left_out() {
        let tokens = [1.0, 2.0, 5.0, 8.0, 3.0, -1.0, 7.0, 3.0];
        for (mode, expected) in [
            ("pooling_mode_mean_tokens", [5.0, 1.0]),
            ("pooling_mode_max_tokens", [7.0, 3.0]),
            // (3 * 3 + 4 * 7, 3 * -1 + 4 * 3) / 7
            ("pooling_mode_weightedmean_tokens", [37.0 / 7.0, 9.0 / 7.0]),
        ] {
            let file = format!(r#"{{"{mode}": true, "include_prompt": false}}"#);
            assert_eq!(pooled(&file, &tokens, 2), expected, "{mode}");
            // a text that is nothing but its prompt
            assert_eq!(pooled(&file, &tokens, 9), [7.0, 3.0], "{mode}");
        }
    }

    #[test]
    fn normal_vectors_have_length_1() {
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zeros = [0.0; 2];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 2]);
    }
}
