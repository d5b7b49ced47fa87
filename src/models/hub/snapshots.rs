//! The cache of the Hugging Face libraries, which is only read.
//!
//! `models--OWNER--NAME/snapshots/COMMIT` has files of a commit, `refs` the commits of branches and tags, and
//! `.no_exist/COMMIT` an empty file for each that a library has asked for and the repository does not have
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>). Libraries fetch what they need, which may be less
//! than a model needs here.
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::{DEFAULT_REVISION, folders};
use super::name::{ModelName, is_plain_part};
use crate::models::safetensors_files::{self, INDEX, SINGLE};

const MODULES: &str = "modules.json";

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Snapshots {
    folder: PathBuf,
}

/// The files of a model at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) folder: PathBuf,
    /// What a model needs, and is not there.
    pub(super) lacks: Option<String>,
}

impl Snapshots {
    pub(super) fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// `OWNER/NAME` of each model, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = folders(&self.folder)
            .into_iter()
            .filter_map(|folder| folder.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)))
            .collect();
        names.sort();
        names
    }

    /// The folder of a model, if all that it needs is there.
    pub(super) fn find(&self, name: &ModelName) -> Option<PathBuf> {
        self.look(name).filter(|snapshot| snapshot.lacks.is_none()).map(|snapshot| snapshot.folder)
    }

    /// What is there of a model.
    pub(super) fn look(&self, name: &ModelName) -> Option<Snapshot> {
        let repository = self.folder.join(format!("models--{}", name.name.replace('/', "--")));
        let revision = name.revision.as_deref().unwrap_or(DEFAULT_REVISION);
        let commit = fs::read_to_string(repository.join("refs").join(revision));
        let commit = commit.map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned());
        let is_plain = commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !commit.is_empty();
        let folder = is_plain.then(|| repository.join("snapshots").join(&commit))?;
        let knows_none = repository.join(".no_exist").join(commit).join(MODULES).is_file();
        folder.is_dir().then(|| Snapshot { lacks: lacks(&folder, knows_none), folder })
    }
}

/// What a model needs, and is not there. `knows_none` where it is known that the repository has no `modules.json`.
fn lacks(folder: &Path, knows_none: bool) -> Option<String> {
    let there = |file: &str| folder.join(file).is_file();
    if !there("config.json") {
        return Some("config.json".to_owned());
    }
    let (of_text, of_images) = (there("tokenizer.json"), there("preprocessor_config.json"));
    if !of_text && !of_images {
        return Some("tokenizer.json".to_owned());
    }
    let graphs = ["onnx/model.onnx", "onnx/text_model.onnx", "model.onnx"];
    if !graphs.into_iter().any(there) {
        match safetensors_files::files(folder).unwrap_or_default() {
            files if files.is_empty() => return Some(format!("{SINGLE}, or onnx/model.onnx")),
            files => {
                if let Some(missing) = files.iter().find(|file| !file.is_file()) {
                    let name = missing.file_name().unwrap_or_default().to_string_lossy();
                    return Some(format!("{name}, which {INDEX} names"));
                }
            }
        }
    }
    if let Some(missing) = modules(folder).into_iter().find(|file| !there(file)) {
        return Some(missing);
    }
    // of texts alone, whose vectors are pooled as it says; those of texts and images pool themselves
    let needs_modules = of_text && !of_images;
    (needs_modules && !there(MODULES) && !knows_none).then(|| {
        format!(
            "{MODULES}, which says how vectors are made of tokens, and without a note that its repository has none: both \
             come with the library sentence-transformers when it opens the model"
        )
    })
}

/// The files of settings that `modules.json` asks for, if it is there.
fn modules(folder: &Path) -> Vec<String> {
    let text = fs::read(folder.join(MODULES)).unwrap_or_default();
    let modules: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap_or_default();
    let text = |module: &serde_json::Value, key| module[key].as_str().unwrap_or_default().to_owned();
    let configured = modules
        .iter()
        .filter(|module| matches!(text(module, "type").rsplit('.').next(), Some("Pooling" | "Dense")));
    let paths = configured.map(|module| text(module, "path"));
    paths
        .filter(|path| path.split('/').all(is_plain_part))
        .map(|path| format!("{path}/config.json"))
        .collect()
}
