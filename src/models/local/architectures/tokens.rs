//! The tokens of a model's tokenizer that its graph has to know.
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// `tokenizer_config.json`
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    /// The token itself, or an object with it as `content`.
    pad_token: Option<Value>,
}

/// `tokenizer.json`
#[derive(Default, Deserialize)]
struct Tokenizer {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    padding: Option<Padding>,
    model: Option<Model>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: i64,
    content: String,
}

#[derive(Deserialize)]
struct Padding {
    pad_id: i64,
}

#[derive(Deserialize)]
struct Model {
    unk_token: Option<String>,
    unk_id: Option<i64>,
    /// Numbers by tokens; a list in the models of one kind, which have an `unk_id`.
    vocab: Value,
}

fn read<T: DeserializeOwned + Default>(folder: &Path, file: &str) -> Result<T> {
    let path = folder.join(file);
    let failed =
        |error: &dyn std::fmt::Display| Error::Query(format!("cannot use {}: {error}", path.display()));
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(failed(&error)),
    }
}

/// The number of the token that texts are padded with.
pub(super) fn padding(folder: &Path) -> Result<Option<i64>> {
    let config: TokenizerConfig = read(folder, "tokenizer_config.json")?;
    let tokenizer: Tokenizer = read(folder, "tokenizer.json")?;
    let named = config.pad_token.as_ref().map(|token| token.get("content").unwrap_or(token));
    let named = named.and_then(Value::as_str);
    let added = tokenizer.added_tokens.iter().find(|token| Some(token.content.as_str()) == named);
    Ok(added.map(|token| token.id).or(tokenizer.padding.map(|padding| padding.pad_id)))
}

/// The number of the token that stands for what the tokenizer does not know.
pub(super) fn unknown(folder: &Path) -> Result<Option<i64>> {
    let tokenizer: Tokenizer = read(folder, "tokenizer.json")?;
    let Some(model) = tokenizer.model else { return Ok(None) };
    let Some(token) = model.unk_token else { return Ok(model.unk_id) };
    let added = tokenizer.added_tokens.iter().find(|added| added.content == token);
    Ok(added.map(|added| added.id).or_else(|| model.vocab.get(&token)?.as_i64()))
}
