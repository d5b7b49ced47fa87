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
//! | `tokenizer_config.json` | the same, letters, padding |
//! | `2_Dense/config.json`, `2_Dense/model.safetensors` | what follows the pooling (`layers`) |
//! | `config_sentence_transformers.json` | prompts of queries and documents |
//! | `preprocessor_config.json` | pixels to input tensor |
//! | `onnx/model.onnx`, `onnx/model_VARIANT.onnx` | the graph |
//! | `onnx/text_model.onnx`, `onnx/vision_model.onnx` | the two graphs of a model for texts and images |
//!
//! From a call to its vectors: inputs are tokenised (`tokenizer`, `long_texts`) or preprocessed (`preprocess`), wait with
//! those of all other calls (`queue`), and are run in batches on all cores (`scheduler`) by sessions over an ONNX graph
//! (`graph`), whose optimised form is kept (`optimized`). `cut` makes vectors shorter.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use super::home;
use super::hub::{self, Cache, Found, Origin, Pulled};
use super::{ImageEmbedder, InputType, LongText, ModelInfo, ModelRequest, Provider, TextEmbedder};
use crate::error::{Result, query_err};
use crate::io::FileOptions;

mod architectures;
mod config;
mod cut;
mod folder;
mod graph;
mod image;
mod layers;
mod long_texts;
mod model_files;
mod opened;
mod optimized;
mod pooling;
mod preprocess;
mod queue;
mod room;
mod runtime;
mod scheduler;
#[doc(hidden)]
pub mod stages;
mod text;
mod tokenizer;

use config::{TextConfig, image_space};
use cut::Cut;
use folder::{ModelFolder, Tower, Weights};
use graph::RunOptions;
use image::{LocalImageEmbedder, LocalImageModel};
use opened::OpenedModels;
use text::{LocalTextEmbedder, LocalTextModel};

/// Models by what they are loaded from and how they run. All queries of the process that use one share its scheduler.
type Models<M> = LazyLock<OpenedModels<(Weights, RunOptions), M>>;
static TEXT_MODELS: Models<LocalTextModel> = LazyLock::new(OpenedModels::new);
static IMAGE_MODELS: Models<LocalImageModel> = LazyLock::new(OpenedModels::new);

/// The name of the space of a model: one for all names of a folder. In the cache of the Hugging Face libraries, where a
/// commit can be named in several ways, it is `OWNER/NAME` for the commit of the main branch, `OWNER/NAME@COMMIT` for others.
fn space_name(folder: &ModelFolder) -> String {
    of_snapshot(&folder.path(""), &home::cache_of_hub()).unwrap_or_else(|| folder.name().to_owned())
}

/// Of a folder `models--OWNER--NAME/snapshots/COMMIT` in the cache of the Hugging Face libraries.
fn of_snapshot(folder: &Path, cache: &Path) -> Option<String> {
    let folder = std::path::absolute(folder).ok()?;
    let (commit, snapshots) = (folder.file_name()?.to_str()?, folder.parent()?);
    let repository = snapshots.parent().filter(|_| snapshots.ends_with("snapshots"))?;
    if std::fs::canonicalize(repository.parent()?).ok()? != std::fs::canonicalize(cache).ok()? {
        return None;
    }
    let name = repository.file_name()?.to_str()?.strip_prefix("models--")?.replacen("--", "/", 1);
    let main = std::fs::read_to_string(repository.join("refs/main"));
    match main.is_ok_and(|main| main.trim() == commit) {
        true => Some(name),
        false => Some(format!("{name}@{commit}")),
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct LocalProvider {
    cache: Cache,
}

impl LocalProvider {
    /// Models of the cache folder: `$SEMSQL_HOME`, else `semsql` in `$XDG_CACHE_HOME`, else `~/.cache/semsql`; and those
    /// in the cache of the Hugging Face libraries.
    #[must_use]
    pub fn new() -> Self {
        Self { cache: Cache::of_environment() }
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

    fn models(&self) -> Vec<ModelInfo> {
        self.cache.all().iter().map(describe).collect()
    }

    fn text_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn TextEmbedder>> {
        let folder = ModelFolder::find(&self.cache, request, Tower::Text)?;
        if !folder.embeds_text() && folder.embeds_images() {
            return query_err!("model '{}' embeds images, not text: use embed_image", request.model);
        }
        let options = RunOptions::from(&request.local);
        let key = (folder.weights(Tower::Text)?, options);
        let (model, generation) = TEXT_MODELS.get(key, || LocalTextModel::open(&folder, options))?;
        let (config, space) = (model.config(), model.space(&space_name(&folder)));
        let cut = Cut::new(&request.model, &space, config.lengths.as_deref(), request.dimensions)?;
        let options = request.remote.providers.get(self.name());
        let of_options = || match request.input_type? {
            InputType::Query => options?.query_prefix.as_deref(),
            InputType::Document => options?.document_prefix.as_deref(),
        };
        // what a model's own files say goes before what is said for all models; that there is no prompt is what
        // sentence-transformers writes for models of which nothing is known
        let of_files = config.prompt(request.input_type);
        let prompt = of_files.filter(|prompt| !prompt.is_empty()).or_else(of_options).or(of_files);
        let prompt = prompt.unwrap_or(config.default_prompt()).to_owned();
        let long_text = options.and_then(|options| options.long_text).unwrap_or(LongText::Truncate);
        let threads = request.local.threads;
        Ok(Arc::new(LocalTextEmbedder { model, generation, prompt, long_text, cut, threads }))
    }

    fn image_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn ImageEmbedder>> {
        let folder = ModelFolder::find(&self.cache, request, Tower::Image)?;
        if !folder.embeds_images() && folder.embeds_text() {
            return query_err!("model '{}' embeds text, not images: use embed_text", request.model);
        }
        let options = RunOptions::from(&request.local);
        let key = (folder.weights(Tower::Image)?, options);
        let (model, generation) = IMAGE_MODELS.get(key, || LocalImageModel::open(&folder, options))?;
        let space = model.space(&space_name(&folder));
        let cut = Cut::new(&request.model, &space, model.lengths(), request.dimensions)?;
        Ok(Arc::new(LocalImageEmbedder { model, generation, cut, threads: request.local.threads }))
    }
}

/// What the files of a model say; what they do not say, or say wrongly, is left out.
fn describe(found: &Found) -> ModelInfo {
    let folder = ModelFolder::of(&found.name, &found.folder);
    let config = folder.embeds_text().then(|| TextConfig::read(&folder).ok()).flatten();
    let of_images = || image_space(&folder).ok().map(|(space, _)| space.dimensions);
    let origin = Origin::of(&found.folder);
    ModelInfo {
        name: found.name.clone(),
        text: folder.embeds_text(),
        images: folder.embeds_images(),
        dimensions: match &config {
            Some(config) => config.space.dimensions(),
            None if folder.embeds_images() => of_images(),
            None => None,
        },
        max_tokens: config.as_ref().map(|config| config.max_tokens),
        revision: origin.revision,
        licence: origin.licence,
        bytes: Some(bytes_below(&found.folder)),
        path: Some(found.folder.clone()),
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match std::fs::metadata(entry.path()) {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// Fetches a model, `[OWNER/]NAME[@REVISION][@VARIANT]`, from the hub, unless it is here.
///
/// `variant` is taken where the model has it and the name demands none. With `newest`, a model that is here is held against
/// its hashes and brought to the commit that its revision stands for now; else it keeps its commit, and what is missing is
/// added. The owner of a name without one is `sentence-transformers`. Two processes that fetch the same model do so one
/// after the other.
///
/// Errors: the options do not allow `hf://models`; what the hub refuses; a file that is not as the hub lists it; a model
/// that cannot be run, of which nothing but its settings is fetched.
pub async fn pull(
    model: &str,
    variant: Option<&str>,
    newest: bool,
    options: &Arc<FileOptions>,
) -> Result<Pulled> {
    hub::pull(model, variant, newest, options, check).await
}

/// An error if a model cannot be run of which the settings are in a folder, and the weights, of these paths, not yet.
fn check(name: &str, path: &Path, coming: BTreeSet<String>) -> Result<()> {
    let has_graph = coming.iter().any(|file| Path::new(file).extension().is_some_and(|kind| kind == "onnx"));
    let folder = ModelFolder::coming(name, path, coming);
    let check = |tower| {
        if !has_graph {
            architectures::check(path, tower)?;
        }
        match tower {
            Tower::Text => TextConfig::read(&folder).map(drop),
            Tower::Image => image_space(&folder).map(drop),
        }
    };
    let text = folder.embeds_text().then(|| check(Tower::Text));
    let images = folder.embeds_images().then(|| check(Tower::Image));
    // one tower is of use
    match (text, images) {
        (Some(Err(error)), None | Some(Err(_))) | (None, Some(Err(error))) => Err(error),
        _ => Ok(()),
    }
}

/// Deletes a model of this machine, and what was kept of its graphs; returns its name.
pub fn remove(model: &str) -> Result<String> {
    let cache = Cache::of_environment();
    let found = cache.find_to_remove(model)?;
    for folder in [found.folder.join("onnx"), found.folder.clone()] {
        for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            optimized::forget(&file.path());
        }
    }
    optimized::forget(&found.folder);
    cache.remove(&found)?;
    Ok(found.name)
}
