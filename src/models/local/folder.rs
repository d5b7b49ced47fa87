//! Finding the folder of a model, and its files.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, query_err};
use crate::io::AllowPaths;
use crate::models::home::SETUP;
use crate::models::hub::{self, Cache, ModelName, Origin};
use crate::models::json;
use crate::models::safetensors_files::{self, INDEX, SINGLE};
use crate::models::{LocalOptions, ModelRequest};

/// Models that the setup makes, and the hub does not have.
const OF_SETUP: [&str; 2] = ["conse-efficientnet-lite0", "efficientnet-lite0"];
/// One that the setup installs, and the hub has.
const DEFAULT: &str = "all-MiniLM-L6-v2";

/// A model's folder, and which of its graphs are used.
#[derive(Debug, Clone)]
pub(super) struct ModelFolder {
    name: String,
    path: PathBuf,
    graphs: Graphs,
    /// Files that are not there yet, and count as if they were.
    coming: BTreeSet<String>,
}

/// Which graphs of a model.
#[derive(Debug, Clone)]
enum Graphs {
    /// The one in this file.
    File(PathBuf),
    /// Those of this variant, and no others.
    Variant(String),
    /// Those of this variant where there are some, else the original ones.
    Preferred(Option<String>),
}

/// A half of a model that embeds both texts and images in one space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tower {
    Text,
    Image,
}

/// What a graph is loaded from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Weights {
    /// A file with the graph.
    Onnx(PathBuf),
    /// The folder of a model that has `model.safetensors`, or parts of it, and no graph.
    Safetensors(PathBuf, Tower),
}

impl ModelFolder {
    /// The folder of the model of a request: a path to it, or to a graph in it; or a name, `[OWNER/]NAME[@REVISION]`, of a
    /// model on this machine. `@variant` behind either chooses `onnx/model_variant.onnx`, and `fp32` is
    /// `onnx/model.onnx`. Reads no more than names of files.
    ///
    /// Errors say which models are here. That a model, or what `tower` needs of it, could be fetched is [`Error::NotHere`].
    pub(super) fn find(cache: &Cache, request: &ModelRequest, tower: Tower) -> Result<Self> {
        let (model, allowed) = (request.model.as_str(), &request.files.allow_paths);
        if model.starts_with(['/', '.', '~']) {
            return Self::at_path(cache, model, &request.local, allowed);
        }
        let has_variant = |name: &str, word: &str| {
            let name = ModelName { name: name.to_owned(), revision: None, variant: None };
            let found = cache.find(&name).ok().flatten();
            found.is_some_and(|found| found.folder.join(format!("onnx/model_{word}.onnx")).is_file())
        };
        let name = ModelName::parse(model, has_variant);
        if let Some(name) = &name
            && let Some(found) = cache.find(name)?
        {
            let graphs = Graphs::of(name.variant.as_deref(), &request.local);
            return Self::new(found.name, found.folder, graphs).check_graphs(name, request, tower);
        }
        let (path, variant) = split_variant(model, allowed);
        if let Ok(path) = allowed.check(Path::new(path))
            && !model.is_empty()
            && path.join("config.json").is_file()
        {
            let graphs = Graphs::of(variant, &request.local);
            return Ok(Self::new(path.display().to_string(), path, graphs));
        }
        Err(not_here(cache, model, name.as_ref(), request))
    }

    fn at_path(cache: &Cache, model: &str, options: &LocalOptions, allowed: &AllowPaths) -> Result<Self> {
        let (text, variant) = split_variant(model, allowed);
        let path = match text.strip_prefix("~/") {
            Some(rest) => etcetera::home_dir().map_or_else(|_| PathBuf::from(text), |home| home.join(rest)),
            None => PathBuf::from(text),
        };
        let path = allowed.check(&path).map_err(|error| Error::Query(format!("model {error}")))?;
        if path.is_file() && path.extension().is_some_and(|extension| extension == "onnx") {
            let parent = path.parent().unwrap_or(&path);
            let parent = if parent.ends_with("onnx") { parent.parent().unwrap_or(parent) } else { parent };
            let name = name_of(cache, parent);
            return Ok(Self::new(name, parent.to_owned(), Graphs::File(path)));
        }
        if !path.is_dir() {
            return query_err!("no model in folder {}: the folder does not exist", path.display());
        }
        let graphs = Graphs::of(variant, options);
        Ok(Self::new(name_of(cache, &path), path, graphs))
    }

    /// The model, unless it lacks what it was asked for and the hub may have it.
    fn check_graphs(self, name: &ModelName, request: &ModelRequest, tower: Tower) -> Result<Self> {
        let has_tower = match tower {
            Tower::Text => self.embeds_text(),
            Tower::Image => self.embeds_images(),
        };
        if !has_tower {
            return Ok(self);
        }
        let Err(error) = self.weights(tower) else { return Ok(self) };
        if Origin::of(&self.path).revision.is_some() && may_fetch(request).is_ok() {
            let full = self.name.split('@').next().unwrap_or_default().to_owned();
            let model = ModelName { name: full, ..name.clone() }.to_string();
            return Err(Error::NotHere { model, message: error.to_string() });
        }
        Ok(self)
    }

    /// A folder in which all is looked for, whatever it is called.
    pub(super) fn of(name: &str, path: &Path) -> Self {
        Self::coming(name, path, BTreeSet::new())
    }

    /// One of which these files are not there yet.
    pub(super) fn coming(name: &str, path: &Path, coming: BTreeSet<String>) -> Self {
        Self { coming, ..Self::new(name.to_owned(), path.to_owned(), Graphs::Preferred(None)) }
    }

    fn new(name: String, path: PathBuf, graphs: Graphs) -> Self {
        Self { name, path, graphs, coming: BTreeSet::new() }
    }

    /// The name, with organisation, without variant.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the graph of a tower is loaded from. A graph of the tower alone goes before one of the whole model, a graph
    /// before safetensors.
    pub(super) fn weights(&self, tower: Tower) -> Result<Weights> {
        let of_variant = |variant: &str| {
            let suffix = if variant == "fp32" { String::new() } else { format!("_{variant}") };
            let tower = match tower {
                Tower::Text => "onnx/text_model",
                Tower::Image => "onnx/vision_model",
            };
            let names = [tower, "onnx/model", "model"];
            let mut paths = names.iter().map(|name| self.path.join(format!("{name}{suffix}.onnx")));
            paths.find(|path| path.is_file())
        };
        let graph = match &self.graphs {
            Graphs::File(path) => Some(path.clone()),
            Graphs::Variant(variant) => of_variant(variant),
            Graphs::Preferred(variant) => {
                variant.as_deref().and_then(of_variant).or_else(|| of_variant("fp32"))
            }
        };
        if let Some(graph) = graph {
            return Ok(Weights::Onnx(graph));
        }
        let demands_variant = matches!(&self.graphs, Graphs::Variant(variant) if variant != "fp32");
        let safetensors = match demands_variant {
            true => vec![],
            false => safetensors_files::files(&self.path)?,
        };
        if let Some(missing) = safetensors.iter().find(|file| !file.is_file()) {
            return query_err!(
                "model '{}' has no file {}, which its {INDEX} names",
                self.name,
                missing.display()
            );
        }
        if !safetensors.is_empty() {
            return Ok(Weights::Safetensors(self.path.clone(), tower));
        }
        let file = match &self.graphs {
            Graphs::Variant(variant) if demands_variant => format!("onnx/model_{variant}.onnx"),
            _ => "onnx/model.onnx".to_owned(),
        };
        let graphs = graphs(&self.path);
        query_err!(
            "model '{}' has no file {}{}: {}",
            self.name,
            self.path.join(file).display(),
            if demands_variant { String::new() } else { format!(", and no {SINGLE}") },
            if graphs.is_empty() {
                "there is no ONNX graph".to_owned()
            } else {
                format!("there is {}", graphs.join(", "))
            }
        )
    }

    /// Whether it has a file, or will have it.
    pub(super) fn has(&self, file: &str) -> bool {
        self.coming.contains(file) || self.path.join(file).is_file()
    }

    /// The path of a file.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// A model of text has a tokenizer.
    pub(super) fn embeds_text(&self) -> bool {
        self.path.join("tokenizer.json").is_file()
    }

    /// A model of images says how they are preprocessed.
    pub(super) fn embeds_images(&self) -> bool {
        self.path.join("preprocessor_config.json").is_file()
    }

    /// An error that names the path of a file of the model, if it is not there.
    pub(super) fn require(&self, file: &str) -> Result<()> {
        if self.path.join(file).is_file() { Ok(()) } else { Err(self.missing(file)) }
    }

    fn missing(&self, file: &str) -> Error {
        Error::Query(format!("model '{}' has no file {}", self.name, self.path.join(file).display()))
    }

    /// The bytes of a file of the model; the error names its path.
    pub(super) fn read(&self, file: &str) -> Result<Vec<u8>> {
        self.read_if_exists(file)?.ok_or_else(|| self.missing(file))
    }

    /// The bytes of a file of the model, if there is one.
    pub(super) fn read_if_exists(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(file);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => query_err!("cannot read {}: {error}", path.display()),
        }
    }

    /// A file of the model as JSON, if there is one; the error names its path.
    pub(super) fn read_json<T: serde::de::DeserializeOwned>(&self, file: &str) -> Result<Option<T>> {
        json::read(&self.path.join(file), json::MAX_SETTINGS)
    }
}

impl Graphs {
    fn of(named: Option<&str>, options: &LocalOptions) -> Self {
        match named {
            Some(variant) => Self::Variant(variant.to_owned()),
            None => Self::Preferred(options.variant.clone()),
        }
    }
}

/// A path may hold an @ too: only what is behind its last `/` is a variant.
fn split_variant<'t>(text: &'t str, allowed: &AllowPaths) -> (&'t str, Option<&'t str>) {
    let exists = || allowed.check(Path::new(text)).is_ok_and(|path| path.exists());
    match text.rsplit_once('@') {
        Some((path, variant)) if !variant.contains('/') && !exists() => (path, Some(variant)),
        _ => (text, None),
    }
}

/// One name for all spellings: below the folder of all models the path in it, elsewhere the whole path.
fn name_of(cache: &Cache, path: &Path) -> String {
    path.strip_prefix(cache.models()).unwrap_or(path).display().to_string()
}

/// An error unless a model may be fetched for this request.
fn may_fetch(request: &ModelRequest) -> Result<()> {
    if request.local.offline {
        return query_err!("it is not fetched, as semantic.offline is true");
    }
    hub::check_allowed(&request.files)
}

fn not_here(cache: &Cache, model: &str, name: Option<&ModelName>, request: &ModelRequest) -> Error {
    let mut here = format!(
        "model '{model}' is not on this machine: in {} there {}",
        cache.models().display(),
        cache.installed()
    );
    if let Some(unfinished) = name.and_then(|name| cache.unfinished_of_libraries(name)) {
        here = format!("{here}; {unfinished}");
    }
    let Some(name) = name.filter(|name| name.may_be_of_hub()) else {
        return Error::Query(format!(
            "{here}; give one of these, the path of a folder, or OWNER/NAME of a model of the hub"
        ));
    };
    if OF_SETUP.contains(&name.name.as_str()) {
        return Error::Query(format!("{here}; {SETUP}"));
    }
    let setup = match name.name.ends_with(DEFAULT) {
        true => format!("{SETUP}, "),
        false => String::new(),
    };
    let pull = format!("{setup}`semsql models pull {name}` fetches it from the hub");
    match may_fetch(request) {
        Ok(()) => Error::NotHere { model: name.to_string(), message: format!("{here}; {pull}") },
        Err(error) => Error::Query(format!("{here}; {error}; {pull}")),
    }
}

fn graphs(model: &Path) -> Vec<String> {
    let mut graphs: Vec<String> = std::fs::read_dir(model.join("onnx"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "onnx"))
        .collect();
    graphs.sort();
    graphs
}
