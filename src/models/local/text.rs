//! Text models: tokens, one run of a batch, pooling.
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use ort::session::Session;
use tokio::sync::OnceCell;

use super::config::TextConfig;
use super::cut::Cut;
use super::folder::{ModelFolder, Tower};
use super::graph::{Graph, GraphInput, Numbers, RunOptions};
use super::layers::LoadedLayer;
use super::long_texts::{Part, average, parts};
use super::model_files::ModelFiles;
use super::opened::{Generation, Opened};
use super::pooling::normalize;
use super::preprocess::{DEFAULT_SIZE, Preprocessor};
use super::queue::Input;
use super::scheduler::{Model, Scheduler};
use super::tokenizer::TextTokenizer;
use crate::blocking::blocking;
use crate::error::{Result, query_err};
use crate::models::{Caller, Embeddings, LongText, TextEmbedder};
use crate::types::embedding::EmbeddingSpace;

/// Padded tokens of one run of the graph. A run of about this size keeps its activations in the cache of its core;
/// see benches/README.md for what others cost.
const RUN_TOKENS: usize = 256;

/// Outputs that hold a text's vector: projected into the space that images share, or the tokens' vectors, which are pooled
/// as the model's files say, or pooled by the graph.
pub(super) const OUTPUTS: &[&str] =
    &["text_embeds", "last_hidden_state", "token_embeddings", "sentence_embedding", "pooler_output"];
/// The same of one tower of two, whose tokens' vectors are not in the space of images.
const OUTPUTS_OF_TOWER: &[&str] = &["text_embeds", "sentence_embedding", "pooler_output"];

/// A text as tokens. The length is first: it decides the order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tokens {
    length: usize,
    ids: Box<[u32]>,
    /// Of each token, where they are not all 0.
    types: Option<Box<[u32]>>,
    /// The tokens of a prompt at the beginning.
    prompted: usize,
}

impl Tokens {
    pub(super) fn new(ids: Vec<u32>, types: Vec<u32>, prompted: usize) -> Self {
        let types = types.iter().any(|kind| *kind != 0).then(|| types.into());
        Self { length: ids.len(), ids: ids.into(), types, prompted }
    }

    pub(super) fn len(&self) -> usize {
        self.length
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
    folder: ModelFolder,
    pub(super) config: TextConfig,
    pub(super) graph: Graph,
    /// Loaded with the first session.
    layers: OnceLock<Vec<LoadedLayer>>,
    /// Width and height of what a graph of both towers is given for the other one.
    image: Option<(u32, u32)>,
}

impl Model for Encoder {
    type Input = Tokens;
    type Session = Session;

    fn dimensions(&self) -> usize {
        // they are in every model's files
        self.config.space.dimensions().unwrap_or_default()
    }

    fn open(&self) -> Result<Session> {
        if self.layers.get().is_none() {
            let layers = self.config.layers.iter().map(|layer| LoadedLayer::load(&self.folder, layer));
            // another may have been faster, with the same
            let _ = self.layers.set(layers.collect::<Result<_>>()?);
        }
        self.graph.open()
    }

    fn most_runs(&self) -> usize {
        self.graph.most_runs()
    }

    fn run(&self, session: &mut Session, texts: &[&Tokens]) -> Result<Vec<f32>> {
        let outputs = if self.image.is_some() { OUTPUTS_OF_TOWER } else { OUTPUTS };
        let read = |shape: &[usize], output: &[f32]| self.pool(texts, shape, output);
        self.graph.run(session, self.tensors(texts), outputs, self.scores(texts), read)
    }
}

impl Encoder {
    /// Reads the configuration of a model.
    pub(super) fn new(folder: &ModelFolder, options: RunOptions) -> Result<Self> {
        let weights = folder.weights(Tower::Text)?;
        let files = Arc::new(ModelFiles::of(folder, &weights));
        let config = TextConfig::read(folder)?;
        let graph = Graph::new(weights, files, options);
        let image = match folder.embeds_images() {
            true => Some(Preprocessor::read(folder)?.size().unwrap_or(DEFAULT_SIZE)),
            false => None,
        };
        Ok(Self { folder: folder.clone(), config, graph, layers: OnceLock::new(), image })
    }

    /// Bytes of the scores of each token for each other, of all heads of a layer.
    pub(super) fn scores(&self, texts: &[&Tokens]) -> usize {
        let padded = texts.iter().map(|text| text.length).max().unwrap_or(0);
        [texts.len(), self.config.heads, padded, padded]
            .into_iter()
            .fold(size_of::<f32>(), usize::saturating_mul)
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
        let mut types = Vec::with_capacity(ids.len());
        for (row, text) in (1..).zip(texts) {
            types.extend(text.types.iter().flatten().map(|&kind| i64::from(kind)));
            types.resize(row * padded, 0_i64);
        }
        let of_text = || 0..i64::try_from(padded).unwrap_or(i64::MAX);
        let positions: Vec<i64> = texts.iter().flat_map(|_| of_text()).collect();
        let input = |name, numbers| GraphInput {
            name,
            shape: vec![texts.len(), padded],
            numbers: Numbers::I64(numbers),
        };
        let mut inputs = vec![
            input("input_ids", ids),
            input("attention_mask", mask),
            input("token_type_ids", types),
            input("position_ids", positions),
        ];
        if let Some((width, height)) = self.image {
            let shape = vec![1, 3, height as usize, width as usize];
            inputs.push(GraphInput { name: "pixel_values", shape, numbers: Numbers::ZerosF32 });
        }
        inputs
    }

    /// The texts' vectors, from an output of the graph: those of texts, or of tokens.
    pub(super) fn pool(&self, texts: &[&Tokens], shape: &[usize], output: &[f32]) -> Result<Vec<f32>> {
        let (rows, dimensions, of_token) = (texts.len(), self.dimensions(), self.config.token_dimensions);
        let layers = self.layers.get().map_or(&[][..], Vec::as_slice);
        match *shape {
            [found, size] if (found, size) == (rows, dimensions) => {
                let mut vectors = output.to_vec();
                if self.config.space.is_normalized() {
                    vectors.chunks_exact_mut(dimensions).for_each(normalize);
                }
                Ok(vectors)
            }
            [found, padded, size] if (found, size) == (rows, of_token) && padded > 0 => {
                let mut vectors = Vec::with_capacity(rows * dimensions);
                let pooled = self.config.pooling.dimensions(of_token);
                for (tokens, text) in output.chunks_exact(padded * of_token).zip(texts) {
                    let mut vector = vec![0.0; pooled];
                    let tokens = &tokens[..text.length.clamp(1, padded) * of_token];
                    self.config.pooling.pool(tokens, text.prompted, &mut vector);
                    vectors.extend(layers.iter().fold(vector, |vector, layer| layer.apply(vector)));
                }
                Ok(vectors)
            }
            _ => {
                query_err!(
                    "model '{}' returned an output of shape {shape:?}, expected {dimensions} numbers a text or {of_token} a \
                     token",
                    self.folder.name()
                )
            }
        }
    }
}

/// A text model of the process.
#[derive(Debug)]
pub(super) struct LocalTextModel {
    folder: ModelFolder,
    tokenizer: OnceCell<Arc<TextTokenizer>>,
    scheduler: Scheduler<Encoder>,
}

impl LocalTextModel {
    /// Reads the model's configuration; tokenizer and weights are loaded by the first call.
    pub(super) fn open(folder: &ModelFolder, options: RunOptions) -> Result<Self> {
        folder.require("tokenizer.json")?;
        let encoder = Encoder::new(folder, options)?;
        Ok(Self { folder: folder.clone(), tokenizer: OnceCell::new(), scheduler: Scheduler::new(encoder) })
    }

    pub(super) fn config(&self) -> &TextConfig {
        &self.encoder().config
    }

    fn encoder(&self) -> &Encoder {
        self.scheduler.model()
    }

    /// That of its vectors in the words of a call, which may name the model otherwise than the one that opened it.
    pub(super) fn space(&self, name: &str) -> EmbeddingSpace {
        let space = &self.config().space;
        EmbeddingSpace::new(name, self.encoder().dimensions(), space.is_normalized())
    }

    async fn tokenizer(self: &Arc<Self>) -> Result<Arc<TextTokenizer>> {
        let load = || {
            let model = Arc::clone(self);
            blocking(move || {
                let tokenizer = TextTokenizer::load(&model.folder, model.config())?;
                model.encoder().graph.files().check()?;
                Ok(Arc::new(tokenizer))
            })
        };
        self.tokenizer.get_or_try_init(load).await.cloned()
    }
}

impl Opened for LocalTextModel {
    type Files = ModelFiles;

    fn files(&self) -> &Arc<ModelFiles> {
        self.encoder().graph.files()
    }

    fn are_unchanged(files: &ModelFiles) -> bool {
        files.are_unchanged()
    }
}

/// A text model as a call uses it.
#[derive(Debug)]
pub(super) struct LocalTextEmbedder {
    pub(super) model: Arc<LocalTextModel>,
    pub(super) generation: Generation,
    /// What is put before each text.
    pub(super) prompt: String,
    pub(super) long_text: LongText,
    pub(super) cut: Cut,
    /// The most runs at a time.
    pub(super) threads: usize,
}

#[async_trait]
impl TextEmbedder for LocalTextEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.cut.space
    }

    /// Few, as they are tokenised one after the other; calls meet again in the runs of the model.
    fn max_inputs(&self) -> usize {
        256
    }

    async fn embed(&self, texts: &[&str], caller: &dyn Caller) -> Result<Embeddings> {
        if !self.generation.admits(caller.query()) {
            return self.model.files().changed();
        }
        // the tokenizer and the weights are loaded side by side
        let (tokenizer, ()) = tokio::try_join!(self.model.tokenizer(), self.model.scheduler.prepare())?;
        let owned: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let (prompt, long_text) = (self.prompt.clone(), self.long_text);
        let of_texts = blocking(move || parts(&tokenizer, &prompt, &owned, long_text)).await?;

        let mut inputs = Vec::with_capacity(texts.len());
        let (mut failures, mut truncated, mut lengths) = (vec![], 0, Vec::with_capacity(texts.len()));
        for (row, of_text) in of_texts.into_iter().enumerate() {
            match of_text {
                Ok(parts) => {
                    truncated += usize::from(parts.iter().any(|part| part.is_cut));
                    // a text without any token, where the tokenizer adds none, keeps a vector of zeros
                    let parts = parts.into_iter().filter(|part| part.tokens.len() > 0);
                    let (of_text, weights): (Vec<Tokens>, Vec<usize>) =
                        parts.map(|Part { tokens, weight, .. }| (tokens, weight)).unzip();
                    inputs.extend(of_text);
                    lengths.push(weights);
                }
                Err(error) => {
                    failures.push((row, error));
                    lengths.push(vec![]);
                }
            }
        }
        let tokens = inputs.iter().map(Tokens::len).sum();
        let dimensions = self.model.encoder().dimensions();
        let vectors = self.model.scheduler.embed(inputs, self.threads).await?;
        let mut vectors = vectors.chunks_exact(dimensions);
        let mut values = Vec::with_capacity(texts.len() * dimensions);
        for lengths in lengths {
            match lengths.as_slice() {
                [] => values.resize(values.len() + dimensions, 0.0),
                [_] => values.extend(vectors.next().into_iter().flatten()),
                lengths => values.extend(average(vectors.by_ref().take(lengths.len()), lengths, dimensions)),
            }
        }
        let (dimensions, values) = self.cut.apply(dimensions, values);
        let embeddings = Embeddings::new(texts.len(), dimensions, values)?;
        Ok(embeddings.with_tokens(tokens).with_truncated(truncated).with_failures(failures))
    }
}
