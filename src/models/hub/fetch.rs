//! One file of a repository, brought to this machine and held against its hash.
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::manifest::hex;
use super::progress::Progress;
use crate::blocking::blocking;
use crate::error::{Error, Result, data_err};
use crate::io::model_repository::{Commit, FileHash, ModelRepository, RepositoryFile};

/// Reads that bring nothing new, in a row, before a file is given up.
const MAX_IDLE_TRIES: u32 = 3;
/// Before a read that follows one that broke off, the longer the more of them brought nothing.
const PAUSE: Duration = Duration::from_millis(100);

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
    let part = parts.join(format!("{}-{name}", file.path.replace('/', "--")));
    let begun = {
        let (part, target, file) = (part.clone(), target.to_owned(), file.clone());
        blocking(move || begin(&part, &target, &file)).await
    };
    let mut partial = match begun? {
        Begun::Here(sha256) => {
            progress.add(file.size);
            return Ok(sha256);
        }
        Begun::Partial(partial) => partial,
    };
    progress.add(partial.bytes);
    // where a server gives no ranges, each read begins again: only what no read before has brought is new
    let (mut most, mut idle) = (partial.bytes, 0);
    while partial.bytes < file.size {
        let read = repository.read(commit, &file.path, partial.bytes, |at, bytes| {
            if at != partial.bytes {
                // the server gave no range: all of it once more
                progress.take_back(partial.bytes);
                partial.truncate()?;
            }
            partial.append(bytes)?;
            progress.add(bytes.len() as u64);
            Ok(())
        });
        let read = read.await;
        idle = if partial.bytes > most { 0 } else { idle + 1 };
        most = most.max(partial.bytes);
        match read {
            Ok(()) if idle > 0 => {
                return data_err!(
                    "{} ended after {} bytes: the hub lists {} of them",
                    file.path,
                    partial.bytes,
                    file.size
                );
            }
            Ok(()) => {}
            Err(broken) if broken.again && idle < MAX_IDLE_TRIES => {
                tokio::time::sleep(PAUSE * (idle + 1)).await;
            }
            Err(broken) => {
                blocking(move || partial.keep()).await?;
                return Err(broken.error);
            }
        }
    }
    let (target, file) = (target.to_owned(), file.clone());
    blocking(move || partial.finish(&file, &target)).await
}

/// What is there of a file.
enum Begun {
    /// All of it, with its SHA-256.
    Here(String),
    Partial(Box<Partial>),
}

fn begin(part: &Path, target: &Path, file: &RepositoryFile) -> Result<Begun> {
    if target.is_file() {
        let failed = |error| Error::Query(format!("cannot read {}: {error}", target.display()));
        let mut hashes = Hashes::new(file);
        hashes.read(&mut File::open(target).map_err(failed)?).map_err(failed)?;
        if let Ok(sha256) = hashes.finish(file) {
            return Ok(Begun::Here(sha256));
        }
        // never written to: it may be a model's that is in use
        fs::remove_file(target).map_err(failed)?;
    }
    Partial::open(part, file).map(|partial| Begun::Partial(Box::new(partial)))
}

/// The hashes of what was read of a file.
struct Hashes {
    sha256: Sha256,
    /// Where the hub lists no other: it begins with the kind and the length of what follows.
    git: Option<Sha1>,
}

impl Hashes {
    fn new(file: &RepositoryFile) -> Self {
        let is_git = matches!(file.hash, FileHash::Git(_));
        let git = is_git.then(|| Sha1::new_with_prefix(format!("blob {}\0", file.size)));
        Self { sha256: Sha256::new(), git }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    /// Reads to the end; how many bytes that were.
    fn read(&mut self, file: &mut File) -> io::Result<u64> {
        let (mut part, mut bytes) = (vec![0; 1 << 18], 0);
        loop {
            match file.read(&mut part)? {
                0 => return Ok(bytes),
                read => {
                    self.update(&part[..read]);
                    bytes += read as u64;
                }
            }
        }
    }

    /// The SHA-256, if the content is what was listed; else what it is.
    fn finish(self, file: &RepositoryFile) -> Result<String, String> {
        let sha256 = hex(&self.sha256.finalize());
        let (kind, found, expected) = match (&file.hash, self.git) {
            (FileHash::Git(expected), Some(git)) => ("git hash", hex(&git.finalize()), expected),
            (FileHash::Git(expected) | FileHash::Sha256(expected), _) => {
                ("SHA-256", sha256.clone(), expected)
            }
        };
        match found.eq_ignore_ascii_case(expected) {
            true => Ok(sha256),
            false => Err(format!("{} has {kind} {found}, the hub lists {expected}", file.path)),
        }
    }
}

/// The beginning of a file, with the hashes of what is there.
struct Partial {
    path: PathBuf,
    file: File,
    of: RepositoryFile,
    bytes: u64,
    hashes: Hashes,
}

impl Partial {
    /// What was read before counts as read, unless it is longer than the file.
    fn open(path: &Path, of: &RepositoryFile) -> Result<Self> {
        let failed = |error| Error::Query(format!("cannot write {}: {error}", path.display()));
        let options = File::options().read(true).append(true).create(true).clone();
        let mut file = options.open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > of.size {
            file.set_len(0).map_err(failed)?;
        }
        let mut hashes = Hashes::new(of);
        let bytes = hashes.read(&mut file).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, of: of.clone(), bytes, hashes })
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::Query(format!("cannot write {}: {error}", self.path.display()))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let size = self.of.size;
        if self.bytes + bytes.len() as u64 > size {
            self.truncate()?;
            return data_err!("the hub sent more bytes than the {size} that it lists: they were deleted");
        }
        self.file.write_all(bytes).map_err(|error| self.failed(&error))?;
        self.hashes.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn truncate(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| self.failed(&error))?;
        self.hashes = Hashes::new(&self.of);
        self.bytes = 0;
        Ok(())
    }

    fn keep(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| self.failed(&error))
    }

    /// Moves the file to `target`, if the content is what was listed; returns its SHA-256.
    fn finish(self, file: &RepositoryFile, target: &Path) -> Result<String> {
        self.keep()?;
        let sha256 = match self.hashes.finish(file) {
            Ok(sha256) => sha256,
            Err(wrong) => {
                // nobody can use it, and it would be found again
                let _ = fs::remove_file(&self.path);
                return data_err!("{wrong}: it was deleted; try again");
            }
        };
        let failed = |error| Error::Query(format!("cannot write {}: {error}", target.display()));
        fs::create_dir_all(target.parent().unwrap_or(target)).map_err(failed)?;
        fs::rename(&self.path, target).map_err(failed)?;
        Ok(sha256)
    }
}
