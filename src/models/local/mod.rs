//! The provider `transformers` (alias `local`): models in folders on this machine, run by ONNX Runtime.
//!
//! A model is a folder in Hugging Face layout. Everything about it is read from its files, nothing is guessed by its
//! name:
//!
//! | file | gives |
//! | --- | --- |
//! | `config.json` | dimensions; the space of an image model |
//! | `tokenizer.json` | text to tokens |
//! | `modules.json`, `1_Pooling/config.json` | pooling, normalisation |
//! | `sentence_bert_config.json` | the most tokens of a text |
//! | `config_sentence_transformers.json` | prefixes of queries and documents |
//! | `preprocessor_config.json` | pixels to input tensor |
//! | `onnx/model.onnx`, `onnx/model_VARIANT.onnx` | the graph |
//! | `model.safetensors`, `model.safetensors.index.json` | the weights, where there is no graph: one is built (`architectures`) |
//!
//! From a call to its vectors: inputs are tokenised or preprocessed (`text`, `image`), wait with those of all other
//! calls (`queue`), and are run in batches on all cores (`scheduler`) by sessions over an ONNX graph (`graph`), whose
//! optimised form is kept (`optimized`).
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::{ImageEmbedder, ModelRequest, Provider, TextEmbedder};
use crate::error::{Result, query_err};

mod architectures;
mod config;
mod folder;
mod graph;
mod home;
mod image;
mod optimized;
mod pooling;
mod preprocess;
mod queue;
mod runtime;
mod scheduler;
#[doc(hidden)]
pub mod stages;
mod text;

use folder::{ModelFolder, Tower, Weights};
use image::{LocalImageEmbedder, LocalImageModel};
use text::{LocalTextEmbedder, LocalTextModel};

/// Models by where their graph comes from and whether they have a memory arena, for the whole process: weights are loaded
/// once, however many sessions and queries use them, and all of these share one scheduler.
type Models<M> = LazyLock<Mutex<HashMap<(Weights, bool), Arc<M>>>>;
static TEXT_MODELS: Models<LocalTextModel> = LazyLock::new(Mutex::default);
static IMAGE_MODELS: Models<LocalImageModel> = LazyLock::new(Mutex::default);

/// The model of a graph, opened where no session has opened it before.
fn shared<M>(
    models: &Models<M>,
    folder: &ModelFolder,
    tower: Tower,
    memory_arena: bool,
    open: impl FnOnce(&ModelFolder, bool) -> Result<M>,
) -> Result<Arc<M>> {
    let mut models = models.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (folder.weights(tower), memory_arena);
    if let Some(model) = models.get(&key) {
        return Ok(Arc::clone(model));
    }
    let model = Arc::new(open(folder, memory_arena)?);
    models.insert(key, Arc::clone(&model));
    Ok(model)
}

/// See the [module](self).
#[derive(Debug)]
pub struct LocalProvider {
    models: PathBuf,
}

impl LocalProvider {
    /// Models of the cache folder: `$SEMSQL_HOME`, else `semsql` in `$XDG_CACHE_HOME`, else `~/.cache/semsql`.
    #[must_use]
    pub fn new() -> Self {
        Self { models: home::home().join("models") }
    }
}

impl Default for LocalProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl Provider for LocalProvider {
    fn name(&self) -> &'static str {
        "transformers"
    }

    fn aliases(&self) -> &[&str] {
        &["local"]
    }

    fn text_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn TextEmbedder>> {
        let folder = ModelFolder::find(&self.models, &request.model, request.local.variant.as_deref())?;
        if !folder.embeds_text() && folder.embeds_images() {
            return query_err!("model '{}' embeds images, not text: use embed_image", request.model);
        }
        let model =
            shared(&TEXT_MODELS, &folder, Tower::Text, request.local.memory_arena, LocalTextModel::open)?;
        check_dimensions(request, model.space().dimensions())?;
        Ok(Arc::new(LocalTextEmbedder::new(model, request.input_type, request.local.threads)))
    }

    fn image_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn ImageEmbedder>> {
        let folder = ModelFolder::find(&self.models, &request.model, request.local.variant.as_deref())?;
        if !folder.embeds_images() && folder.embeds_text() {
            return query_err!("model '{}' embeds text, not images: use embed_text", request.model);
        }
        let model =
            shared(&IMAGE_MODELS, &folder, Tower::Image, request.local.memory_arena, LocalImageModel::open)?;
        check_dimensions(request, model.space().dimensions())?;
        Ok(Arc::new(LocalImageEmbedder { model, threads: request.local.threads }))
    }
}

fn check_dimensions(request: &ModelRequest, dimensions: Option<usize>) -> Result<()> {
    match (request.dimensions, dimensions) {
        (Some(wanted), Some(dimensions)) if wanted != dimensions => {
            query_err!(
                "model '{}' has {dimensions} dimensions, not {wanted}: leave dimensions out",
                request.model
            )
        }
        _ => Ok(()),
    }
}
