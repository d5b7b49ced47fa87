//! What turns inputs into vectors: the traits, and the registry of providers. Knows Arrow's types at most.
//!
//! `local` runs models on this machine. `remote` has what all providers on the network share; what they differ in is in
//! a folder for each.
use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, Result, data_err, query_err};
use crate::image::Image;
use crate::io::FileOptions;
use crate::types::embedding::EmbeddingSpace;

mod azure_openai;
mod cohere;
pub(crate) mod external_data;
mod google;
mod home;
pub mod hub;
mod json;
mod lm_studio;
pub mod local;
mod ollama;
mod openai;
mod registry;
mod remote;
pub(crate) mod safetensors_files;
mod voyage;

pub use registry::{Registry, Served};
pub use remote::{AllowProviders, LongText, ProviderOptions, RemoteOptions, Seconds};

/// The names of the providers that every session knows.
#[cfg(feature = "shell")]
pub(crate) fn provider_names() -> impl Iterator<Item = &'static str> {
    std::iter::once("transformers").chain(remote::RemoteProvider::names())
}

/// Vectors of one length, one behind the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    inputs: usize,
    dimensions: usize,
    values: Vec<f32>,
    tokens: usize,
    truncated: usize,
    retries: usize,
    failures: Vec<(usize, Error)>,
}

impl Embeddings {
    /// `rows` vectors of `dimensions` items; an error if `values` are more or fewer, or if an item is NaN or infinite.
    pub fn new(rows: usize, dimensions: usize, values: Vec<f32>) -> Result<Self> {
        if values.len() != rows * dimensions {
            return data_err!(
                "the model returned {} numbers, expected {rows} vectors of {dimensions} dimensions",
                values.len()
            );
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return data_err!(
                "the model returned {} in vector {} of {rows}: not a number that can be compared",
                values[at],
                at / dimensions + 1
            );
        }
        Ok(Self { inputs: rows, dimensions, values, tokens: 0, truncated: 0, retries: 0, failures: vec![] })
    }

    /// The same vectors, with the number of tokens that were read for them: what a model's time, or its price, is
    /// counted in. Padding does not count.
    #[must_use]
    pub fn with_tokens(self, tokens: usize) -> Self {
        Self { tokens, ..self }
    }

    /// The tokens that were read for all vectors; 0 where a model does not count tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The same vectors, with the number of texts of which only the beginning was read.
    #[must_use]
    pub fn with_truncated(self, truncated: usize) -> Self {
        Self { truncated, ..self }
    }

    /// The texts of which only the beginning was read.
    #[must_use]
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// The same vectors, with the number of requests that had to be made again for them.
    #[must_use]
    pub fn with_retries(self, retries: usize) -> Self {
        Self { retries, ..self }
    }

    /// The requests that were made again; 0 where nothing is requested.
    #[must_use]
    pub fn retries(&self) -> usize {
        self.retries
    }

    /// The same vectors, but for those at some rows, in rising order, whose inputs are to blame for an error.
    #[must_use]
    pub fn with_failures(self, failures: Vec<(usize, Error)>) -> Self {
        Self { failures, ..self }
    }

    /// The rows whose inputs are to blame for an error.
    pub fn failures(&self) -> impl Iterator<Item = (usize, &Error)> {
        self.failures.iter().map(|(row, error)| (*row, error))
    }

    /// The length of the vectors; 0 where there is none to tell.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The number of inputs, those of failures among them.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The vector of a row.
    #[must_use]
    pub fn vector(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }
}

/// The query that calls a model. It is told of requests, and can forbid them.
pub trait Caller: fmt::Debug + Send + Sync {
    /// The same query, for work that goes on while nobody polls the call.
    fn shared(&self) -> Arc<dyn Caller>;

    /// Tells queries of the process apart.
    fn query(&self) -> u64;

    /// The most requests that the query may have in flight to one model.
    fn max_concurrency(&self) -> usize;

    /// A request of about `tokens` tokens is about to be sent, or to be sent `again`; an error if the query may send no
    /// more.
    fn begin_request(&self, tokens: usize, again: bool) -> Result<()>;

    /// The request is over; it took `used` tokens and not the number that it began with.
    fn end_request(&self, tokens: usize, used: usize);
}

/// Whether a text asks or answers; some models embed the two differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InputType {
    /// A search query.
    Query,
    /// A text that is searched.
    Document,
}

impl FromStr for InputType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "query" => Ok(Self::Query),
            "document" => Ok(Self::Document),
            _ => query_err!("unknown input_type '{name}': use 'query' or 'document'"),
        }
    }
}

/// Which model of a provider, and how it is to be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRequest {
    /// The name of the model, without the name of its provider.
    pub model: String,
    /// The length of the vectors, where the model offers several.
    pub dimensions: Option<usize>,
    /// Whether the inputs are queries or documents.
    pub input_type: Option<InputType>,
    /// How a model on this machine is run.
    pub local: LocalOptions,
    /// What is configured about providers on the network.
    pub remote: RemoteOptions,
    /// What the query may reach: folders of models, and the hub.
    pub files: Arc<FileOptions>,
}

/// A model that a provider has, as far as that is known without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelInfo {
    /// As it is named in SQL, without its provider.
    pub name: String,
    /// Whether it embeds texts.
    pub text: bool,
    /// Whether it embeds images.
    pub images: bool,
    /// The length of its vectors.
    pub dimensions: Option<usize>,
    /// The most tokens of a text.
    pub max_tokens: Option<usize>,
    /// The commit of its repository.
    pub revision: Option<String>,
    /// Its folder.
    pub path: Option<PathBuf>,
    /// The bytes of its files.
    pub bytes: Option<u64>,
    /// The name of its licence.
    pub licence: Option<String>,
}

/// How a model on this machine is run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalOptions {
    /// The variant of a model's files that is used where the model has it and its name asks for no other.
    pub variant: Option<String>,
    /// The most runs at a time; each keeps to one core.
    pub threads: usize,
    /// Whether a session keeps the memory of its largest run for the next one, instead of giving it back.
    pub memory_arena: bool,
    /// What runs it.
    pub device: Device,
    /// Whether models that are not on this machine are errors, instead of being fetched.
    pub offline: bool,
}

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// A GPU where the ONNX Runtime here has the provider for it, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A GPU of NVIDIA; an error where the ONNX Runtime here cannot use it.
    Cuda,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            _ => query_err!("unknown device '{name}': use 'auto', 'cpu' or 'cuda'"),
        }
    }
}

impl Default for LocalOptions {
    /// The model's original files, a run for each core, memory kept: it is bounded by the longest text or one batch.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { variant: None, threads, memory_arena: true, device: Device::default(), offline: false }
    }
}

/// A model that embeds text.
#[async_trait]
pub trait TextEmbedder: Debug + Send + Sync {
    /// The space of its vectors; known before the model is loaded.
    fn space(&self) -> &EmbeddingSpace;

    /// The most texts of one request batch.
    fn max_inputs(&self) -> usize;

    /// Whether [`embed`](Self::embed) makes request batches itself and tells the caller of each. Otherwise each of its
    /// calls is one.
    fn makes_requests(&self) -> bool {
        false
    }

    /// One vector a text, in the order of the texts; an empty text is a text. Called with 1 to
    /// [`max_inputs`](Self::max_inputs) texts. May load the model first. When the future is dropped, no further work
    /// is started.
    async fn embed(&self, texts: &[&str], caller: &dyn Caller) -> Result<Embeddings>;
}

/// A model that embeds images.
#[async_trait]
pub trait ImageEmbedder: Debug + Send + Sync {
    /// The space of its vectors; known before the model is loaded.
    fn space(&self) -> &EmbeddingSpace;

    /// The most images of one request batch.
    fn max_inputs(&self) -> usize;

    /// As [`TextEmbedder::makes_requests`].
    fn makes_requests(&self) -> bool {
        false
    }

    /// What the model needs of an image of any size and mode: as a rule, much less of it. It is CPU work, done for each
    /// image before [`embed`](Self::embed), so that photos of full size are not there for a whole request batch.
    fn prepare<'a>(&self, image: Image<'a>) -> Result<Image<'a>> {
        Ok(image)
    }

    /// One vector an image, in the order of the images, which are what [`prepare`](Self::prepare) made. Otherwise as
    /// [`TextEmbedder::embed`].
    async fn embed(&self, images: &[Image<'_>], caller: &dyn Caller) -> Result<Embeddings>;
}

/// Who serves models. Asked at plan time: it reads files at most, makes no request and loads no weights.
pub trait Provider: Debug + Send + Sync {
    /// The name in SQL: `provider => 'name'`.
    fn name(&self) -> &str;

    /// Other names for the same.
    fn aliases(&self) -> &[&str] {
        &[]
    }

    /// The models that it has, as far as it knows them by name.
    fn models(&self) -> Vec<ModelInfo> {
        vec![]
    }

    /// The text model, or an error that lists the models there are.
    fn text_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn TextEmbedder>>;

    /// The image model, or an error that lists the models there are.
    fn image_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn ImageEmbedder>>;
}
