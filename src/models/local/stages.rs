//! The stages of a text model, one by one: for `benches/local_models.rs`, and no part of the interface.
use ort::session::Session;

use super::folder::ModelFolder;
use super::queue::{Batch, Queue};
use super::scheduler::Model;
use super::text::{Encoder, OUTPUTS, Tokens};
use super::tokenizer::TextTokenizer;
use crate::error::{Result, query_err};
use crate::models::LocalOptions;
use crate::models::hub::{Cache, ModelName};

/// A text model with a session.
#[derive(Debug)]
pub struct Stages {
    tokenizer: TextTokenizer,
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
        let cache = Cache::of_environment();
        let name = ModelName::parse(model, |_, _| false);
        let Some(found) = name.map(|name| cache.find(&name)).transpose()?.flatten() else {
            return query_err!("no model '{model}' in {}", cache.models().display());
        };
        let folder = ModelFolder::of(&found.name, &found.folder);
        let encoder = Encoder::new(&folder, (&LocalOptions::default()).into())?;
        let tokenizer = TextTokenizer::load(&folder, &encoder.config)?;
        Ok(Self { tokenizer, session: encoder.open()?, encoder })
    }

    /// Text to tokens, on this thread.
    pub fn tokenize(&self, texts: &[String]) -> Result<Tokenized> {
        let prompt = self.tokenizer.prompt("")?;
        let tokens = texts.iter().map(|text| Ok(self.tokenizer.encode(&prompt, text)?.tokens));
        tokens.collect::<Result<_>>().map(Tokenized)
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
            let scores = self.encoder.scores(&batch.inputs());
            self.encoder.graph.run(&mut self.session, tensors, OUTPUTS, scores, |shape, values| {
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
