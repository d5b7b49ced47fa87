//! Text models: tokens, request batches, pooling.
use std::sync::Arc;

use async_trait::async_trait;
use tokenizers::{Encoding, Tokenizer, TruncationParams};
use tokio::sync::OnceCell;

use super::config::TextConfig;
use super::folder::ModelFolder;
use super::graph::{Graph, Input, Numbers};
use super::pooling::normalize;
use crate::blocking::{blocking, compute};
use crate::error::{Error, Result, query_err};
use crate::models::{Embeddings, InputType, TextEmbedder};
use crate::types::embedding::EmbeddingSpace;

/// Padded tokens of one run of the graph. Runs of about this size keep their activations in a core's cache; with
/// MiniLM, 384 was the fastest of 128 to 4,096 on the machines it was measured on.
const RUN_TOKENS: usize = 384;

/// Outputs that hold a text's vector, or its tokens' vectors.
const OUTPUTS: &[&str] = &["sentence_embedding", "text_embeds", "last_hidden_state", "token_embeddings"];

/// A text model of the process.
#[derive(Debug)]
pub(super) struct LocalTextModel {
    folder: ModelFolder,
    config: TextConfig,
    graph: Graph,
    tokenizer: OnceCell<Arc<Tokenizer>>,
}

impl LocalTextModel {
    /// Reads the model's configuration; tokenizer and weights are loaded by the first call.
    pub(super) fn open(folder: ModelFolder) -> Result<Self> {
        let config = TextConfig::read(&folder)?;
        folder.require("tokenizer.json")?;
        let graph = Graph::new(folder.graph().to_owned());
        Ok(Self { folder, config, graph, tokenizer: OnceCell::new() })
    }

    pub(super) fn space(&self) -> &EmbeddingSpace {
        &self.config.space
    }

    async fn tokenizer(&self) -> Result<Arc<Tokenizer>> {
        let load = || {
            let (folder, max_length) = (self.folder.clone(), self.config.max_tokens);
            blocking(move || {
                let failed = |error| {
                    Error::Query(format!("cannot use tokenizer.json of model '{}': {error}", folder.name()))
                };
                let mut tokenizer = Tokenizer::from_bytes(folder.read("tokenizer.json")?).map_err(failed)?;
                // the file may ask for a fixed length: we pad to the longest text of a run, and cut at the model's
                tokenizer.with_padding(None);
                let truncation = TruncationParams { max_length, ..TruncationParams::default() };
                tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
                Ok(Arc::new(tokenizer))
            })
        };
        self.tokenizer.get_or_try_init(load).await.cloned()
    }

    /// One run of the graph; the texts' vectors in the order of `texts`.
    async fn run(&self, texts: &[&Encoding]) -> Result<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let padded = lengths.iter().copied().max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for text in texts {
            let padding = padded - text.len();
            ids.extend(text.get_ids().iter().map(|&id| i64::from(id)));
            ids.extend(std::iter::repeat_n(i64::from(self.config.pad_token), padding));
            mask.extend(std::iter::repeat_n(1_i64, text.len()));
            mask.extend(std::iter::repeat_n(0, padding));
        }
        let types = vec![0_i64; ids.len()];
        let input =
            |name, numbers| Input { name, shape: vec![texts.len(), padded], numbers: Numbers::I64(numbers) };
        let inputs =
            vec![input("input_ids", ids), input("attention_mask", mask), input("token_type_ids", types)];

        let (pooling, normalized) = (self.config.pooling, self.config.normalize);
        let (name, dimensions) = (self.folder.name().to_owned(), self.config.space.dimensions());
        let read = move |shape: &[usize], output: &[f32]| {
            let rows = lengths.len();
            let mut vectors = if shape == [rows, dimensions] {
                output.to_vec()
            } else if shape == [rows, padded, dimensions] {
                let mut vectors = vec![0.0; rows * dimensions];
                let of_texts = output.chunks_exact(padded * dimensions);
                for ((tokens, length), vector) in
                    of_texts.zip(lengths).zip(vectors.chunks_exact_mut(dimensions))
                {
                    pooling.pool(&tokens[..length * dimensions], vector);
                }
                vectors
            } else {
                return query_err!(
                    "model '{name}' returned an output of shape {shape:?}, expected {dimensions} numbers a text or a token"
                );
            };
            if normalized {
                vectors.chunks_exact_mut(dimensions).for_each(normalize);
            }
            Ok(vectors)
        };
        self.graph.run(inputs, OUTPUTS, read).await
    }
}

/// A text model, and what it puts before each text.
#[derive(Debug)]
pub(super) struct LocalTextEmbedder {
    model: Arc<LocalTextModel>,
    prefix: String,
}

impl LocalTextEmbedder {
    pub(super) fn new(model: Arc<LocalTextModel>, input_type: Option<InputType>) -> Self {
        let prefix = model.config.prefix(input_type).to_owned();
        Self { model, prefix }
    }
}

#[async_trait]
impl TextEmbedder for LocalTextEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        self.model.space()
    }

    /// Many, so that texts of similar length meet in one run.
    fn max_inputs(&self) -> usize {
        2048
    }

    async fn embed(&self, texts: &[&str]) -> Result<Embeddings> {
        let tokenizer = self.model.tokenizer().await?;
        let prefixed: Vec<String> = match self.prefix.as_str() {
            "" => Vec::new(),
            prefix => texts.iter().map(|text| format!("{prefix}{text}")).collect(),
        };
        let inputs =
            if prefixed.is_empty() { texts.to_vec() } else { prefixed.iter().map(String::as_str).collect() };
        let encodings = compute(|| tokenizer.encode_batch_fast(inputs, true))
            .map_err(|error| Error::Data(format!("cannot tokenize a text: {error}")))?;

        // a text without any token, where the tokenizer adds none, keeps a vector of zeros
        let mut by_length: Vec<usize> =
            (0..encodings.len()).filter(|&text| !encodings[text].is_empty()).collect();
        by_length.sort_by_key(|&text| encodings[text].len());
        let dimensions = self.space().dimensions();
        let mut values = vec![0.0; texts.len() * dimensions];
        for run in runs(&by_length, |text| encodings[text].len()) {
            let vectors =
                self.model.run(&run.iter().map(|&text| &encodings[text]).collect::<Vec<_>>()).await?;
            for (&text, vector) in run.iter().zip(vectors.chunks_exact(dimensions)) {
                values[text * dimensions..(text + 1) * dimensions].copy_from_slice(vector);
            }
        }
        Embeddings::new(texts.len(), dimensions, values)
    }
}

/// Cuts texts that are sorted by length into runs of at most [`RUN_TOKENS`] padded tokens, and at least one text.
fn runs(by_length: &[usize], length: impl Fn(usize) -> usize) -> Vec<&[usize]> {
    let (mut runs, mut start) = (Vec::new(), 0);
    for (at, &text) in by_length.iter().enumerate() {
        if at > start && (at + 1 - start) * length(text) > RUN_TOKENS {
            runs.push(&by_length[start..at]);
            start = at;
        }
    }
    if start < by_length.len() {
        runs.push(&by_length[start..]);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_every_text_once_within_the_budget() {
        let lengths = [3, 3, 100, 100, 100, 200, 500, 600];
        let order: Vec<usize> = (0..lengths.len()).collect();
        let runs = runs(&order, |text| lengths[text]);
        assert_eq!(runs.concat(), order);
        for run in &runs {
            let longest = lengths[*run.last().unwrap()];
            assert!(run.len() == 1 || run.len() * longest <= RUN_TOKENS, "{run:?}");
        }
        assert_eq!(runs.len(), 5);
    }
}
