//! What was fetched for a model, in its folder.
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::name::is_plain_part;
use super::selection;
use crate::error::{Error, Result, query_err};

/// The file of it, in a folder that was fetched.
pub(super) const MANIFEST: &str = "pull.json";
/// The one that `make setup` writes, with the same lists of files.
const OF_SETUP: &str = "setup.json";

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// `OWNER/NAME`; empty in what the setup has made.
    #[serde(default)]
    pub(super) repository: String,
    /// The revision that was asked for.
    #[serde(default)]
    pub(super) revision: String,
    /// The commit that it stood for.
    #[serde(default)]
    pub(super) commit: String,
    #[serde(default)]
    pub(super) licence: Option<String>,
    /// Bytes of each file.
    pub(super) files: BTreeMap<String, u64>,
    /// Their SHA-256, in hexadecimal digits.
    pub(super) sha256: BTreeMap<String, String>,
}

impl Manifest {
    /// Of a folder that was fetched; `None` where it was not.
    pub(super) fn of_pull(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()
    }

    /// Of a folder that was fetched, or made by the setup.
    pub(super) fn of(folder: &Path) -> Result<Option<Self>> {
        for name in [MANIFEST, OF_SETUP] {
            let path = folder.join(name);
            let text = match fs::read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return query_err!("cannot read {}: {error}", path.display()),
            };
            return serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| Error::Query(format!("cannot use {}: {error}", path.display())));
        }
        Ok(None)
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        fs::write(folder.join(MANIFEST), text)?;
        fs::File::open(folder.join(MANIFEST))?.sync_all()
    }

    /// Keeps the files that are there as they were fetched, by their length, and by their content too where it is to be
    /// `hashed`; whether these are all.
    pub(super) fn keep_intact(&mut self, folder: &Path, hashed: bool) -> bool {
        let all = self.files.len();
        let sha256 = std::mem::take(&mut self.sha256);
        self.files.retain(|path, size| {
            let is_whole = match (hashed, sha256.get(path)) {
                (true, expected) => fault(folder, path, *size, expected).is_none(),
                (false, _) => fs::metadata(folder.join(path)).is_ok_and(|file| file.len() == *size),
            };
            is_whole && path.split('/').all(is_plain_part)
        });
        self.sha256 = sha256.into_iter().filter(|(path, _)| self.files.contains_key(path)).collect();
        self.files.len() == all
    }

    /// What is wrong with each file that is not as it was fetched, or was not fetched and would be read.
    pub(super) fn faults(&self, folder: &Path) -> Vec<String> {
        let faults =
            self.files.iter().filter_map(|(path, size)| fault(folder, path, *size, self.sha256.get(path)));
        let mut faults: Vec<String> = faults.collect();
        for path in files_that_are_read(folder) {
            if !self.files.contains_key(&path) {
                faults.push(format!("{path} was not fetched with it"));
            }
        }
        faults
    }
}

/// What is wrong with a file.
fn fault(folder: &Path, path: &str, size: u64, sha256: Option<&String>) -> Option<String> {
    if !path.split('/').all(is_plain_part) {
        return Some(format!("{path} is no path in the folder"));
    }
    let found = match digest(&folder.join(path)) {
        Ok(found) => found,
        Err(error) => return Some(format!("{path}: {error}")),
    };
    if found.bytes != size {
        return Some(format!("{path} has {} bytes, expected {size}", found.bytes));
    }
    let Some(expected) = sha256 else { return Some(format!("{path} has no known SHA-256")) };
    (found.sha256 != *expected).then(|| format!("{path} has SHA-256 {}, expected {expected}", found.sha256))
}

/// The files in a model's folder that are read where they are there, sorted.
fn files_that_are_read(folder: &Path) -> Vec<String> {
    let names = |path: &Path| -> Vec<(String, bool)> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path().is_dir())))
            .collect()
    };
    let mut files = vec![];
    for (name, is_folder) in names(folder) {
        if is_folder {
            let inner = names(&folder.join(&name));
            files.extend(inner.iter().map(|(inner, _)| format!("{name}/{inner}")));
        } else {
            files.push(name);
        }
    }
    files.retain(|path| selection::is_read(path));
    files.sort();
    files
}

/// The length and the hash of a file.
pub(super) struct Digested {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

pub(super) fn digest(path: &Path) -> io::Result<Digested> {
    let mut file = fs::File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut part = vec![0; 1 << 18];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(Digested { bytes, sha256: hex(&hash.finalize()) }),
            read => {
                hash.update(&part[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |number: u8| char::from_digit(u32::from(number), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
