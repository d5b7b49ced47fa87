//! The JSON files of a model's folder.
use std::collections::HashMap;

use serde::Deserialize;

use super::architectures::{self, Outline};
use super::folder::{ModelFolder, Tower};
use super::pooling::Pooling;
use crate::error::{Error, Result, query_err};
use crate::models::InputType;
use crate::types::embedding::EmbeddingSpace;

/// `config.json`, what we need of it.
#[derive(Debug, Deserialize)]
struct Config {
    hidden_size: Option<usize>,
    hidden_dim: Option<usize>,
    projection_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    pad_token_id: Option<u32>,
    /// Our own key: the text encoder in whose space an image encoder's vectors live.
    embedding_space: Option<String>,
    /// Our own key: whether the graph of an image encoder normalises.
    #[serde(default)]
    normalized: bool,
}

impl Config {
    fn read(folder: &ModelFolder) -> Result<Self> {
        match folder.read_json("config.json")? {
            Some(config) => Ok(config),
            None => query_err!("model '{}' has no config.json", folder.name()),
        }
    }
}

/// What `config.json` says of an encoder, where its family is known.
fn outline(folder: &ModelFolder, tower: Tower) -> Result<Option<Outline>> {
    architectures::outline(&architectures::Config::read(folder.path())?, tower)
}

/// How a text model is used, from its files.
#[derive(Debug)]
pub(super) struct TextConfig {
    pub(super) space: EmbeddingSpace,
    pub(super) pooling: Pooling,
    pub(super) normalize: bool,
    /// The most tokens of a text, special ones included; longer texts are cut.
    pub(super) max_tokens: usize,
    pub(super) pad_token: u32,
    /// Whether the tokenizer puts its own tokens around a text.
    pub(super) special_tokens: bool,
    prompts: HashMap<String, String>,
    default_prompt: Option<String>,
}

impl TextConfig {
    /// Reads `config.json` and the files of sentence-transformers. Where a folder has no `modules.json`, token
    /// vectors are averaged and not normalised, as sentence-transformers does with a plain transformer.
    pub(super) fn read(folder: &ModelFolder) -> Result<Self> {
        let config = Config::read(folder)?;
        let outline = outline(folder, Tower::Text)?;
        let Some(dimensions) = outline.map(|outline| outline.dimensions).or(config.hidden_size) else {
            return query_err!(
                "config.json of model '{}' has no hidden_size: it is no text encoder",
                folder.name()
            );
        };
        let (mut pooling, mut normalize) = (Pooling::Mean, false);
        for module in folder.read_json::<Vec<Module>>("modules.json")?.unwrap_or_default() {
            match module.kind.rsplit('.').next() {
                Some("Transformer" | "StaticEmbedding") => {}
                Some("Pooling") => pooling = Pooling::read(folder, &module.path)?,
                Some("Normalize") => normalize = true,
                _ => {
                    return query_err!(
                        "model '{}' has a module of type {}: Transformer, Pooling and Normalize can be run",
                        folder.name(),
                        module.kind
                    );
                }
            }
        }
        let limits: SentenceBert = folder.read_json("sentence_bert_config.json")?.unwrap_or_default();
        let tokenizer: TokenizerConfig = folder.read_json("tokenizer_config.json")?.unwrap_or_default();
        let positions = outline.map_or(config.max_position_embeddings, |outline| outline.max_tokens);
        let limits = [limits.max_seq_length, tokenizer.max_tokens(), positions];
        let max_tokens = limits.into_iter().flatten().min().unwrap_or(512);
        // a text has two special tokens, and something between them
        if max_tokens < 3 {
            return query_err!(
                "the files of model '{}' say that a text has at most {max_tokens} tokens: see max_seq_length in \
                 sentence_bert_config.json",
                folder.name()
            );
        }
        let prompts: SentenceTransformers =
            folder.read_json("config_sentence_transformers.json")?.unwrap_or_default();
        Ok(Self {
            space: EmbeddingSpace::new(folder.name(), dimensions, normalize),
            pooling,
            normalize,
            max_tokens,
            pad_token: config.pad_token_id.unwrap_or(0),
            special_tokens: outline.is_none_or(|outline| outline.special_tokens),
            prompts: prompts.prompts.unwrap_or_default(),
            default_prompt: prompts.default_prompt_name,
        })
    }

    /// What is put before a text.
    pub(super) fn prefix(&self, input_type: Option<InputType>) -> &str {
        let names: &[&str] = match input_type {
            Some(InputType::Query) => &["query"],
            Some(InputType::Document) => &["document", "passage"],
            None => &[],
        };
        let mut names = names.iter().copied().chain(self.default_prompt.as_deref());
        names.find_map(|name| self.prompts.get(name)).map_or("", String::as_str)
    }
}

/// An entry of `modules.json`.
#[derive(Debug, Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// `sentence_bert_config.json`
#[derive(Debug, Default, Deserialize)]
struct SentenceBert {
    max_seq_length: Option<usize>,
}

/// `tokenizer_config.json`
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    /// 1e30 where there is no limit.
    model_max_length: Option<f64>,
}

impl TokenizerConfig {
    fn max_tokens(&self) -> Option<usize> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        self.model_max_length.filter(|length| (1.0..1e6).contains(length)).map(|length| length as usize)
    }
}

/// `config_sentence_transformers.json`
#[derive(Debug, Default, Deserialize)]
struct SentenceTransformers {
    prompts: Option<HashMap<String, String>>,
    default_prompt_name: Option<String>,
}

/// The space of an image model, from its `config.json`.
pub(super) fn image_space(folder: &ModelFolder) -> Result<EmbeddingSpace> {
    let config = Config::read(folder)?;
    let outline = outline(folder, Tower::Image)?.map(|outline| outline.dimensions);
    let dimensions =
        outline.or(config.projection_dim).or(config.hidden_dim).or(config.hidden_size).ok_or_else(|| {
            Error::Query(format!(
                "config.json of model '{}' has none of projection_dim, hidden_dim and hidden_size",
                folder.name()
            ))
        })?;
    let name = config.embedding_space.unwrap_or_else(|| folder.name().to_owned());
    Ok(EmbeddingSpace::new(name, dimensions, config.normalized))
}
