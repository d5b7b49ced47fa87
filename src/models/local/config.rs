//! The JSON files of a model's folder.
use std::collections::HashMap;

use serde::Deserialize;

use super::architectures::{self, Outline};
use super::folder::{ModelFolder, Tower, Weights};
use super::layers::Layer;
use super::pooling::Pooling;
use crate::error::{Error, Result, query_err};
use crate::models::InputType;
use crate::types::embedding::EmbeddingSpace;

/// Where no file says how many tokens a text may have.
const DEFAULT_MAX_TOKENS: usize = 512;
/// No model reads longer texts.
const MAX_TOKENS: usize = 1 << 20;
/// No model pads texts to more tokens; and each text takes memory by this.
const MAX_PADDED_TOKENS: usize = 1 << 12;
/// Where no file says how many heads of attention an encoder has.
const DEFAULT_HEADS: usize = 12;
/// Encoders have no more heads: memory is reserved by their number.
const MAX_HEADS: usize = 256;

/// Where sentence-transformers looks for the most tokens of a text: the first of these that is there holds.
pub(super) const SENTENCE_BERT: &[&str] = &[
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// `config.json`, what we need of it. Architectures call the same numbers by different names.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    model_type: String,
    hidden_size: Option<usize>,
    dim: Option<usize>,
    d_model: Option<usize>,
    n_embd: Option<usize>,
    hidden_dim: Option<usize>,
    hidden_sizes: Option<Vec<usize>>,
    projection_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    n_positions: Option<usize>,
    num_attention_heads: Option<usize>,
    n_head: Option<usize>,
    n_heads: Option<usize>,
    pad_token_id: Option<u32>,
    /// The lengths at which vectors of a model trained for it may be cut.
    matryoshka_dimensions: Option<Vec<usize>>,
    /// Two towers have a configuration each.
    #[serde(rename = "text_config")]
    text: Option<Box<Config>>,
    #[serde(rename = "vision_config")]
    vision: Option<Box<Config>>,
    /// Our own key: the text encoder in whose space an image encoder's vectors live.
    embedding_space: Option<String>,
    /// Our own key: whether the graph of an image encoder normalises.
    #[serde(default)]
    normalized: bool,
}

/// What the files of a two-tower model leave out where it is the architecture's own: CLIP's and `SigLIP`'s configurations
/// in the library transformers have these as defaults.
struct TwoTowers {
    hidden_size: usize,
    projection_dim: Option<usize>,
    max_tokens: usize,
    /// A text is padded to the length that the model reads, as its vector is that of the last token.
    pads_to_length: bool,
}

impl Config {
    fn read(folder: &ModelFolder) -> Result<Self> {
        match folder.read_json("config.json")? {
            Some(config) => Ok(config),
            None => query_err!("model '{}' has no config.json", folder.name()),
        }
    }

    /// The numbers of a token's vector.
    fn token_dimensions(&self) -> Option<usize> {
        // the tokens of these are all that there is; elsewhere this is a width inside of the model
        let of_static = self.hidden_dim.filter(|_| self.model_type == "model2vec");
        self.hidden_size.or(self.dim).or(self.d_model).or(self.n_embd).or(of_static)
    }

    fn two_towers(&self) -> Option<TwoTowers> {
        let of_siglip = self.model_type.starts_with("siglip");
        if self.text.is_none() && self.vision.is_none() && !of_siglip && self.model_type != "clip" {
            return None;
        }
        Some(match of_siglip {
            true => {
                TwoTowers { hidden_size: 768, projection_dim: None, max_tokens: 64, pads_to_length: true }
            }
            false => TwoTowers {
                hidden_size: 512,
                projection_dim: Some(512),
                max_tokens: 77,
                pads_to_length: false,
            },
        })
    }

    /// The length of the vectors of both towers.
    fn shared_dimensions(&self, towers: &TwoTowers) -> usize {
        let of_tower =
            |config: &Option<Box<Self>>| config.as_ref().and_then(|config| config.token_dimensions());
        let projected = self.projection_dim.or(towers.projection_dim);
        let hidden = || of_tower(&self.text).or(of_tower(&self.vision));
        projected.or_else(hidden).unwrap_or(towers.hidden_size)
    }

    /// The positions that tokens can have.
    fn max_positions(&self) -> Option<usize> {
        let positions =
            self.max_position_embeddings.or(self.n_positions).filter(|positions| *positions > 0)?;
        // these count positions from behind that of the padding token
        let behind_padding = ["roberta", "camembert", "mpnet", "xlm-roberta", "xlm-roberta-xl", "xmod"];
        match behind_padding.contains(&self.model_type.as_str()) {
            true => positions.checked_sub(self.pad_token_id.unwrap_or(1) as usize + 1),
            false => Some(positions),
        }
    }
}

/// What the builders of graphs know of an encoder, if they know its family. Where it has a graph already, what they cannot
/// build is no error.
fn outline(folder: &ModelFolder, tower: Tower) -> Result<Option<Outline>> {
    let outline = architectures::Config::read(&folder.path(""))
        .and_then(|config| architectures::outline(&config, tower));
    match folder.weights(tower) {
        Ok(Weights::Safetensors(..)) => outline,
        _ => Ok(outline.ok().flatten()),
    }
}

/// How a text model is used, from its files.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what the files say")]
pub(super) struct TextConfig {
    pub(super) space: EmbeddingSpace,
    /// The numbers of a token's vector.
    pub(super) token_dimensions: usize,
    pub(super) pooling: Pooling,
    /// What is done to a text's vector, in this order.
    pub(super) layers: Vec<Layer>,
    /// The most tokens of a text, special ones included; longer texts are cut.
    pub(super) max_tokens: usize,
    /// Whether shorter texts are filled up to it.
    pub(super) pads_to_length: bool,
    /// What texts are padded with, unless the tokenizer says it.
    pub(super) pad_token: u32,
    /// Of attention.
    pub(super) heads: usize,
    /// Whether a text has the tokens that the tokenizer puts around it.
    pub(super) special_tokens: bool,
    /// The token that fills up texts, as the tokenizer calls it.
    pub(super) padding: Option<String>,
    pub(super) lowercase: bool,
    pub(super) keeps_end: bool,
    /// How the tokenizer's own first step is to treat letters, where it is BERT's.
    pub(super) bert: BertLetters,
    pub(super) lengths: Option<Vec<usize>>,
    prompts: HashMap<String, Option<String>>,
    default_prompt: Option<String>,
}

impl TextConfig {
    /// Reads `config.json` and the files of sentence-transformers. Where a folder has no `modules.json`, token
    /// vectors are averaged and not normalised, as sentence-transformers does with a plain transformer.
    pub(super) fn read(folder: &ModelFolder) -> Result<Self> {
        let config = Config::read(folder)?;
        let modules: Vec<Module> = folder.read_json("modules.json")?.unwrap_or_default();
        let towers = config.two_towers();
        let of_text = config.text.as_deref().unwrap_or(&config);
        let of_pooling = Pooling::of_modules(folder, &modules)?;
        let outline = outline(folder, Tower::Text)?;
        let stated = outline
            .map(|outline| outline.dimensions)
            .or_else(|| towers.as_ref().map(|towers| config.shared_dimensions(towers)))
            .or_else(|| of_text.token_dimensions());
        let (pooling, pooled) = of_pooling.unwrap_or_default();
        let Some(token_dimensions) = stated.or(pooled) else {
            return query_err!(
                "config.json of model '{}' has no hidden_size: it is no text encoder",
                folder.name()
            );
        };
        check_size(folder, "hidden_size", token_dimensions)?;
        if let Some(other) = pooled.filter(|other| *other != token_dimensions) {
            return query_err!(
                "the files of model '{}' contradict each other: its tokens have {token_dimensions} numbers by config.json, \
                 {other} by word_embedding_dimension of its pooling",
                folder.name()
            );
        }
        let (layers, dimensions) = Layer::read_all(folder, &modules, pooling.dimensions(token_dimensions))?;
        let limits = SentenceBert::read(folder)?;
        let tokenizer: TokenizerConfig = folder.read_json("tokenizer_config.json")?.unwrap_or_default();
        let positions = outline.map_or_else(|| of_text.max_positions(), |outline| outline.max_tokens);
        let own = positions.or(towers.as_ref().map(|towers| towers.max_tokens));
        // what is said for sentence-transformers goes before what the tokenizer was saved with
        let limit = limits.max_seq_length.or(tokenizer.max_tokens());
        let max_tokens = [limit, own].into_iter().flatten().min().unwrap_or(DEFAULT_MAX_TOKENS);
        let pads_to_length = towers.is_some_and(|towers| towers.pads_to_length);
        let most = if pads_to_length { MAX_PADDED_TOKENS } else { MAX_TOKENS };
        // a text has two special tokens, and something between them
        if !(3..=most).contains(&max_tokens) {
            return query_err!(
                "the files of model '{}' say that a text has at most {max_tokens} tokens, expected 3 to {most}: see \
                 max_seq_length in sentence_bert_config.json, and max_position_embeddings in config.json",
                folder.name()
            );
        }
        let heads = of_text.num_attention_heads.or(of_text.n_head).or(of_text.n_heads);
        let prompts: SentenceTransformers =
            folder.read_json("config_sentence_transformers.json")?.unwrap_or_default();
        let normalized = layers.last().is_some_and(Layer::normalizes);
        Ok(Self {
            space: EmbeddingSpace::new(folder.name(), dimensions, normalized),
            token_dimensions,
            pooling,
            layers,
            max_tokens,
            pads_to_length,
            pad_token: outline
                .and_then(|outline| outline.padding)
                .or(of_text.pad_token_id)
                .or(config.pad_token_id)
                // SigLIP's, as its library has it; elsewhere padding is hidden
                .unwrap_or(u32::from(pads_to_length)),
            heads: heads.unwrap_or(DEFAULT_HEADS).clamp(1, MAX_HEADS),
            special_tokens: outline.is_none_or(|outline| outline.special_tokens),
            lowercase: limits.do_lower_case,
            keeps_end: tokenizer.truncation_side.as_deref() == Some("left"),
            padding: tokenizer.pad_token.as_ref().map(|token| token.text().to_owned()),
            bert: tokenizer.letters,
            lengths: config.matryoshka_dimensions,
            prompts: prompts.prompts.unwrap_or_default(),
            default_prompt: prompts.default_prompt_name,
        })
    }

    /// What is put before a text, as the model's files say: nothing is known of input types that they have no prompt for.
    pub(super) fn prompt(&self, input_type: Option<InputType>) -> Option<&str> {
        let names: &[&str] = match input_type {
            Some(InputType::Query) => &["query"],
            // as encode_document of sentence-transformers
            Some(InputType::Document) => &["document", "passage", "corpus"],
            None => &[],
        };
        names.iter().find_map(|name| self.prompts.get(*name)?.as_deref())
    }

    /// What is put before a text of whose input type nothing is known.
    pub(super) fn default_prompt(&self) -> &str {
        let prompt = self.default_prompt.as_ref().and_then(|name| self.prompts.get(name)?.as_deref());
        prompt.unwrap_or_default()
    }
}

/// Numbers in files are not taken at their word: memory is reserved by them.
fn check_size(folder: &ModelFolder, key: &str, size: usize) -> Result<()> {
    if (1..=usize::from(u16::MAX)).contains(&size) {
        return Ok(());
    }
    query_err!("the files of model '{}' say that {key} is {size}: expected 1 to {}", folder.name(), u16::MAX)
}

/// An entry of `modules.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Module {
    #[serde(default)]
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

impl Module {
    /// The last part of the name of its class.
    pub(super) fn class(&self) -> &str {
        self.kind.rsplit('.').next().unwrap_or_default()
    }

    /// The path of one of its files in the model's folder.
    pub(super) fn file(&self, folder: &ModelFolder, name: &str) -> Result<String> {
        match self.path.as_str() {
            "" | "." => Ok(name.to_owned()),
            path if path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\\') => {
                Ok(format!("{path}/{name}"))
            }
            path => query_err!(
                "modules.json of model '{}' has a module in '{path}', which is no folder below the model's",
                folder.name()
            ),
        }
    }
}

/// `sentence_bert_config.json`, whose name can be that of another family.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SentenceBert {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

impl SentenceBert {
    fn read(folder: &ModelFolder) -> Result<Self> {
        for file in SENTENCE_BERT {
            if let Some(found) = folder.read_json(file)? {
                return Ok(found);
            }
        }
        Ok(Self::default())
    }
}

/// `tokenizer_config.json`
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    /// 1e30 where there is no limit.
    model_max_length: Option<f64>,
    pad_token: Option<Token>,
    truncation_side: Option<String>,
    #[serde(flatten)]
    letters: BertLetters,
}

/// How BERT's tokenizer treats letters: these go before what its `tokenizer.json` says, as in the library transformers.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct BertLetters {
    pub(super) do_lower_case: Option<bool>,
    pub(super) tokenize_chinese_chars: Option<bool>,
    pub(super) strip_accents: Option<bool>,
}

/// A special token: its text, or an object that has it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Object { content: String },
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
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
    prompts: Option<HashMap<String, Option<String>>>,
    default_prompt_name: Option<String>,
}

/// The space of an image model's vectors.
#[derive(Debug)]
pub(super) struct ImageSpace {
    /// The text encoder in whose space they are, where it is not the model's own.
    of: Option<String>,
    pub(super) dimensions: usize,
    normalized: bool,
}

impl ImageSpace {
    /// For a model of this name.
    pub(super) fn named(&self, name: &str) -> EmbeddingSpace {
        EmbeddingSpace::new(self.of.as_deref().unwrap_or(name), self.dimensions, self.normalized)
    }
}

/// The space of an image model, and the lengths at which its vectors may be cut, from its `config.json`.
pub(super) fn image_space(folder: &ModelFolder) -> Result<(ImageSpace, Option<Vec<usize>>)> {
    let config = Config::read(folder)?;
    let last = || config.hidden_sizes.as_ref().and_then(|sizes| sizes.last().copied());
    let dimensions = match (outline(folder, Tower::Image)?, config.two_towers()) {
        (Some(outline), _) => Some(outline.dimensions),
        (None, Some(towers)) => Some(config.shared_dimensions(&towers)),
        (None, None) => config.projection_dim.or(config.hidden_dim).or(config.hidden_size).or_else(last),
    };
    let dimensions = dimensions.ok_or_else(|| {
        Error::Query(format!(
            "config.json of model '{}' has none of projection_dim, hidden_dim and hidden_size",
            folder.name()
        ))
    })?;
    check_size(folder, "the length of a vector", dimensions)?;
    let space = ImageSpace { of: config.embedding_space, dimensions, normalized: config.normalized };
    Ok((space, config.matryoshka_dimensions))
}
