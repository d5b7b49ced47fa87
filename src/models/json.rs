//! JSON files of models, which are not taken at their size.
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Bytes of a file of settings: those of models have a few thousand.
pub(super) const MAX_SETTINGS: u64 = 10_000_000;
/// Bytes of a tokenizer: those of the largest vocabularies have 35 million.
pub(super) const MAX_TOKENIZER: u64 = 250_000_000;

/// What is in a file of at most so many bytes, if there is one; the error names its path.
pub(super) fn read<T: DeserializeOwned>(path: &Path, most: u64) -> Result<Option<T>> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Query(format!("cannot use {}: {error}", path.display()));
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(failed(&"it is no file")),
        Ok(metadata) if metadata.len() > most => {
            return Err(failed(&format!("it has {} bytes, expected {most} at most", metadata.len())));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    }
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(&error))
}
