//! Bringing a model from the hub into the folder of models.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use futures::{StreamExt, TryStreamExt, stream};

use super::cache::{Cache, DEFAULT_REVISION};
use super::fetch::fetch;
use super::manifest::Manifest;
use super::name::ModelName;
use super::progress::Progress;
use super::selection::{Files, PROMPTS, Selection, by_path, select};
use super::unfinished::{Lock, Unfinished};
use crate::blocking::blocking;
use crate::error::{Error, Result, query_err};
use crate::io::FileOptions;
use crate::io::model_repository::{Commit, ModelRepository, RepositoryFile};
use crate::models::external_data::external_files;
use crate::models::safetensors_files::{self, INDEX};

/// Files that are read at the same time: most are small, and wait for the hub rather than for the network.
const AT_THE_SAME_TIME: usize = 4;
/// Below what is being fetched: files that are not yet whole.
const PARTS: &str = ".parts";

/// A model that is on this machine now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// `OWNER/NAME[@REVISION]`
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// The commit of the repository.
    pub commit: String,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Whether there was something to fetch.
    pub changed: bool,
}

/// An error if a model cannot be run of which the settings are in a folder, and the weights, of these paths, not yet.
pub(crate) type Check = fn(name: &str, folder: &Path, coming: BTreeSet<String>) -> Result<()>;

/// Fetches a model, `[OWNER/]NAME[@REVISION][@VARIANT]`, from the hub, unless it is here.
///
/// `variant` is taken where the model has it and the name demands none. With `newest`, a model that is here is held against
/// its hashes and brought to the commit that its revision stands for now; else it keeps its commit, and what is missing is
/// added. The owner of a name without one is `sentence-transformers`. Two processes that fetch the same model do so one
/// after the other.
///
/// Errors: the options do not allow `hf://models`; what the hub refuses; a file that is not as the hub lists it; what
/// `check` says of the settings, which are fetched before the weights.
pub(crate) async fn pull(
    model: &str,
    variant: Option<&str>,
    newest: bool,
    options: &Arc<FileOptions>,
    check: Check,
) -> Result<Pulled> {
    let Some(name) = ModelName::parse(model, |_, _| false) else {
        return query_err!("'{model}' names no model of the hub: write OWNER/NAME or OWNER/NAME@REVISION");
    };
    let place = Place::of(&Cache::of_environment(), &name);
    let fetched = place.fetch(&name, variant, newest, options, check).await;
    fetched.map_err(|error| match error {
        Error::Query(reason) => Error::Query(format!("cannot fetch model '{name}': {reason}")),
        Error::Data(reason) => Error::Data(format!("cannot fetch model '{name}': {reason}")),
        Error::Unavailable(reason) => Error::Unavailable(format!("cannot fetch model '{name}': {reason}")),
        error @ Error::NotHere { .. } => error,
    })
}

/// Where a model is to be.
#[derive(Clone)]
struct Place {
    /// `OWNER/NAME[@REVISION]`
    name: String,
    /// `OWNER/NAME`
    repository: String,
    revision: String,
    /// Where it is when it is whole.
    folder: PathBuf,
    unfinished: Unfinished,
}

/// What is in the place of a model.
struct Here {
    /// Of the files that are as they were fetched.
    manifest: Manifest,
    /// Whether these are all.
    is_whole: bool,
    /// The paths of all.
    files: Vec<String>,
}

impl Place {
    fn of(cache: &Cache, name: &ModelName) -> Self {
        let repository = name.repository();
        let full = ModelName { name: repository.clone(), ..name.clone() }.folder();
        Self {
            folder: cache.models().join(&full),
            unfinished: Unfinished::of(cache.models(), &full),
            revision: name.revision.clone().unwrap_or_else(|| DEFAULT_REVISION.to_owned()),
            name: full,
            repository,
        }
    }

    async fn fetch(
        &self,
        name: &ModelName,
        variant: Option<&str>,
        newest: bool,
        options: &Arc<FileOptions>,
        check: Check,
    ) -> Result<Pulled> {
        let at = format!("{}@{}", self.repository, self.revision.replace('/', "%2F"));
        let repository = ModelRepository::open(&at, options)?;
        let progress = Progress::begin(name.to_string());
        let lock = Arc::new(self.unfinished.lock().await?);
        let (place, held) = (self.clone(), Arc::clone(&lock));
        let here = blocking(move || {
            let _held = held;
            place.unfinished.restore();
            place.here(newest)
        });
        let here = here.await?;
        let commit = match &here {
            Some(here) if !newest => {
                Commit { id: here.manifest.commit.clone(), licence: here.manifest.licence.clone() }
            }
            _ => repository.commit().await?,
        };
        let files = by_path(repository.files(&commit).await?)?;
        let (variant, demanded) = match &name.variant {
            Some(variant) => (Some(variant.as_str()), true),
            None => (variant, false),
        };
        let had = here.iter().flat_map(|here| &here.files);
        let selection = select(&files, variant, demanded, had)?;
        let here = here.filter(|here| here.manifest.commit == commit.id);
        let has = |here: &Here| {
            here.is_whole && selection.files().all(|file| here.manifest.files.contains_key(&file.path))
        };
        if let Some(here) = here.as_ref().filter(|here| has(here)) {
            return Ok(self.pulled(&here.manifest, false));
        }
        let making = Making {
            folder: self.unfinished.making(&commit.id),
            place: self,
            lock: &lock,
            repository: &repository,
            commit: &commit,
            check,
            progress: &progress,
        };
        let mut manifest = Manifest {
            repository: self.repository.clone(),
            revision: self.revision.clone(),
            commit: commit.id.clone(),
            licence: commit.licence.clone(),
            ..Manifest::default()
        };
        making.begin(here.as_ref()).await?;
        if let Some(here) = here {
            (manifest.files, manifest.sha256) = (here.manifest.files, here.manifest.sha256);
        }
        making.fetch(&files, selection, &mut manifest).await?;
        making.finish(&manifest).await?;
        Ok(self.pulled(&manifest, true))
    }

    /// What was fetched for this model, held against its hashes where it is to be `hashed`; an error if another has made
    /// its folder.
    fn here(&self, hashed: bool) -> Result<Option<Here>> {
        match Manifest::of_pull(&self.folder) {
            Some(mut manifest) => {
                let files = manifest.files.keys().cloned().collect();
                let is_whole = manifest.keep_intact(&self.folder, hashed);
                Ok(Some(Here { manifest, is_whole, files }))
            }
            None if !self.folder.exists() => Ok(None),
            None => query_err!(
                "its folder {} is there, and was not fetched from the hub: delete it first, or \
                 `semsql models remove {}` does",
                self.folder.display(),
                self.name
            ),
        }
    }

    fn pulled(&self, manifest: &Manifest, changed: bool) -> Pulled {
        Pulled {
            name: self.name.clone(),
            path: self.folder.clone(),
            commit: manifest.commit.clone(),
            bytes: manifest.files.values().sum(),
            changed,
        }
    }
}

/// A model's folder before it is in its place.
struct Making<'a> {
    folder: PathBuf,
    place: &'a Place,
    lock: &'a Arc<Lock>,
    repository: &'a ModelRepository,
    commit: &'a Commit,
    check: Check,
    progress: &'a Progress,
}

impl Making<'_> {
    /// Runs `work` on a thread for it. The model stays locked until it ends, even where nobody waits for it any more.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Path) -> T + Send + 'static) -> T {
        let (folder, lock) = (self.folder.clone(), Arc::clone(self.lock));
        blocking(move || {
            let _lock = lock;
            work(&folder)
        })
        .await
    }

    /// Makes the folder, with what is here already.
    async fn begin(&self, here: Option<&Here>) -> Result<()> {
        let files = here.map(|here| here.manifest.files.clone()).unwrap_or_default();
        let from = self.place.folder.clone();
        self.blocking(move |folder| {
            let parts = folder.join(PARTS);
            fs::create_dir_all(&parts)
                .map_err(|error| Error::Query(format!("cannot create {}: {error}", parts.display())))?;
            files.iter().try_for_each(|(path, size)| {
                let to = folder.join(path);
                take(&from.join(path), &to, *size, &parts)
                    .map_err(|error| Error::Query(format!("cannot write {}: {error}", to.display())))
            })
        })
        .await
    }

    async fn fetch(&self, files: &Files, selection: Selection, manifest: &mut Manifest) -> Result<()> {
        let has_index = selection.has_index();
        let Selection { settings, mut weights, graphs } = selection;
        let settings = missing(settings, manifest);
        let bytes_of_settings = bytes(&settings);
        self.fetch_all(settings, manifest).await?;
        if has_index {
            let named = self.blocking(safetensors_files::files).await;
            let named = named.and_then(|named| shards(files, &named));
            weights.extend(self.or_discard(named).await?);
        }
        // nothing large is fetched for a model that cannot be run
        let coming: BTreeSet<String> = weights.iter().map(|file| file.path.clone()).collect();
        let (check, name) = (self.check, self.place.name.clone());
        let checked = self.blocking(move |folder| check(&name, folder, coming)).await;
        self.or_discard(checked).await?;
        let weights = missing(weights, manifest);
        self.progress.expect(bytes_of_settings + bytes(&weights));
        self.fetch_all(weights, manifest).await?;
        // only a graph itself says in which files its weights are
        let mut behind = BTreeMap::new();
        for graph in graphs {
            let path = graph.clone();
            let named = self.blocking(move |folder| external_files(&folder.join(path))).await;
            let named = named.and_then(|named| files_behind(files, &graph, named));
            behind.extend(self.or_discard(named).await?);
        }
        let behind = missing(behind.into_values(), manifest);
        self.progress.expect(bytes(&behind));
        self.fetch_all(behind, manifest).await
    }

    /// What was fetched of a model that cannot be used is deleted: nobody would ask for the rest of it.
    async fn or_discard<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.blocking(|folder| drop(fs::remove_dir_all(folder))).await;
        }
        result
    }

    async fn fetch_all(&self, mut files: Vec<RepositoryFile>, manifest: &mut Manifest) -> Result<()> {
        // the largest first: the others are fetched beside it
        files.sort_by_key(|file| std::cmp::Reverse(file.size));
        let parts = &self.folder.join(PARTS);
        let fetched = files.into_iter().map(|file| async move {
            let target = self.folder.join(&file.path);
            let sha256 = fetch(self.repository, self.commit, &file, parts, &target, self.progress).await?;
            Ok::<_, Error>((file, sha256))
        });
        let fetched: Vec<_> = stream::iter(fetched).buffer_unordered(AT_THE_SAME_TIME).try_collect().await?;
        for (file, sha256) in fetched {
            manifest.sha256.insert(file.path.clone(), sha256);
            manifest.files.insert(file.path, file.size);
        }
        Ok(())
    }

    /// Puts the folder into its place, instead of the one that is there.
    async fn finish(&self, manifest: &Manifest) -> Result<()> {
        let (manifest, place) = (manifest.clone(), self.place.clone());
        self.blocking(move |folder| {
            let put = || {
                fs::remove_dir_all(folder.join(PARTS))?;
                keep_own(&place.folder, folder)?;
                manifest.write(folder)?;
                place.unfinished.replace(folder)
            };
            put()
                .map_err(|error| Error::Query(format!("cannot write {}: {error}", place.folder.display())))?;
            // of this commit before, and of others
            let _ = place.unfinished.clear();
            Ok(())
        })
        .await
    }
}

/// Those files that a manifest lacks.
fn missing(files: impl IntoIterator<Item = RepositoryFile>, manifest: &Manifest) -> Vec<RepositoryFile> {
    files.into_iter().filter(|file| !manifest.files.contains_key(&file.path)).collect()
}

fn bytes(files: &[RepositoryFile]) -> u64 {
    files.iter().map(|file| file.size).sum()
}

/// Takes a file of the folder that will be replaced: as a further name of it, or as a copy, which is there whole or not at
/// all.
fn take(from: &Path, to: &Path, size: u64, parts: &Path) -> io::Result<()> {
    if fs::metadata(to).is_ok_and(|there| there.len() == size) {
        return Ok(());
    }
    let _ = fs::remove_file(to);
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let copy = tempfile::NamedTempFile::new_in(parts)?;
    fs::copy(from, &copy)?;
    copy.persist(to)?;
    Ok(())
}

/// Prompts that a user has put into a model's folder stay there, where the hub has none.
fn keep_own(before: &Path, folder: &Path) -> io::Result<()> {
    let is_own = Manifest::of_pull(before).is_some_and(|manifest| !manifest.files.contains_key(PROMPTS));
    let (from, to) = (before.join(PROMPTS), folder.join(PROMPTS));
    match is_own && from.is_file() && !to.exists() {
        true => fs::copy(from, to).map(drop),
        false => Ok(()),
    }
}

/// The files of weights that an index names.
fn shards(files: &Files, named: &[PathBuf]) -> Result<Vec<RepositoryFile>> {
    let parts = named.iter().filter_map(|path| path.file_name()?.to_str());
    parts
        .map(|name| match files.get(name) {
            Some(file) => Ok(file.clone()),
            None => query_err!("{INDEX} keeps weights in '{name}', which it does not have"),
        })
        .collect()
}

/// The files of weights that a graph names, by their paths.
fn files_behind(files: &Files, graph: &str, named: BTreeSet<String>) -> Result<Files> {
    let folder = graph.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let found = named.into_iter().map(|name| {
        let path = format!("{folder}{}", name.trim_start_matches("./"));
        match files.get(&path) {
            Some(file) => Ok((path, file.clone())),
            None => query_err!("{graph} keeps weights in '{name}', which it does not have"),
        }
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_copied_in_part_is_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("from"), "whole").unwrap();
        fs::write(path("to"), "who").unwrap();
        take(&path("from"), &path("to"), 5, folder.path()).unwrap();
        assert_eq!(fs::read(path("to")).unwrap(), b"whole");
        // what is not there leaves nothing
        take(&path("none"), &path("in/folder"), 5, folder.path()).unwrap_err();
        assert!(!path("in/folder").exists());
    }
}
