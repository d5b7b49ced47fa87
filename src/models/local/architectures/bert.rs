//! BERT (Devlin et al. 2018) and its descendants of the same layers: `RoBERTa` and `XLM-RoBERTa`, which number
//! positions otherwise.
use super::Outline;
use super::builder::{Bias, GraphBuilder, Value};
use super::config::Config;
use super::layers::{Heads, Layer, Names, Shape, Texts};
use super::onnx::DataType;
use crate::error::Result;

const NAMES: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    joined: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    forward_norm: "output.LayerNorm",
};

/// The number of the padding token of `MPNet`, and of `RoBERTa` where the configuration does not say it.
pub(super) const PADDING: i64 = 1;

pub(super) fn outline(config: &Config) -> Result<Outline> {
    Ok(Outline::new(config.size(&["hidden_size"])?)
        .with_max_tokens(config.size(&["max_position_embeddings"])?))
}

pub(super) fn roberta_outline(config: &Config) -> Result<Outline> {
    outline_behind_padding(config, config.token_or("pad_token_id", PADDING)?)
}

/// Positions begin behind that of padding, so that fewer are left.
pub(super) fn outline_behind_padding(config: &Config, padding: i64) -> Result<Outline> {
    let positions = config.size(&["max_position_embeddings"])?;
    let before = usize::try_from(padding).unwrap_or(usize::MAX).saturating_add(1);
    let outline = Outline::new(config.size(&["hidden_size"])?).with_padding(padding);
    Ok(outline.with_max_tokens(positions.saturating_sub(before)))
}

pub(super) fn build(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let prefix = g.weights.prefix(&["", "bert."], "embeddings.word_embeddings.weight")?;
    let texts = Texts::input(g);
    let positions = texts.positions(g);
    encoder(config, g, prefix, &texts, &positions)
}

pub(super) fn build_roberta(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let prefix = g.weights.prefix(&["", "roberta.", "xlm_roberta."], "embeddings.word_embeddings.weight")?;
    let texts = Texts::input(g);
    let positions = positions_behind_padding(g, &texts, config.token_or("pad_token_id", PADDING)?);
    encoder(config, g, prefix, &texts, &positions)
}

/// `RoBERTa`'s positions: those of tokens are counted from behind the number of the padding token, which is itself the
/// position of padding.
pub(super) fn positions_behind_padding(g: &mut GraphBuilder, texts: &Texts, padding: i64) -> Value {
    let padding = g.integer(padding);
    let same = g.op("Equal", &[&texts.ids, &padding], &[]);
    let token = g.op("Not", &[&same], &[]);
    let token = g.cast(&token, DataType::Int64);
    let axis = g.integer(1);
    let count = g.op("CumSum", &[&token, &axis], &[]);
    let count = g.multiply(&count, &token);
    g.add(&count, &padding)
}

fn encoder(
    config: &Config,
    g: &mut GraphBuilder,
    prefix: &str,
    texts: &Texts,
    positions: &Value,
) -> Result<()> {
    if config.flag_or("is_decoder", false)? {
        return config.unsupported("is_decoder is true");
    }
    match config.text_or("position_embedding_type", "absolute")? {
        "absolute" => {}
        other => return config.unsupported(&format!("position_embedding_type is '{other}', not 'absolute'")),
    }
    let shape = shape(config)?;
    let embeddings = format!("{prefix}embeddings.");
    let types = Texts::types(g);
    let kinds = config.size_or("type_vocab_size", 2)?;
    let words = words(config, g, &embeddings, texts, shape.hidden)?;
    let name = format!("{embeddings}token_type_embeddings.weight");
    let kinds = g.weight_rows(&name, &[kinds, shape.hidden], &types)?;
    let x = g.add(&words, &kinds);
    let x = with_positions(config, g, &embeddings, &x, positions, shape.hidden)?;
    let mut x =
        g.layer_norm(&x, &format!("{embeddings}LayerNorm"), shape.hidden, shape.epsilon, Bias::Added)?;
    let padding = texts.hide_padding(g);
    for number in 0..config.size(&["num_hidden_layers"])? {
        let prefix = format!("{prefix}encoder.layer.{number}.");
        let layer = Layer { config, shape: &shape, names: &NAMES, prefix, bias: Bias::Added };
        x = layer.norm_after(g, &x, Some(&padding))?;
    }
    Texts::output(g, &x, shape.hidden);
    Ok(())
}

/// The sizes of a layer, under the keys that BERT and its descendants have for them.
pub(super) fn shape(config: &Config) -> Result<Shape<'_>> {
    let hidden = config.size(&["hidden_size"])?;
    Ok(Shape {
        hidden,
        intermediate: config.size(&["intermediate_size"])?,
        heads: Heads::of(config, hidden, &["num_attention_heads"])?,
        epsilon: config.number_or(&["layer_norm_eps"], 1e-12)?,
        activation: config.text_or("hidden_act", "gelu")?,
    })
}

/// The vectors of the tokens' words.
pub(super) fn words(
    config: &Config,
    g: &mut GraphBuilder,
    embeddings: &str,
    texts: &Texts,
    hidden: usize,
) -> Result<Value> {
    let count = config.size(&["vocab_size"])?;
    g.weight_rows(&format!("{embeddings}word_embeddings.weight"), &[count, hidden], &texts.ids)
}

/// `x` with the vectors of `positions` added.
pub(super) fn with_positions(
    config: &Config,
    g: &mut GraphBuilder,
    embeddings: &str,
    x: &Value,
    positions: &Value,
    hidden: usize,
) -> Result<Value> {
    let count = config.size(&["max_position_embeddings"])?;
    let name = format!("{embeddings}position_embeddings.weight");
    let positions = g.weight_rows(&name, &[count, hidden], positions)?;
    Ok(g.add(x, &positions))
}
