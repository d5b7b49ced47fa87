//! Text models: tokens, one run of a batch, pooling.
use std::sync::Arc;

use async_trait::async_trait;
use ort::session::Session;
use tokenizers::{Tokenizer, TruncationParams};
use tokio::sync::OnceCell;

use super::config::TextConfig;
use super::folder::{ModelFolder, Tower};
use super::graph::{Graph, GraphInput, Numbers};
use super::pooling::normalize;
use super::queue::Input;
use super::scheduler::{Model, Scheduler};
use crate::blocking::blocking;
use crate::error::{Error, Result, data_err, query_err};
use crate::models::{Caller, Embeddings, InputType, TextEmbedder};
use crate::types::embedding::EmbeddingSpace;

/// Padded tokens of one run of the graph. A run of about this size keeps its activations in the cache of its core;
/// see benches/README.md for what others cost.
const RUN_TOKENS: usize = 256;

/// Outputs that hold a text's vector, or its tokens' vectors.
pub(super) const OUTPUTS: &[&str] =
    &["sentence_embedding", "text_embeds", "last_hidden_state", "token_embeddings"];

/// A text as tokens, at least one. The length is first: it decides the order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tokens {
    length: usize,
    ids: Box<[u32]>,
}

impl Tokens {
    fn new(ids: &[u32]) -> Self {
        Self { length: ids.len(), ids: ids.into() }
    }
}

impl Input for Tokens {
    fn size(&self) -> u64 {
        self.length as u64
    }

    fn admits(&self, _: &Self, count: usize) -> bool {
        (count + 1) * self.length <= RUN_TOKENS
    }
}

/// From tokens to vectors.
#[derive(Debug)]
pub(super) struct Encoder {
    name: String,
    pub(super) config: TextConfig,
    pub(super) graph: Graph,
}

impl Model for Encoder {
    type Input = Tokens;
    type Session = Session;

    fn dimensions(&self) -> usize {
        // they are in every model's files
        self.config.space.dimensions().unwrap_or_default()
    }

    fn open(&self) -> Result<Session> {
        self.graph.open()
    }

    fn run(&self, session: &mut Session, texts: &[&Tokens]) -> Result<Vec<f32>> {
        self.graph.run(session, self.tensors(texts), OUTPUTS, |shape, output| self.pool(texts, shape, output))
    }
}

impl Encoder {
    /// Reads the configuration of a model, whose graph is given.
    pub(super) fn new(folder: &ModelFolder, graph: Graph) -> Result<Self> {
        Ok(Self { name: folder.name().to_owned(), config: TextConfig::read(folder)?, graph })
    }

    /// The inputs of the graph, padded to the longest text.
    pub(super) fn tensors(&self, texts: &[&Tokens]) -> Vec<GraphInput> {
        let padded = texts.iter().map(|text| text.length).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for (row, text) in (1..).zip(texts) {
            ids.extend(text.ids.iter().map(|&id| i64::from(id)));
            ids.resize(row * padded, i64::from(self.config.pad_token));
            mask.resize(ids.len() + text.length - padded, 1_i64);
            mask.resize(row * padded, 0);
        }
        let types = vec![0_i64; ids.len()];
        let input = |name, numbers| GraphInput {
            name,
            shape: vec![texts.len(), padded],
            numbers: Numbers::I64(numbers),
        };
        vec![input("input_ids", ids), input("attention_mask", mask), input("token_type_ids", types)]
    }

    /// The texts' vectors, from an output of the graph.
    pub(super) fn pool(&self, texts: &[&Tokens], shape: &[usize], output: &[f32]) -> Result<Vec<f32>> {
        let (rows, dimensions) = (texts.len(), self.dimensions());
        let mut vectors = match *shape {
            [found, size] if (found, size) == (rows, dimensions) => output.to_vec(),
            [found, padded, size] if (found, size) == (rows, dimensions) => {
                let mut vectors = vec![0.0; rows * dimensions];
                let of_texts = output.chunks_exact(padded * dimensions);
                for ((tokens, text), vector) in of_texts.zip(texts).zip(vectors.chunks_exact_mut(dimensions))
                {
                    self.config.pooling.pool(&tokens[..text.length.min(padded) * dimensions], vector);
                }
                vectors
            }
            _ => {
                return query_err!(
                    "model '{}' returned an output of shape {shape:?}, expected {dimensions} numbers a text or a token",
                    self.name
                );
            }
        };
        if self.config.normalize {
            vectors.chunks_exact_mut(dimensions).for_each(normalize);
        }
        Ok(vectors)
    }
}

/// A text model of the process.
#[derive(Debug)]
pub(super) struct LocalTextModel {
    folder: ModelFolder,
    tokenizer: OnceCell<Arc<Tokenizer>>,
    scheduler: Scheduler<Encoder>,
}

impl LocalTextModel {
    /// Reads the model's configuration; tokenizer and weights are loaded by the first call.
    pub(super) fn open(folder: &ModelFolder, memory_arena: bool) -> Result<Self> {
        let encoder = Encoder::new(folder, Graph::new(folder.weights(Tower::Text), memory_arena))?;
        folder.require("tokenizer.json")?;
        Ok(Self { folder: folder.clone(), tokenizer: OnceCell::new(), scheduler: Scheduler::new(encoder) })
    }

    fn config(&self) -> &TextConfig {
        &self.scheduler.model().config
    }

    pub(super) fn space(&self) -> &EmbeddingSpace {
        &self.config().space
    }

    async fn tokenizer(&self) -> Result<Arc<Tokenizer>> {
        let load = || {
            let (folder, max_length) = (self.folder.clone(), self.config().max_tokens);
            blocking(move || load_tokenizer(&folder, max_length).map(Arc::new))
        };
        self.tokenizer.get_or_try_init(load).await.cloned()
    }
}

/// Reads the tokenizer of a model, that cuts texts at the model's length.
pub(super) fn load_tokenizer(folder: &ModelFolder, max_length: usize) -> Result<Tokenizer> {
    let failed =
        |error| Error::Query(format!("cannot use tokenizer.json of model '{}': {error}", folder.name()));
    let mut tokenizer = Tokenizer::from_bytes(folder.read("tokenizer.json")?).map_err(failed)?;
    // the file may ask for a fixed length: we pad to the longest text of a run, and cut at the model's
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
    Ok(tokenizer)
}

/// The tokens of each text, which can be none. `special_tokens`: with those that the tokenizer puts around a text.
pub(super) fn tokenize(
    tokenizer: &Tokenizer,
    texts: Vec<String>,
    special_tokens: bool,
) -> Result<Vec<Tokens>> {
    let tokens = texts.into_iter().map(|text| match tokenizer.encode_fast(text, special_tokens) {
        Ok(encoding) => Ok(Tokens::new(encoding.get_ids())),
        Err(error) => data_err!("cannot tokenize a text: {error}"),
    });
    tokens.collect()
}

/// A text model, what it puts before each text, and how many runs a call may have at a time.
#[derive(Debug)]
pub(super) struct LocalTextEmbedder {
    model: Arc<LocalTextModel>,
    prefix: String,
    threads: usize,
}

impl LocalTextEmbedder {
    pub(super) fn new(model: Arc<LocalTextModel>, input_type: Option<InputType>, threads: usize) -> Self {
        let prefix = model.config().prefix(input_type).to_owned();
        Self { model, prefix, threads }
    }
}

#[async_trait]
impl TextEmbedder for LocalTextEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        self.model.space()
    }

    /// Few, as they are tokenised one after the other; calls meet again in the runs of the model.
    fn max_inputs(&self) -> usize {
        256
    }

    async fn embed(&self, texts: &[&str], _: &dyn Caller) -> Result<Embeddings> {
        // the tokenizer and the weights are loaded side by side
        let (tokenizer, ()) = tokio::try_join!(self.model.tokenizer(), self.model.scheduler.prepare())?;
        let prefixed: Vec<String> = texts.iter().map(|text| format!("{}{text}", self.prefix)).collect();
        let special_tokens = self.model.config().special_tokens;
        let inputs = blocking(move || tokenize(&tokenizer, prefixed, special_tokens)).await?;
        let tokens = inputs.iter().map(|input| input.length).sum();

        // a text without any token, where the tokenizer adds none, keeps a vector of zeros
        let (full, inputs): (Vec<usize>, Vec<Tokens>) =
            inputs.into_iter().enumerate().filter(|(_, input)| input.length > 0).unzip();
        let dimensions = self.model.scheduler.model().dimensions();
        let vectors = self.model.scheduler.embed(inputs, self.threads).await?;
        let mut values = vec![0.0; texts.len() * dimensions];
        for (text, vector) in full.into_iter().zip(vectors.chunks_exact(dimensions)) {
            values[text * dimensions..][..dimensions].copy_from_slice(vector);
        }
        Ok(Embeddings::new(texts.len(), dimensions, values)?.with_tokens(tokens))
    }
}
