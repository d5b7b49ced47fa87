//! The token of a model's tokenizer that its graph has to know.
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::json;

/// `tokenizer.json`
#[derive(Default, Deserialize)]
struct Tokenizer {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    model: Option<Model>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: i64,
    content: String,
}

#[derive(Deserialize)]
struct Model {
    unk_token: Option<String>,
    unk_id: Option<i64>,
    /// Numbers by tokens; a list in the models of one kind, which have an `unk_id`.
    vocab: Value,
}

/// The number of the token that stands for what the tokenizer does not know.
pub(super) fn unknown(folder: &Path) -> Result<Option<i64>> {
    let tokenizer = json::read(&folder.join("tokenizer.json"), json::MAX_TOKENIZER)?;
    let tokenizer: Tokenizer = tokenizer.unwrap_or_default();
    let Some(model) = tokenizer.model else { return Ok(None) };
    let Some(token) = model.unk_token else { return Ok(model.unk_id) };
    let added = tokenizer.added_tokens.iter().find(|added| added.content == token);
    Ok(added.map(|added| added.id).or_else(|| model.vocab.get(&token)?.as_i64()))
}
