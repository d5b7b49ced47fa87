//! The stages of a text model, one by one: for `benches/local_models.rs`, and no part of the interface.
use ort::session::Session;
use tokenizers::Tokenizer;

use super::folder::{ModelFolder, Tower};
use super::graph::Graph;
use super::home;
use super::queue::{Batch, Queue};
use super::scheduler::Model;
use super::text::{Encoder, OUTPUTS, Tokens, load_tokenizer, tokenize};
use crate::error::Result;

/// A text model with a session.
#[derive(Debug)]
pub struct Stages {
    tokenizer: Tokenizer,
    encoder: Encoder,
    session: Session,
}

/// Texts as tokens.
#[derive(Debug, Clone)]
pub struct Tokenized(Vec<Tokens>);

/// Tokens as request batches.
#[derive(Debug)]
pub struct Batches(Vec<Batch<Tokens>>);

/// What the graph returns for a batch.
#[derive(Debug)]
pub struct Output {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Stages {
    /// The tokenizer, the configuration and a session of an installed model.
    pub fn open(model: &str) -> Result<Self> {
        let folder = ModelFolder::find(&home::home().join("models"), model, None)?;
        let encoder = Encoder::new(&folder, Graph::new(folder.weights(Tower::Text), true))?;
        let tokenizer = load_tokenizer(&folder, encoder.config.max_tokens)?;
        Ok(Self { tokenizer, session: encoder.open()?, encoder })
    }

    /// Text to tokens, on this thread.
    pub fn tokenize(&self, texts: Vec<String>) -> Result<Tokenized> {
        tokenize(&self.tokenizer, texts, self.encoder.config.special_tokens).map(Tokenized)
    }

    /// All batches of a call.
    #[must_use]
    pub fn batches(&self, texts: Tokenized) -> Batches {
        let mut queue = Queue::new();
        let _call = queue.push(texts.0, self.encoder.dimensions());
        Batches(std::iter::from_fn(|| queue.take()).collect())
    }

    /// Runs the graph for each batch, on this thread.
    pub fn run(&mut self, batches: &Batches) -> Result<Vec<Output>> {
        let run = |batch: &Batch<Tokens>| {
            let tensors = self.encoder.tensors(&batch.inputs());
            self.encoder.graph.run(&mut self.session, tensors, OUTPUTS, |shape, values| {
                Ok(Output { shape: shape.to_vec(), values: values.to_vec() })
            })
        };
        batches.0.iter().map(run).collect()
    }

    /// The vectors of each batch.
    pub fn pool(&self, batches: &Batches, outputs: &[Output]) -> Result<Vec<Vec<f32>>> {
        let pairs = batches.0.iter().zip(outputs);
        pairs
            .map(|(batch, output)| self.encoder.pool(&batch.inputs(), &output.shape, &output.values))
            .collect()
    }
}
