//! One file of a repository, brought to this machine and held against its hash.
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::manifest::hex;
use super::progress::Progress;
use crate::blocking::blocking;
use crate::error::{Error, Result, data_err};
use crate::io::model_repository::{Commit, FileHash, ModelRepository, RepositoryFile};

/// Reads that bring nothing, in a row, before a file is given up.
const MAX_IDLE_TRIES: usize = 3;

/// Fetches a file to `target`, unless it is there, through a file in `parts`, which is read on where it broke off.
///
/// Returns the SHA-256 of the content, which is as the hub lists it; content that is not is deleted, and an error.
pub(super) async fn fetch(
    repository: &ModelRepository,
    commit: &Commit,
    file: &RepositoryFile,
    parts: &Path,
    target: &Path,
    progress: &Progress,
) -> Result<String> {
    let (FileHash::Sha256(name) | FileHash::Git(name)) = &file.hash;
    if name.is_empty() || !name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return data_err!("the hub lists no hash of {}", file.path);
    }
    let there = target.is_file();
    let part = if there {
        target.to_owned()
    } else {
        parts.join(format!("{}-{name}", file.path.replace('/', "--")))
    };
    let opened = {
        let (part, file) = (part.clone(), file.clone());
        blocking(move || Partial::open(&part, &file)).await
    };
    let mut partial = opened?;
    progress.add(partial.bytes);
    let mut idle = 0;
    while partial.bytes < file.size {
        let before = partial.bytes;
        let read = repository.read(commit, &file.path, before, |at, bytes| {
            if at != partial.bytes {
                // the server gave no range: all of it once more
                progress.take_back(partial.bytes);
                partial.truncate()?;
            }
            partial.append(bytes, file.size)?;
            progress.add(bytes.len() as u64);
            Ok(())
        });
        match read.await {
            Ok(()) if partial.bytes == before => {
                return data_err!(
                    "{} ended after {before} bytes: the hub lists {} of them",
                    file.path,
                    file.size
                );
            }
            Ok(()) => {}
            Err(broken) => {
                idle = if partial.bytes > before { 0 } else { idle + 1 };
                if !broken.again || idle >= MAX_IDLE_TRIES {
                    partial.keep()?;
                    return Err(broken.error);
                }
            }
        }
    }
    let sha256 = partial.finish(&file.hash, &file.path)?;
    if !there {
        let failed = |error| Error::Query(format!("cannot write {}: {error}", target.display()));
        fs::create_dir_all(target.parent().unwrap_or(target)).map_err(failed)?;
        fs::rename(&part, target).map_err(failed)?;
    }
    Ok(sha256)
}

/// The beginning of a file, with the hashes of what is there.
struct Partial {
    path: PathBuf,
    file: File,
    bytes: u64,
    size: u64,
    sha256: Sha256,
    git: Sha1,
}

impl Partial {
    /// What was read before counts as read, unless it is longer than the file.
    fn open(path: &Path, of: &RepositoryFile) -> Result<Self> {
        let failed = |error| Error::Query(format!("cannot write {}: {error}", path.display()));
        let options = File::options().read(true).append(true).create(true).clone();
        let file = options.open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > of.size {
            file.set_len(0).map_err(failed)?;
        }
        let (sha256, git) = empty_hashes(of.size);
        let mut partial = Self { path: path.to_owned(), file, bytes: 0, size: of.size, sha256, git };
        let mut known = vec![0; 1 << 18];
        loop {
            match partial.file.read(&mut known).map_err(failed)? {
                0 => return Ok(partial),
                read => partial.count(&known[..read]),
            }
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.git.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::Query(format!("cannot write {}: {error}", self.path.display()))
    }

    fn append(&mut self, bytes: &[u8], size: u64) -> Result<()> {
        if self.bytes + bytes.len() as u64 > size {
            self.truncate()?;
            return data_err!("the hub sent more bytes than the {size} that it lists: they were deleted");
        }
        self.file.write_all(bytes).map_err(|error| self.failed(&error))?;
        self.count(bytes);
        Ok(())
    }

    fn truncate(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| self.failed(&error))?;
        (self.sha256, self.git) = empty_hashes(self.size);
        self.bytes = 0;
        Ok(())
    }

    fn keep(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| self.failed(&error))
    }

    /// The SHA-256, if the content is what was listed.
    fn finish(self, expected: &FileHash, path: &str) -> Result<String> {
        self.keep()?;
        let sha256 = hex(&self.sha256.finalize());
        let (kind, found, expected) = match expected {
            FileHash::Sha256(expected) => ("SHA-256", sha256.clone(), expected),
            FileHash::Git(expected) => ("git hash", hex(&self.git.finalize()), expected),
        };
        if found.eq_ignore_ascii_case(expected) {
            return Ok(sha256);
        }
        // nobody can use it, and it would be found again
        let _ = fs::remove_file(&self.path);
        data_err!("{path} has {kind} {found}, the hub lists {expected}: it was deleted; try again")
    }
}

/// The hashes before the first byte: git's begins with the kind and the length of what follows.
fn empty_hashes(size: u64) -> (Sha256, Sha1) {
    (Sha256::new(), Sha1::new_with_prefix(format!("blob {size}\0")))
}
