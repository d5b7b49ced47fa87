//! What is being fetched, replaced or removed, beside the models: the folder `.pulling` below theirs.
//!
//! | entry | |
//! | --- | --- |
//! | `KEY.lock` | locked by the one process that fetches, replaces or removes the model |
//! | `KEY=COMMIT` | the files of a commit, until all of them are there |
//! | `KEY=before` | the model that is being replaced: where its place is empty, it is put back |
//! | `removed-*` | what is being deleted |
//!
//! `KEY` is the model's name with `%2F` for its `/`.
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::error::{Error, Result};

/// Below the folder of models.
const FOLDER: &str = ".pulling";
const BEFORE: &str = "before";
const REMOVED: &str = "removed-";
/// How often another process's lock is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// A process that deletes for longer than this has ended.
const LONGEST_REMOVAL: Duration = Duration::from_hours(1);

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    folder: PathBuf,
    key: String,
    /// Where the model is when it is whole.
    place: PathBuf,
}

/// Held by one process at a time. It ends with the value, or with the process.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is the lock")] File);

impl Unfinished {
    /// Of the model that is called `name` in the folder of models.
    pub(super) fn of(models: &Path, name: &str) -> Self {
        Self { folder: models.join(FOLDER), key: name.replacen('/', "%2F", 1), place: models.join(name) }
    }

    /// Where the files of a commit are gathered.
    pub(super) fn making(&self, commit: &str) -> PathBuf {
        self.folder.join(format!("{}={commit}", self.key))
    }

    fn before(&self) -> PathBuf {
        self.making(BEFORE)
    }

    /// `None` while another holds it.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>> {
        let path = self.folder.join(format!("{}.lock", self.key));
        let failed = |error| Error::Query(format!("cannot lock {}: {error}", path.display()));
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Waits for whoever holds it.
    pub(super) async fn lock(&self) -> Result<Lock> {
        loop {
            match self.try_lock()? {
                Some(lock) => return Ok(lock),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Puts back what was about to be replaced when a process ended. For who holds the lock.
    pub(super) fn restore(&self) {
        if !self.place.exists() {
            let _ = fs::rename(self.before(), &self.place);
        }
    }

    /// Puts `making` into the model's place, instead of what is there. For who holds the lock.
    pub(super) fn replace(&self, making: &Path) -> io::Result<()> {
        let before = self.before();
        fs::create_dir_all(self.place.parent().unwrap_or(&self.place))?;
        let _ = fs::remove_dir_all(&before);
        if self.place.exists() {
            fs::rename(&self.place, &before)?;
        }
        if let Err(error) = fs::rename(making, &self.place) {
            self.restore();
            return Err(error);
        }
        Ok(())
    }

    /// What was begun of this model.
    fn begun(&self) -> impl Iterator<Item = PathBuf> {
        let begun = format!("{}=", self.key);
        entries(&self.folder).filter_map(move |(name, path)| name.starts_with(&begun).then_some(path))
    }

    pub(super) fn is_begun(&self) -> bool {
        self.begun().next().is_some()
    }

    /// Deletes what was begun of this model. For who holds the lock.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.begun().try_for_each(fs::remove_dir_all)
    }

    /// Deletes the model in its place. It is gone at once, however long its files take. For who holds the lock.
    pub(super) fn remove(&self) -> io::Result<()> {
        for (name, path) in entries(&self.folder) {
            if name.starts_with(REMOVED) && is_older(&path, LONGEST_REMOVAL) {
                let _ = fs::remove_dir_all(path);
            }
        }
        let leaving: TempDir = tempfile::Builder::new().prefix(REMOVED).tempdir_in(&self.folder)?;
        fs::rename(&self.place, leaving.path().join("model"))?;
        leaving.close()
    }
}

/// Puts back every model that was about to be replaced when a process ended.
pub(super) fn restore_all(models: &Path) {
    for (name, _) in entries(&models.join(FOLDER)) {
        let Some(key) = name.strip_suffix(BEFORE).and_then(|name| name.strip_suffix('=')) else { continue };
        let unfinished = Unfinished::of(models, &key.replacen("%2F", "/", 1));
        // who holds the lock does it, or puts another model there
        if !unfinished.place.exists()
            && let Ok(Some(_lock)) = unfinished.try_lock()
        {
            unfinished.restore();
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    modified.and_then(|modified| SystemTime::now().duration_since(modified).ok()).is_some_and(|old| old > age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_about_to_be_replaced_is_put_back() {
        let models = tempfile::tempdir().unwrap();
        let unfinished = Unfinished::of(models.path(), "o--p/n@refs%2Fpr%2F1");
        fs::create_dir_all(unfinished.before().join("old")).unwrap();
        let place = models.path().join("o--p/n@refs%2Fpr%2F1");
        fs::create_dir(place.parent().unwrap()).unwrap();
        // while the process that replaces it lives, this is its business
        let lock = unfinished.try_lock().unwrap().unwrap();
        assert!(unfinished.try_lock().unwrap().is_none());
        restore_all(models.path());
        assert!(!place.exists());
        drop(lock);
        restore_all(models.path());
        assert!(place.join("old").is_dir());
        // where the new one is in its place, the old one is no more than rubbish
        fs::create_dir_all(unfinished.before().join("older")).unwrap();
        restore_all(models.path());
        assert!(place.join("old").is_dir());
        unfinished.clear().unwrap();
        assert!(!unfinished.is_begun());
    }

    #[test]
    fn what_a_process_left_while_it_deleted_is_deleted() {
        let models = tempfile::tempdir().unwrap();
        let unfinished = Unfinished::of(models.path(), "o/n");
        let _lock = unfinished.try_lock().unwrap();
        let (old, new) = (unfinished.folder.join("removed-1"), unfinished.folder.join("removed-2"));
        for folder in [&old, &new, &unfinished.place] {
            fs::create_dir_all(folder.join("files")).unwrap();
        }
        let before = SystemTime::now() - 2 * LONGEST_REMOVAL;
        File::open(&old).unwrap().set_modified(before).unwrap();
        unfinished.remove().unwrap();
        assert!(!old.exists() && new.exists() && !unfinished.place.exists());
    }
}
