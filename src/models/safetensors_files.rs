//! The safetensors files of a model's folder.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json;
use crate::error::{Result, query_err};

/// The file of a model that has one.
pub(crate) const SINGLE: &str = "model.safetensors";
/// Which tensor is in which file, for a model that has several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// `model.safetensors.index.json`
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The safetensors files of a model's folder, none where there are none: those that its index names may be missing. The
/// order is that of their names.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join(SINGLE).is_file() {
        return Ok(vec![folder.join(SINGLE)]);
    }
    let path = folder.join(INDEX);
    let Some(index) = json::read::<Index>(&path, json::MAX_SETTINGS)? else { return Ok(Vec::new()) };
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    for name in &names {
        let plain = !name.contains(['/', '\\']) && name.ends_with(".safetensors");
        if !plain {
            return query_err!(
                "cannot use {}: it names the file '{name}', expected a safetensors file beside it",
                path.display()
            );
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}
