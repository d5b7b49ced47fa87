//! `DistilBERT` (Sanh et al. 2019): BERT without types of tokens, under other names.
use super::Outline;
use super::bert;
use super::builder::{Bias, GraphBuilder};
use super::config::Config;
use super::layers::{Heads, Layer, Names, Shape, Texts};
use crate::error::Result;

const NAMES: Names = Names {
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    joined: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    forward_norm: "output_layer_norm",
};

pub(super) fn outline(config: &Config) -> Result<Outline> {
    Ok(Outline::new(config.size(&["dim"])?).with_max_tokens(config.size(&["max_position_embeddings"])?))
}

pub(super) fn build(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let prefix = g.weights.prefix(&["", "distilbert."], "embeddings.word_embeddings.weight")?;
    let hidden = config.size(&["dim"])?;
    let shape = Shape {
        hidden,
        intermediate: config.size(&["hidden_dim"])?,
        heads: Heads::of(config, hidden, &["n_heads"])?,
        epsilon: 1e-12,
        activation: config.text_or("activation", "gelu")?,
    };
    let embeddings = format!("{prefix}embeddings.");
    let texts = Texts::input(g);
    let positions = texts.positions(g);
    let x = bert::words(config, g, &embeddings, &texts, hidden)?;
    let x = bert::with_positions(config, g, &embeddings, &x, &positions, hidden)?;
    let mut x = g.layer_norm(&x, &format!("{embeddings}LayerNorm"), hidden, shape.epsilon, Bias::Added)?;
    let padding = texts.hide_padding(g);
    for number in 0..config.size(&["n_layers"])? {
        let prefix = format!("{prefix}transformer.layer.{number}.");
        let layer = Layer { config, shape: &shape, names: &NAMES, prefix, bias: Bias::Added };
        x = layer.norm_after(g, &x, Some(&padding))?;
    }
    Texts::output(g, &x, hidden);
    Ok(())
}
