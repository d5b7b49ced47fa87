//! Bringing a model from the hub into the folder of models.
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use super::cache::{Cache, DEFAULT_REVISION, UNFINISHED};
use super::fetch::fetch;
use super::manifest::Manifest;
use super::name::ModelName;
use super::progress::Progress;
use super::selection::{Files, Selection, by_path, select};
use crate::error::{Error, Result, query_err};
use crate::io::FileOptions;
use crate::io::model_repository::{Commit, ModelRepository, RepositoryFile};
use crate::models::external_data::external_files;

/// Files that are read at the same time: most are small, and wait for the hub rather than for the network.
const AT_THE_SAME_TIME: usize = 4;
/// How often another process's lock is looked at.
const PAUSE: Duration = Duration::from_millis(100);
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

/// Fetches a model, `[OWNER/]NAME[@REVISION][@VARIANT]`, from the hub, unless it is here.
///
/// `variant` is taken where the model has it and the name demands none. With `newest`, a model that is here is brought to
/// the commit that its revision stands for now; else it keeps its commit, and what is missing is added. The owner of a
/// name without one is `sentence-transformers`. Two processes that fetch the same model do so one after the other.
///
/// Errors: the options do not allow `hf://models`; what the hub refuses; a file that is not as the hub lists it; a
/// repository without a graph or safetensors.
pub async fn pull(
    model: &str,
    variant: Option<&str>,
    newest: bool,
    options: &Arc<FileOptions>,
) -> Result<Pulled> {
    let Some(name) = ModelName::parse(model, |_, _| false) else {
        return query_err!("'{model}' names no model of the hub: write OWNER/NAME or OWNER/NAME@REVISION");
    };
    let place = Place::of(&Cache::of_environment(), &name);
    let fetched = place.fetch(&name, variant, newest, options).await;
    fetched.map_err(|error| match error {
        Error::Query(reason) => Error::Query(format!("cannot fetch model '{name}': {reason}")),
        Error::Data(reason) => Error::Data(format!("cannot fetch model '{name}': {reason}")),
        Error::Unavailable(reason) => Error::Unavailable(format!("cannot fetch model '{name}': {reason}")),
        error @ Error::NotHere { .. } => error,
    })
}

/// Where a model is to be.
struct Place {
    /// `OWNER/NAME[@REVISION]`
    name: String,
    /// `OWNER/NAME`
    repository: String,
    revision: String,
    /// Where it is when it is whole.
    folder: PathBuf,
    unfinished: PathBuf,
}

impl Place {
    fn of(cache: &Cache, name: &ModelName) -> Self {
        let repository = name.repository();
        let full = ModelName { name: repository.clone(), ..name.clone() };
        Self {
            folder: cache.models().join(full.folder()),
            unfinished: cache.models().join(UNFINISHED),
            revision: name.revision.clone().unwrap_or_else(|| DEFAULT_REVISION.to_owned()),
            name: full.folder(),
            repository,
        }
    }

    /// A name for files beside the models.
    fn key(&self) -> String {
        self.name.replace('/', "--")
    }

    async fn fetch(
        &self,
        name: &ModelName,
        variant: Option<&str>,
        newest: bool,
        options: &Arc<FileOptions>,
    ) -> Result<Pulled> {
        let at = format!("{}@{}", self.repository, self.revision.replace('/', "%2F"));
        let repository = ModelRepository::open(&at, options)?;
        let progress = Progress::begin(name.to_string());
        let _lock = self.lock().await?;
        let here = self.here()?;
        let commit = match &here {
            Some(here) if !newest => Commit { id: here.commit.clone(), licence: here.licence.clone() },
            _ => repository.commit().await?,
        };
        let here = here.filter(|here| here.commit == commit.id);
        let files = by_path(repository.files(&commit).await?)?;
        let (variant, demanded) = match &name.variant {
            Some(variant) => (Some(variant.as_str()), true),
            None => (variant, false),
        };
        let selection = select(&files, variant, demanded)?;
        let has = |here: &Manifest, path: &str| here.files.contains_key(path);
        if let Some(here) =
            here.as_ref().filter(|here| selection.files.iter().all(|file| has(here, &file.path)))
        {
            return Ok(self.pulled(here, false));
        }
        let making = Making {
            folder: self.unfinished.join(format!("{}={}", self.key(), commit.id)),
            before: self.unfinished.join(format!("{}=before", self.key())),
            repository: &repository,
            commit: &commit,
            progress: &progress,
        };
        let mut manifest = Manifest {
            repository: self.repository.clone(),
            revision: self.revision.clone(),
            commit: commit.id.clone(),
            licence: commit.licence.clone(),
            ..Manifest::default()
        };
        if let Some(here) = here {
            making.take(&self.folder, &here)?;
            (manifest.files, manifest.sha256) = (here.files, here.sha256);
        }
        making.fetch(&files, selection, &mut manifest).await?;
        making.finish(&manifest, &self.folder)?;
        self.tidy();
        Ok(self.pulled(&manifest, true))
    }

    /// Deletes what was begun of other commits.
    fn tidy(&self) {
        let begun = format!("{}=", self.key());
        for entry in fs::read_dir(&self.unfinished).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&begun) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Waits for other processes that fetch this model. The lock ends with the file, or with the process.
    async fn lock(&self) -> Result<File> {
        let path = self.unfinished.join(format!("{}.lock", self.key()));
        let failed = |error| Error::Query(format!("cannot lock {}: {error}", path.display()));
        fs::create_dir_all(&self.unfinished).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// What was fetched for this model; an error if another has made its folder.
    fn here(&self) -> Result<Option<Manifest>> {
        match Manifest::of_pull(&self.folder) {
            Some(manifest) => Ok(Some(manifest)),
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
    /// Where the folder goes that is replaced.
    before: PathBuf,
    repository: &'a ModelRepository,
    commit: &'a Commit,
    progress: &'a Progress,
}

impl Making<'_> {
    /// Takes the files of the folder that this one will replace: as further names of them, or copies.
    fn take(&self, from: &Path, manifest: &Manifest) -> Result<()> {
        for path in manifest.files.keys() {
            let (from, to) = (from.join(path), self.folder.join(path));
            let failed = |error| Error::Query(format!("cannot write {}: {error}", to.display()));
            if !to.exists() {
                fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(failed)?;
                fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).map_err(failed)?;
            }
        }
        Ok(())
    }

    async fn fetch(&self, files: &Files, selection: Selection, manifest: &mut Manifest) -> Result<()> {
        let parts = self.folder.join(PARTS);
        fs::create_dir_all(&parts)
            .map_err(|error| Error::Query(format!("cannot create {}: {error}", parts.display())))?;
        let new = |file: &RepositoryFile, manifest: &Manifest| !manifest.files.contains_key(&file.path);
        let first = selection.files.into_iter().filter(|file| new(file, manifest)).collect();
        self.fetch_all(first, &parts, manifest).await?;
        // only a graph itself says in which files its weights are
        let mut behind = BTreeMap::new();
        for graph in &selection.graphs {
            let folder = graph.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
            for name in external_files(&self.folder.join(graph))? {
                let path = format!("{folder}{}", name.trim_start_matches("./"));
                match files.get(&path) {
                    Some(file) if new(file, manifest) => drop(behind.insert(path, file.clone())),
                    Some(_) => {}
                    None => return query_err!("{graph} keeps weights in '{name}', which it does not have"),
                }
            }
        }
        self.fetch_all(behind.into_values().collect(), &parts, manifest).await
    }

    async fn fetch_all(
        &self,
        mut files: Vec<RepositoryFile>,
        parts: &Path,
        manifest: &mut Manifest,
    ) -> Result<()> {
        self.progress.expect(files.iter().map(|file| file.size).sum());
        // the largest first: the others are fetched beside it
        files.sort_by_key(|file| std::cmp::Reverse(file.size));
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
    fn finish(&self, manifest: &Manifest, place: &Path) -> Result<()> {
        let failed = |error| Error::Query(format!("cannot write {}: {error}", place.display()));
        let parts = self.folder.join(PARTS);
        fs::remove_dir_all(&parts).map_err(failed)?;
        manifest.write(&self.folder).map_err(failed)?;
        fs::create_dir_all(place.parent().unwrap_or(place)).map_err(failed)?;
        let _ = fs::remove_dir_all(&self.before);
        if place.exists() {
            fs::rename(place, &self.before).map_err(failed)?;
        }
        if let Err(error) = fs::rename(&self.folder, place) {
            // as it was
            let _ = fs::rename(&self.before, place);
            return Err(failed(error));
        }
        let _ = fs::remove_dir_all(&self.before);
        Ok(())
    }
}
