//! Where models are on this machine: the folder of models of this program, and, to read only, the cache of the Hugging
//! Face libraries.
use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::name::ModelName;
use crate::error::{Error, Result, query_err};
use crate::models::home;

/// The revision of a model that is named without one.
pub(super) const DEFAULT_REVISION: &str = "main";
/// A commit may be given by its first digits, as many as these.
const SHORTEST_COMMIT: usize = 7;
/// Below the folder of models: what is being fetched.
pub(super) const UNFINISHED: &str = ".pulling";

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    models: PathBuf,
    of_hub: PathBuf,
}

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// `[OWNER/]NAME[@REVISION]`
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl Cache {
    /// That of the environment.
    pub(crate) fn of_environment() -> Self {
        Self { models: home::home().join("models"), of_hub: home::cache_of_hub() }
    }

    #[cfg(test)]
    pub(crate) fn in_folders(models: &Path, of_hub: &Path) -> Self {
        Self { models: models.to_owned(), of_hub: of_hub.to_owned() }
    }

    /// The folder of models.
    pub(crate) fn models(&self) -> &Path {
        &self.models
    }

    /// The model of a name, which may lack its owner where only one model here has that name. `None` where it is not
    /// here.
    pub(crate) fn find(&self, name: &ModelName) -> Result<Option<Found>> {
        let name =
            match name.name.contains('/') || self.models.join(name.folder()).join("config.json").is_file() {
                true => name.clone(),
                false => ModelName { name: self.with_owner(&name.name)?, ..name.clone() },
            };
        let folder = self.models.join(name.folder());
        if folder.join("config.json").is_file() {
            return Ok(Some(Found { name: name.folder(), folder }));
        }
        if let Some(revision) = &name.revision {
            let folder = self.models.join(&name.name);
            if Manifest::of_pull(&folder).is_some_and(|manifest| is_revision(&manifest, revision)) {
                return Ok(Some(Found { name: name.name, folder }));
            }
        }
        Ok(self.snapshot(&name).map(|folder| Found { name: name.folder(), folder }))
    }

    /// The full name of the one model here of this short name, or the short name.
    fn with_owner(&self, name: &str) -> Result<String> {
        let names: Vec<String> = self.names().into_iter().filter(|full| !full.contains('@')).collect();
        let same: Vec<&String> = names.iter().filter(|full| full.rsplit('/').next() == Some(name)).collect();
        match same.as_slice() {
            [] => Ok(name.to_owned()),
            [only] => Ok((*only).clone()),
            several => query_err!("model '{name}' is ambiguous: give one of {}", list(several)),
        }
    }

    /// The names of the models in the folder of models, sorted: of folders with a `config.json`, at most one owner deep.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in folders(&self.models) {
            if self.models.join(&folder).join("config.json").is_file() {
                names.push(folder);
                continue;
            }
            for inner in folders(&self.models.join(&folder)) {
                if self.models.join(&folder).join(&inner).join("config.json").is_file() {
                    names.push(format!("{folder}/{inner}"));
                }
            }
        }
        names.sort();
        names
    }

    /// All models here that have all that a model needs, those of the libraries behind the own ones.
    pub(crate) fn all(&self) -> Vec<Found> {
        let own = self.names().into_iter().map(|name| Found { folder: self.models.join(&name), name });
        let mut found: Vec<Found> = own.collect();
        let mut of_hub: Vec<String> = folders(&self.of_hub)
            .into_iter()
            .filter_map(|folder| folder.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)))
            .collect();
        of_hub.sort();
        for name in of_hub {
            let model = ModelName { name: name.clone(), revision: None, variant: None };
            if let Some(folder) = self.snapshot(&model).filter(|_| found.iter().all(|own| own.name != name)) {
                found.push(Found { name, folder });
            }
        }
        found
    }

    /// The folder of a revision in the cache of the Hugging Face libraries, if what a model needs is there:
    /// `models--OWNER--NAME/snapshots/COMMIT`, with the commits of branches and tags in `refs`.
    fn snapshot(&self, name: &ModelName) -> Option<PathBuf> {
        let repository = self.of_hub.join(format!("models--{}", name.name.replace('/', "--")));
        let revision = name.revision.as_deref().unwrap_or(DEFAULT_REVISION);
        let commit = fs::read_to_string(repository.join("refs").join(revision));
        let commit = commit.map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned());
        let is_plain = commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !commit.is_empty();
        let folder = is_plain.then(|| repository.join("snapshots").join(commit))?;
        // libraries fetch what they need, which may be other files
        let there = |file: &str| folder.join(file).is_file();
        let settings = there("config.json") && (there("tokenizer.json") || there("preprocessor_config.json"));
        let weights = ["onnx/model.onnx", "onnx/text_model.onnx", "model.onnx", "model.safetensors"];
        let weights = weights.into_iter().chain(["model.safetensors.index.json"]).any(there);
        (settings && weights).then_some(folder)
    }

    /// A model of the folder of models; an error that says which there are.
    pub(crate) fn find_to_remove(&self, model: &str) -> Result<Found> {
        let Some(name) = ModelName::parse(model, |_, _| false) else {
            return query_err!("'{model}' names no model: write OWNER/NAME or OWNER/NAME@REVISION");
        };
        // a revision that is the commit of another folder is not that folder
        let found = match name.revision.is_some() && !self.models.join(name.folder()).is_dir() {
            true => None,
            false => self.find(&name)?,
        };
        match found {
            Some(found) if found.folder.starts_with(&self.models) => Ok(found),
            Some(found) => query_err!(
                "model '{model}' is in {}, the cache of the Hugging Face libraries, which is only read",
                found.folder.display()
            ),
            None => query_err!("no model '{model}' in {}: there {}", self.models.display(), self.installed()),
        }
    }

    /// Deletes a model that was found in the folder of models.
    pub(crate) fn remove(&self, found: &Found) -> Result<()> {
        let failed = |error| Error::Query(format!("cannot remove {}: {error}", found.folder.display()));
        // it is gone at once, however long its files take
        let unfinished = self.models.join(UNFINISHED);
        fs::create_dir_all(&unfinished).map_err(failed)?;
        let leaving = unfinished.join(format!("removed-{}", std::process::id()));
        fs::rename(&found.folder, &leaving).map_err(failed)?;
        fs::remove_dir_all(&leaving).map_err(failed)?;
        // the owner's folder, if that was the last of its models
        if let Some(owner) = found.folder.parent().filter(|owner| *owner != self.models) {
            let _ = fs::remove_dir(owner);
        }
        Ok(())
    }

    /// `is no model`, or `are 'a', 'b'`.
    pub(crate) fn installed(&self) -> String {
        match self.names().as_slice() {
            [] => "is no model".to_owned(),
            [only] => format!("is '{only}'"),
            names => format!("are {}", list(names)),
        }
    }
}

/// Whether a revision names the commit of what was fetched, as one may have a branch and a commit's first digits.
fn is_revision(manifest: &Manifest, revision: &str) -> bool {
    let digits = revision.len() >= SHORTEST_COMMIT && revision.bytes().all(|digit| digit.is_ascii_hexdigit());
    manifest.revision == revision || (digits && manifest.commit.starts_with(revision))
}

fn folders(path: &Path) -> Vec<String> {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

fn list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("'{}'", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(names: &[&str]) -> (tempfile::TempDir, Cache) {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::in_folders(&root.path().join("models"), &root.path().join("hub"));
        for name in names {
            write(&cache.models.join(name), "config.json", "{}");
        }
        (root, cache)
    }

    fn write(folder: &Path, file: &str, text: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn find(cache: &Cache, name: &str) -> Option<String> {
        let name = ModelName::parse(name, |_, _| false).unwrap();
        cache.find(&name).unwrap().map(|found| found.name)
    }

    #[test]
    fn long_and_short_names() {
        let (_root, cache) = cache(&["org/a", "b", "x/c", "y/c"]);
        for (name, found) in
            [("org/a", Some("org/a")), ("a", Some("org/a")), ("b", Some("b")), ("org/b", None), ("d", None)]
        {
            assert_eq!(find(&cache, name).as_deref(), found, "{name}");
        }
        let error = cache.find(&ModelName::parse("c", |_, _| false).unwrap()).unwrap_err().to_string();
        assert_eq!(error, "model 'c' is ambiguous: give one of 'x/c', 'y/c'");
    }

    #[test]
    fn a_revision_is_a_folder_of_its_own_or_that_of_its_commit() {
        let (_root, cache) = cache(&["o/n", "o/n@v1", "o/m@v1"]);
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let manifest =
            Manifest { revision: "main".to_owned(), commit: commit.to_owned(), ..Manifest::default() };
        manifest.write(&cache.models.join("o/n")).unwrap();
        for (name, found) in [
            ("o/n@v1", Some("o/n@v1")),
            ("o/n@main", Some("o/n")),
            ("o/n@0123456", Some("o/n")),
            ("o/n@012345", None),
            ("o/n@v2", None),
            ("o/m", None),
            ("n@v1", Some("o/n@v1")),
        ] {
            assert_eq!(find(&cache, name).as_deref(), found, "{name}");
        }
    }

    #[test]
    fn a_snapshot_of_the_libraries_is_used_where_it_is_whole() {
        let (_root, cache) = cache(&[]);
        let repository = cache.of_hub.join("models--o--n");
        write(&repository, "refs/main", "abc123");
        write(&repository, "refs/evil", "../../../x");
        let snapshot = repository.join("snapshots/abc123");
        write(&snapshot, "config.json", "{}");
        write(&snapshot, "tokenizer.json", "{}");
        write(&snapshot, "pytorch_model.bin", "");
        assert_eq!(find(&cache, "o/n"), None);
        write(&snapshot, "model.safetensors", "");
        for (name, found) in
            [("o/n", Some("o/n")), ("o/n@abc123", Some("o/n@abc123")), ("o/n@evil", None), ("o/n@v1", None)]
        {
            assert_eq!(find(&cache, name).as_deref(), found, "{name}");
        }
        assert_eq!(cache.all(), [Found { name: "o/n".to_owned(), folder: snapshot }]);
        let error = cache.find_to_remove("o/n").unwrap_err().to_string();
        assert!(error.contains("which is only read"), "{error}");
    }

    #[test]
    fn a_model_is_removed_and_nothing_else() {
        let (_root, cache) = cache(&["o/n", "o/m", "b"]);
        for name in ["n", "b"] {
            cache.remove(&cache.find_to_remove(name).unwrap()).unwrap();
        }
        assert_eq!(cache.names(), ["o/m"]);
        let error = cache.find_to_remove("b").unwrap_err().to_string();
        assert!(error.contains("no model 'b' in") && error.ends_with("there is 'o/m'"), "{error}");
        cache.remove(&cache.find_to_remove("o/m").unwrap()).unwrap();
        assert!(!cache.models.join("o").exists());
    }
}
