//! `ViT` (Dosovitskiy et al. 2021).
use super::Outline;
use super::bert;
use super::builder::{Bias, GraphBuilder};
use super::config::Config;
use super::images::Images;
use super::layers::{Layer, Names};
use crate::error::Result;

const NAMES: Names = Names {
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    joined: "attention.output.dense",
    attention_norm: "layernorm_before",
    up: "intermediate.dense",
    down: "output.dense",
    forward_norm: "layernorm_after",
};

pub(super) fn outline(config: &Config) -> Result<Outline> {
    config.size(&["hidden_size"]).map(Outline::new)
}

/// The vector of an image is its pooler's, or, where the model has none, that of the first token: a classifier has none.
pub(super) fn build(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let prefix = g.weights.prefix(&["", "vit."], "embeddings.cls_token")?;
    let name = |name: &str| format!("{prefix}{name}");
    let shape = bert::shape(config)?;
    let size = shape.hidden;
    let images = Images::input(config, g, 16)?;
    let patches = images.patches(g, &name("embeddings.patch_embeddings.projection"), size, Bias::Added)?;
    let class = g.weight(&name("embeddings.cls_token"), &[1, 1, size])?;
    let x = Images::with_class(g, &class, &patches);
    let positions = g.weight(&name("embeddings.position_embeddings"), &[1, images.count + 1, size])?;
    let mut x = g.add(&x, &positions);
    let bias = Bias::from(config.flag_or("qkv_bias", true)?);
    for number in 0..config.size(&["num_hidden_layers"])? {
        let prefix = format!("{prefix}encoder.layer.{number}.");
        let layer = Layer { config, shape: &shape, names: &NAMES, prefix, bias };
        x = layer.norm_before(g, &x, None)?;
    }
    // each token is normalised by itself, and one is enough
    let x = Images::first(g, &x);
    let mut x = g.layer_norm(&x, &name("layernorm"), size, shape.epsilon, Bias::Added)?;
    if g.weights.has(&name("pooler.dense.weight")) {
        x = g.linear(&x, &name("pooler.dense"), [size, size], Bias::Added)?;
        x = g.activation(config, config.text_or("pooler_act", "tanh")?, &x)?;
    }
    Images::output(g, "pooler_output", &x, size);
    Ok(())
}
