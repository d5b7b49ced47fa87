//! Finding the folder of a model, and its files.
use std::path::{Path, PathBuf};

use super::architectures;
use super::home::SETUP;
use crate::error::{Error, Result, query_err};

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
    /// The folder of a model that has safetensors files and no graph.
    Safetensors(PathBuf, Tower),
}

/// A model's folder and the graph in it.
#[derive(Debug, Clone)]
pub(super) struct ModelFolder {
    name: String,
    path: PathBuf,
    /// None where there are weights alone.
    graph: Option<PathBuf>,
}

impl ModelFolder {
    /// The folder of `model`, which is a path, or a name below `models`: with its organisation
    /// (`sentence-transformers/all-MiniLM-L6-v2`) or, where only one model has it, without. `@variant` behind it
    /// chooses `onnx/model_variant.onnx`, and `fp32` is `onnx/model.onnx`; without it, `variant` is taken where there
    /// is one, else `onnx/model.onnx`. Where that is not there, the graph is built for the model's weights, if it has
    /// `model.safetensors` or the index of several such files. Errors list what is there.
    pub(super) fn find(models: &Path, model: &str, variant: Option<&str>) -> Result<Self> {
        // a path may hold an @ too
        let (name, named) = match model.rsplit_once('@') {
            Some((name, variant)) if !variant.contains('/') => (name, Some(variant)),
            _ => (model, None),
        };
        let path = Self::path_of(models, name)?;
        let of_variant = |variant| match variant {
            "fp32" => path.join("onnx/model.onnx"),
            _ => path.join("onnx").join(format!("model_{variant}.onnx")),
        };
        let preferred = || variant.map(of_variant).filter(|graph| graph.is_file());
        let graph = match named {
            Some(named) => of_variant(named),
            None => preferred().unwrap_or_else(|| of_variant("fp32")),
        };
        let weights =
            graph == of_variant("fp32") && !graph.is_file() && !architectures::files(&path)?.is_empty();
        if !graph.is_file() && !weights {
            let graphs = graphs(&path);
            return query_err!(
                "model '{model}' has no file {}: {}",
                graph.display(),
                if graphs.is_empty() { SETUP.to_owned() } else { format!("there is {}", graphs.join(", ")) }
            );
        }
        // one name for all spellings: below the folder of all models the path in it, elsewhere the whole path
        let name =
            path.strip_prefix(models).map_or_else(|_| name.to_owned(), |name| name.display().to_string());
        Ok(Self { name, path, graph: (!weights).then_some(graph) })
    }

    fn path_of(models: &Path, name: &str) -> Result<PathBuf> {
        let unsafe_name =
            name.is_empty() || Path::new(name).components().any(|part| part.as_os_str() == "..");
        if name.starts_with(['/', '.', '~']) {
            let path = match name.strip_prefix("~/") {
                Some(rest) => {
                    etcetera::home_dir().map_or_else(|_| PathBuf::from(name), |home| home.join(rest))
                }
                None => PathBuf::from(name),
            };
            return match path.is_dir() {
                true => Ok(path),
                false => query_err!("no model in folder {}: the folder does not exist", path.display()),
            };
        }
        if !unsafe_name && models.join(name).join("config.json").is_file() {
            return Ok(models.join(name));
        }
        let installed = installed(models);
        let same_name: Vec<&String> =
            installed.iter().filter(|model| model.rsplit('/').next() == Some(name)).collect();
        match (same_name.as_slice(), installed.as_slice()) {
            ([only], _) => Ok(models.join(only)),
            // a folder of the current one
            ([], _) if !unsafe_name && Path::new(name).join("config.json").is_file() => {
                Ok(PathBuf::from(name))
            }
            ([], []) => {
                query_err!("unknown model '{name}': no model is installed in {}; {SETUP}", models.display())
            }
            ([], _) => query_err!(
                "unknown model '{name}': installed in {} are {}; give one of these, or the path of a folder",
                models.display(),
                list(&installed)
            ),
            (several, _) => query_err!("model '{name}' is ambiguous: give one of {}", list(several)),
        }
    }

    /// The name, with organisation, without variant.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the graph of a tower is loaded from.
    pub(super) fn weights(&self, tower: Tower) -> Weights {
        match &self.graph {
            Some(path) => Weights::Onnx(path.clone()),
            None => Weights::Safetensors(self.path.clone(), tower),
        }
    }

    /// The path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
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
        Error::Query(format!("model '{}' has no file {}: {SETUP}", self.name, self.path.join(file).display()))
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
        let Some(bytes) = self.read_if_exists(file)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Query(format!("cannot use {}: {error}", self.path.join(file).display())))
    }
}

/// The names of the models below a folder, sorted: folders with a `config.json`, at most one organisation deep.
fn installed(models: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for folder in folders(models) {
        if models.join(&folder).join("config.json").is_file() {
            names.push(folder);
            continue;
        }
        for inner in folders(&models.join(&folder)) {
            if models.join(&folder).join(&inner).join("config.json").is_file() {
                names.push(format!("{folder}/{inner}"));
            }
        }
    }
    names.sort();
    names
}

fn folders(path: &Path) -> Vec<String> {
    std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect()
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

fn list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("'{}'", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(names: &[&str]) -> tempfile::TempDir {
        let models = tempfile::tempdir().unwrap();
        for name in names {
            let folder = models.path().join(name);
            std::fs::create_dir_all(folder.join("onnx")).unwrap();
            std::fs::write(folder.join("config.json"), "{}").unwrap();
            std::fs::write(folder.join("onnx/model.onnx"), "").unwrap();
        }
        models
    }

    fn error(models: &tempfile::TempDir, name: &str) -> String {
        ModelFolder::find(models.path(), name, None).unwrap_err().to_string()
    }

    #[test]
    fn long_and_short_names_and_paths() {
        let models = models(&["org/a", "b"]);
        for (name, found) in [("org/a", "org/a"), ("a", "org/a"), ("b", "b")] {
            assert_eq!(ModelFolder::find(models.path(), name, None).unwrap().name(), found);
        }
        let path = models.path().join("org/a").display().to_string();
        assert_eq!(ModelFolder::find(models.path(), &path, None).unwrap().name(), "org/a");
    }

    #[test]
    fn unknown_models_list_the_known_ones() {
        let models = models(&["org/a", "b"]);
        assert!(error(&models, "c").contains("'b', 'org/a'"), "{}", error(&models, "c"));
        assert!(error(&models, "../b").contains("does not exist"), "{}", error(&models, "../b"));
        assert!(error(&models, "org/../b").starts_with("unknown model"));
        let empty = self::models(&[]);
        assert!(error(&empty, "c").contains("make setup"), "{}", error(&empty, "c"));
    }

    #[test]
    fn ambiguous_short_names_are_refused() {
        let models = models(&["x/a", "y/a"]);
        assert_eq!(error(&models, "a"), "model 'a' is ambiguous: give one of 'x/a', 'y/a'");
    }

    #[test]
    fn the_name_of_a_model_demands_a_variant_and_the_option_prefers_one() {
        let models = models(&["a", "b"]);
        std::fs::write(models.path().join("a/onnx/model_int8.onnx"), "").unwrap();
        for (name, variant, found) in [
            ("a", None, "a/onnx/model.onnx"),
            ("a", Some("int8"), "a/onnx/model_int8.onnx"),
            ("a@fp32", Some("int8"), "a/onnx/model.onnx"),
            ("a@int8", Some("fp32"), "a/onnx/model_int8.onnx"),
            ("b", Some("int8"), "b/onnx/model.onnx"),
        ] {
            let graph = ModelFolder::find(models.path(), name, variant).unwrap().graph.unwrap();
            assert_eq!(graph, models.path().join(found), "{name}, {variant:?}");
        }
    }

    #[test]
    fn a_missing_variant_lists_the_graphs() {
        let models = models(&["a"]);
        assert!(error(&models, "a@int8").ends_with("onnx/model_int8.onnx: there is model.onnx"));
    }
}
