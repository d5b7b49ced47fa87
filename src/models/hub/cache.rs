//! Where models are on this machine: the folder of models of this program, and, to read only, the cache of the Hugging
//! Face libraries (`snapshots`).
use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::name::ModelName;
use super::snapshots::Snapshots;
use super::unfinished::{self, Unfinished};
use crate::error::{Error, Result, query_err};
use crate::models::home;

/// The revision of a model that is named without one.
pub(super) const DEFAULT_REVISION: &str = "main";
/// A commit may be given by its first digits, as many as these.
const SHORTEST_COMMIT: usize = 7;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    models: PathBuf,
    snapshots: Snapshots,
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
        Self::in_folders(&home::home().join("models"), &home::cache_of_hub())
    }

    pub(crate) fn in_folders(models: &Path, of_hub: &Path) -> Self {
        Self { models: models.to_owned(), snapshots: Snapshots::in_folder(of_hub.to_owned()) }
    }

    /// The folder of models.
    pub(crate) fn models(&self) -> &Path {
        &self.models
    }

    /// The model of a name; `None` where it is not here. A name that lacks its owner is that of a model here whose owner
    /// is `sentence-transformers`, or else of the only one that is called so.
    pub(crate) fn find(&self, name: &ModelName) -> Result<Option<Found>> {
        unfinished::restore_all(&self.models);
        if name.name.contains('/') || self.is_model(&name.folder()) {
            return Ok(self.own(name).or_else(|| self.of_libraries(name)));
        }
        let own = full_names(&self.names(), name);
        let mut found: Vec<Found> = own.iter().filter_map(|name| self.own(name)).collect();
        if found.is_empty() {
            let of_libraries = full_names(&self.snapshots.names(), name);
            found = of_libraries.iter().filter_map(|name| self.of_libraries(name)).collect();
        }
        let of_default_owner = ModelName { name: name.repository(), ..name.clone() };
        let is_default =
            |found: &Found| [of_default_owner.folder(), of_default_owner.name.clone()].contains(&found.name);
        match found.as_slice() {
            several @ [_, _, ..] if !several.iter().any(is_default) => {
                let names: Vec<&String> = several.iter().map(|found| &found.name).collect();
                query_err!("model '{}' is ambiguous: give one of {}", name.name, list(&names))
            }
            _ => Ok(found.iter().position(is_default).or(Some(0)).and_then(|at| found.into_iter().nth(at))),
        }
    }

    fn is_model(&self, folder: &str) -> bool {
        self.models.join(folder).join("config.json").is_file()
    }

    /// The model of a full name in the folder of models.
    fn own(&self, name: &ModelName) -> Option<Found> {
        let folder = name.folder();
        if self.is_model(&folder) {
            return Some(Found { folder: self.models.join(&folder), name: folder });
        }
        let revision = name.revision.as_ref()?;
        let folder = self.models.join(&name.name);
        let manifest = Manifest::of_pull(&folder).filter(|manifest| is_revision(manifest, revision));
        manifest.filter(|_| self.is_model(&name.name)).map(|_| Found { name: name.name.clone(), folder })
    }

    /// The model of a full name in the cache of the libraries.
    fn of_libraries(&self, name: &ModelName) -> Option<Found> {
        self.snapshots.find(name).map(|folder| Found { name: name.folder(), folder })
    }

    /// Where the cache of the libraries has a model of this name, but not all that it needs: what is missing.
    pub(crate) fn unfinished_of_libraries(&self, name: &ModelName) -> Option<String> {
        let names = match name.name.contains('/') {
            true => vec![name.clone()],
            false => full_names(&self.snapshots.names(), name),
        };
        let snapshot = names.iter().find_map(|name| self.snapshots.look(name))?;
        Some(format!(
            "the cache of the Hugging Face libraries has it in {} without {}",
            snapshot.folder.display(),
            snapshot.lacks?
        ))
    }

    /// The names of the models in the folder of models, sorted: of folders with a `config.json`, at most one owner deep.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in folders(&self.models) {
            if self.is_model(&folder) {
                names.push(folder);
                continue;
            }
            for inner in folders(&self.models.join(&folder)) {
                let name = format!("{folder}/{inner}");
                if self.is_model(&name) {
                    names.push(name);
                }
            }
        }
        names.sort();
        names
    }

    /// All models here that have all that a model needs, those of the libraries behind the own ones.
    pub(crate) fn all(&self) -> Vec<Found> {
        unfinished::restore_all(&self.models);
        let own = self.names().into_iter().map(|name| Found { folder: self.models.join(&name), name });
        let mut found: Vec<Found> = own.collect();
        for name in self.snapshots.names() {
            let model = ModelName { name, revision: None, variant: None };
            let others = self.of_libraries(&model).filter(|new| found.iter().all(|own| own.name != new.name));
            found.extend(others);
        }
        found
    }

    /// A model of the folder of models, or one of which a part was fetched; an error that says which there are.
    pub(crate) fn find_to_remove(&self, model: &str) -> Result<Found> {
        let Some(name) = ModelName::parse(model, |_, _| false) else {
            return query_err!("'{model}' names no model: write OWNER/NAME or OWNER/NAME@REVISION");
        };
        // a revision that is the commit of another folder is not that folder
        let found = self.find(&name)?.filter(|found| name.revision.is_none() || found.name.contains('@'));
        let full = ModelName { name: name.repository(), ..name }.folder();
        match found {
            Some(found) if found.folder.starts_with(&self.models) => Ok(found),
            _ if Unfinished::of(&self.models, &full).is_begun() => {
                Ok(Found { folder: self.models.join(&full), name: full })
            }
            Some(found) => query_err!(
                "model '{model}' is in {}, the cache of the Hugging Face libraries, which is only read",
                found.folder.display()
            ),
            None => query_err!("no model '{model}' in {}: there {}", self.models.display(), self.installed()),
        }
    }

    /// Deletes a model that was found in the folder of models, and what was fetched of it and not finished.
    pub(crate) fn remove(&self, found: &Found) -> Result<()> {
        let failed = |error| Error::Query(format!("cannot remove {}: {error}", found.folder.display()));
        let unfinished = Unfinished::of(&self.models, &found.name);
        let Some(_lock) = unfinished.try_lock()? else {
            return query_err!("cannot remove model '{}': another process fetches it now", found.name);
        };
        unfinished.clear().map_err(failed)?;
        if found.folder.exists() {
            unfinished.remove().map_err(failed)?;
        }
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

/// The names without revisions, among those of models, that a short name may stand for.
fn full_names(names: &[String], short: &ModelName) -> Vec<ModelName> {
    let names = names.iter().map(|name| name.split('@').next().unwrap_or_default());
    let mut names: Vec<&str> = names.filter(|name| name.rsplit('/').next() == Some(&short.name)).collect();
    names.dedup();
    names.into_iter().map(|name| ModelName { name: name.to_owned(), ..short.clone() }).collect()
}

/// Whether a revision names the commit of what was fetched, as one may have a branch and a commit's first digits.
fn is_revision(manifest: &Manifest, revision: &str) -> bool {
    let digits = revision.len() >= SHORTEST_COMMIT && revision.bytes().all(|digit| digit.is_ascii_hexdigit());
    manifest.revision == revision || (digits && manifest.commit.starts_with(revision))
}

/// The folders in a folder that are not hidden.
pub(super) fn folders(path: &Path) -> Vec<String> {
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
        let (_root, cache) = cache(&["org/a", "b", "x/c", "y/c", "x/e", "sentence-transformers/e"]);
        for (name, found) in [
            ("org/a", Some("org/a")),
            ("a", Some("org/a")),
            ("b", Some("b")),
            ("org/b", None),
            ("d", None),
            // as at the hub
            ("e", Some("sentence-transformers/e")),
        ] {
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
            ("n@0123456", Some("o/n")),
            // of a model that is here in no other revision
            ("m@v1", Some("o/m@v1")),
            ("m", None),
        ] {
            assert_eq!(find(&cache, name).as_deref(), found, "{name}");
        }
    }

    /// The model `o/n` in the cache of the libraries, which know its newest commit.
    fn snapshot(root: &Path) -> (PathBuf, PathBuf) {
        let repository = root.join("hub/models--o--n");
        write(&repository, "refs/main", "abc123");
        write(&repository, "refs/evil", "../../../x");
        let snapshot = repository.join("snapshots/abc123");
        write(&snapshot, "config.json", "{}");
        write(&snapshot, "tokenizer.json", "{}");
        (repository, snapshot)
    }

    #[test]
    fn a_snapshot_of_the_libraries_is_used_where_it_is_whole() {
        let (root, cache) = cache(&[]);
        let (repository, snapshot) = snapshot(root.path());
        write(&snapshot, "pytorch_model.bin", "");
        write(&repository, ".no_exist/abc123/modules.json", "");
        assert_eq!(find(&cache, "o/n"), None);
        write(&snapshot, "model.safetensors", "");
        for (name, found) in [
            ("o/n", Some("o/n")),
            ("n", Some("o/n")),
            ("o/n@abc123", Some("o/n@abc123")),
            ("n@abc123", Some("o/n@abc123")),
            ("o/n@evil", None),
            ("o/n@v1", None),
        ] {
            assert_eq!(find(&cache, name).as_deref(), found, "{name}");
        }
        assert_eq!(cache.all(), [Found { name: "o/n".to_owned(), folder: snapshot }]);
        let error = cache.find_to_remove("o/n").unwrap_err().to_string();
        assert!(error.contains("which is only read"), "{error}");
    }

    /// What libraries fetch is what they need: how vectors are made of tokens is no business of some.
    #[test]
    fn a_snapshot_that_lacks_something_is_not_used() {
        let (root, cache) = cache(&[]);
        let (repository, snapshot) = snapshot(root.path());
        let name = ModelName::parse("n", |_, _| false).unwrap();
        let lacks = |expected: &str| {
            assert_eq!((find(&cache, "o/n"), cache.all()), (None, vec![]), "{expected}");
            let found = cache.unfinished_of_libraries(&name).unwrap();
            assert!(found.contains(&format!("{} without {expected}", snapshot.display())), "{found}");
        };
        lacks("model.safetensors, or onnx/model.onnx");
        let index = r#"{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}"#;
        write(&snapshot, "model.safetensors.index.json", index);
        write(&snapshot, "model-1-of-2.safetensors", "");
        lacks("model-2-of-2.safetensors, which model.safetensors.index.json names");
        write(&snapshot, "model-2-of-2.safetensors", "");
        lacks("modules.json, which says how vectors are made of tokens");
        let modules = r#"[{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"},
                          {"path": "2_Normalize", "type": "x.Normalize"}]"#;
        write(&snapshot, "modules.json", modules);
        lacks("1_Pooling/config.json");
        write(&snapshot, "1_Pooling/config.json", "{}");
        assert_eq!(find(&cache, "o/n").as_deref(), Some("o/n"));
        // a model of texts and images pools itself
        for file in ["modules.json", "1_Pooling/config.json"] {
            fs::remove_file(snapshot.join(file)).unwrap();
        }
        write(&repository, ".no_exist/another/modules.json", "");
        lacks("modules.json");
        write(&snapshot, "preprocessor_config.json", "{}");
        assert_eq!(find(&cache, "o/n").as_deref(), Some("o/n"));
    }

    #[test]
    fn a_model_whose_replacement_was_interrupted_is_here() {
        let (_root, cache) = cache(&["o/n"]);
        fs::create_dir(cache.models.join(".pulling")).unwrap();
        let before = cache.models.join(".pulling/o%2Fn=before");
        for lost in
            [|cache: &Cache| find(cache, "n"), |cache: &Cache| Some(cache.all().first()?.name.clone())]
        {
            fs::rename(cache.models.join("o/n"), &before).unwrap();
            assert_eq!(lost(&cache).as_deref(), Some("o/n"));
        }
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
        // one that is being fetched is left alone
        let pulling = cache.models.join(".pulling");
        let lock = Unfinished::of(&cache.models, "o/m").try_lock().unwrap();
        let error = cache.remove(&cache.find_to_remove("o/m").unwrap()).unwrap_err().to_string();
        assert!(error.contains("another process fetches it now"), "{error}");
        drop(lock);
        for begun in ["o%2Fm=abc/.parts/x", "o%2Fm=before/x", "o%2Fm2=abc/x"] {
            write(&pulling, begun, "");
        }
        cache.remove(&cache.find_to_remove("o/m").unwrap()).unwrap();
        assert!(!cache.models.join("o").exists());
        // what was never finished is removed by its name, too
        assert_eq!(folders(&pulling), ["o%2Fm2=abc"]);
        cache.remove(&cache.find_to_remove("o/m2").unwrap()).unwrap();
        assert_eq!(folders(&pulling), [""; 0]);
        cache.find_to_remove("o/m2").unwrap_err();
    }
}
