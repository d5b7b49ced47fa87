//! ONNX graphs for models that come as weights alone: `config.json` and safetensors files.
//!
//! A graph is a few dozen kilobytes, built in memory in milliseconds, that refers to the weights where they are. ONNX
//! Runtime maps them, and its optimised form of the graph is kept as that of any other (`optimized`): it depends on
//! the bytes of the built graph, so that it is made again where the configuration, the header of the weights or the way
//! of building has changed. Nothing is written beside the weights, no code that comes with a model is run, and no pickle
//! is read.
//!
//! Operators are ONNX's own. `Attention`, `MultiHeadAttention` and `SkipLayerNormalization` of ONNX Runtime were no faster
//! on the processor: see benches/README.md.
//!
//! Each family of models has a file, which says how its encoder is made of ONNX's operators. What is taken from a model's
//! files is checked: sizes, shapes, offsets; an error names the key or the tensor.
use std::path::{Path, PathBuf};

use super::folder::Tower;
use crate::error::{Result, query_err};

mod aimv2;
mod bert;
mod builder;
mod clip;
mod config;
mod distilbert;
mod images;
mod layers;
mod modernbert;
mod mpnet;
mod nomic;
mod onnx;
mod rotary;
mod siglip;
mod static_model;
mod tensor_files;
#[cfg(test)]
mod tests;
mod tokens;
mod vit;

use builder::GraphBuilder;
pub(super) use config::Config;
use tensor_files::TensorFiles;
pub(super) use tensor_files::files;

/// What a tower says of itself before it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline {
    /// Numbers of a vector.
    pub(super) dimensions: usize,
    /// The most tokens of a text for which it has positions.
    pub(super) max_tokens: Option<usize>,
    /// Whether a text has the tokens that its tokenizer puts around it.
    pub(super) special_tokens: bool,
    /// The token that texts are padded with, where the family has its own.
    pub(super) padding: Option<u32>,
}

impl Outline {
    fn new(dimensions: usize) -> Self {
        Self { dimensions, max_tokens: None, special_tokens: true, padding: None }
    }

    fn with_max_tokens(self, max_tokens: usize) -> Self {
        Self { max_tokens: Some(max_tokens), ..self }
    }

    fn with_padding(self, padding: i64) -> Self {
        Self { padding: u32::try_from(padding).ok(), ..self }
    }
}

/// A built graph: an ONNX file that refers to files in a folder.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) onnx: Vec<u8>,
    /// Where the files of the weights are.
    pub(super) folder: PathBuf,
}

/// How a tower of a family is described and built.
struct Family {
    outline: fn(&Config) -> Result<Outline>,
    build: fn(&Config, &mut GraphBuilder) -> Result<()>,
}

/// The family that a `config.json` names, if it is known and has such a tower.
fn family(config: &Config, tower: Tower) -> Result<Option<Family>> {
    let family = match (config.text_or("model_type", "")?, tower) {
        ("bert", Tower::Text) => Family { outline: bert::outline, build: bert::build },
        ("roberta" | "xlm-roberta" | "camembert", Tower::Text) => {
            Family { outline: bert::roberta_outline, build: bert::build_roberta }
        }
        ("mpnet", Tower::Text) => Family { outline: mpnet::outline, build: mpnet::build },
        ("distilbert", Tower::Text) => Family { outline: distilbert::outline, build: distilbert::build },
        ("nomic_bert", Tower::Text) => Family { outline: nomic::outline, build: nomic::build },
        ("modernbert", Tower::Text) => Family { outline: modernbert::outline, build: modernbert::build },
        ("model2vec", Tower::Text) => Family { outline: static_model::outline, build: static_model::build },
        ("vit", Tower::Image) => Family { outline: vit::outline, build: vit::build },
        ("clip", Tower::Text) => Family { outline: clip::text_outline, build: clip::build_text },
        ("clip", Tower::Image) => Family { outline: clip::image_outline, build: clip::build_image },
        ("siglip", Tower::Text) => Family { outline: siglip::text_outline, build: siglip::build_text },
        ("siglip", Tower::Image) => Family { outline: siglip::image_outline, build: siglip::build_image },
        ("aimv2", Tower::Text) => Family { outline: aimv2::text_outline, build: aimv2::build_text },
        ("aimv2", Tower::Image) => Family { outline: aimv2::image_outline, build: aimv2::build_image },
        _ => return Ok(None),
    };
    Ok(Some(family))
}

/// What the `config.json` of a model says of a tower; none where its family is not known. It holds for the model's
/// ONNX files, too.
pub(super) fn outline(config: &Config, tower: Tower) -> Result<Option<Outline>> {
    match family(config, tower)? {
        Some(family) => (family.outline)(config).map(Some),
        None => Ok(None),
    }
}

/// An error unless a graph is known for a tower of the model in `folder`, by its `config.json` alone.
pub(super) fn check(folder: &Path, tower: Tower) -> Result<()> {
    let config = Config::read(folder)?;
    (known_family(&config, tower)?.outline)(&config).map(drop)
}

fn known_family(config: &Config, tower: Tower) -> Result<Family> {
    if let Some(family) = family(config, tower)? {
        return Ok(family);
    }
    let kind = match tower {
        Tower::Text => "text",
        Tower::Image => "images",
    };
    query_err!(
        "cannot build a graph for {kind} from {}: model_type is '{}', known are {}; export the model to ONNX, as \
         onnx/model.onnx in its folder",
        config.folder().join("config.json").display(),
        config.text_or("model_type", "")?,
        KNOWN
    )
}

/// The graph of a tower of the model in `folder`, from its `config.json` and its safetensors files.
///
/// Inputs and outputs are those of an export by the models' own library: `input_ids`, `attention_mask` and, where the
/// model has types of tokens, `token_type_ids`, all `[batch, sequence]`, to `last_hidden_state` or, where the model pools
/// itself, `text_embeds`; `pixel_values`, `[batch, 3, height, width]`, to `image_embeds` or `pooler_output`.
///
/// Cost: reads the headers of the files, not the weights.
pub(super) fn build(folder: &Path, tower: Tower) -> Result<Built> {
    let config = Config::read(folder)?;
    let family = known_family(&config, tower)?;
    let weights = TensorFiles::open(folder)?;
    let mut graph = GraphBuilder::new(&weights);
    (family.build)(&config, &mut graph)?;
    Ok(Built { onnx: graph.finish(), folder: weights.folder().to_owned() })
}

/// For errors.
const KNOWN: &str = "bert, roberta, xlm-roberta, camembert, mpnet, distilbert, nomic_bert, modernbert and model2vec for text, \
                     vit for images, clip, siglip and aimv2 for both";
