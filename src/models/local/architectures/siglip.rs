//! `SigLIP` (Zhai et al. 2023) and those of `SigLIP` 2 (Tschannen et al. 2025) of a fixed image size: two encoders into one
//! space, texts always padded to the same length and padding not hidden, images pooled by attention.
use super::Outline;
use super::builder::{Attribute, Bias, GraphBuilder, Side, Value};
use super::clip::{Defaults, embeddings, encoder};
use super::config::Config;
use super::images::Images;
use super::layers::{Shape, Texts};
use crate::error::Result;

const DEFAULTS: Defaults =
    Defaults { hidden: 768, intermediate: 3072, heads: 12, epsilon: 1e-6, activation: "gelu_pytorch_tanh" };

const POSITIONS: usize = 64;

/// The token that texts are padded with, unless the files say otherwise.
const PADDING: i64 = 1;

pub(super) fn text_outline(config: &Config) -> Result<Outline> {
    let config = config.section("text_config")?;
    let positions = config.size_or("max_position_embeddings", POSITIONS)?;
    let outline = Outline::new(text_dimensions(&config)?).with_max_tokens(positions);
    Ok(outline.with_padding(config.token_or("pad_token_id", PADDING)?))
}

fn text_dimensions(config: &Config) -> Result<usize> {
    config.size_or("projection_size", config.size_or("hidden_size", DEFAULTS.hidden)?)
}

pub(super) fn image_outline(config: &Config) -> Result<Outline> {
    config.section("vision_config")?.size_or("hidden_size", DEFAULTS.hidden).map(Outline::new)
}

pub(super) fn build_text(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let config = &config.section("text_config")?;
    let (shape, dimensions) = (DEFAULTS.shape(config)?, text_dimensions(config)?);
    let texts = Texts::input(g);
    let count = config.size_or("max_position_embeddings", POSITIONS)?;
    // texts come padded, and their padding counts
    let positions = texts.positions(g);
    let words = config.size_or("vocab_size", 32_000)?;
    let x = embeddings(g, &texts.ids, &positions, [words, count, shape.hidden])?;
    let x = encoder(config, g, &shape, "text_model.", &x, None)?;
    // the text's vector is that of the last token, padding or not
    let last = g.integer(-1);
    let x = g.op("Gather", &[&x, &last], &[("axis", Attribute::Int(1))]);
    let x = g.layer_norm(&x, "text_model.final_layer_norm", shape.hidden, shape.epsilon, Bias::Added)?;
    let x = g.linear(&x, "text_model.head", [shape.hidden, dimensions], Bias::Added)?;
    g.output("text_embeds", &x, &[Side::Any("batch"), Side::Is(dimensions)]);
    Ok(())
}

pub(super) fn build_image(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let config = &config.section("vision_config")?;
    if !config.flag_or("vision_use_head", true)? {
        return config.unsupported("vision_use_head is false");
    }
    let shape = DEFAULTS.shape(config)?;
    let size = shape.hidden;
    let images = Images::input(config, g, 16)?;
    let x = images.patches(g, "vision_model.embeddings.patch_embedding", size, Bias::Added)?;
    let positions = g.weight("vision_model.embeddings.position_embedding.weight", &[images.count, size])?;
    let x = g.add(&x, &positions);
    let x = encoder(config, g, &shape, "vision_model.", &x, None)?;
    let x = g.layer_norm(&x, "vision_model.post_layernorm", size, shape.epsilon, Bias::Added)?;
    let x = pool(config, g, &shape, &x)?;
    Images::output(g, "image_embeds", &x, size);
    Ok(())
}

/// One trained query looks at all patches.
fn pool(config: &Config, g: &mut GraphBuilder, shape: &Shape, x: &Value) -> Result<Value> {
    let size = shape.hidden;
    let name = |name: &str| format!("vision_model.head.{name}");
    // the matrices of query, key and value in one
    let weight = g.weight(&name("attention.in_proj_weight"), &[3 * size, size])?;
    let weight = g.transpose(&weight, &[1, 0]);
    let weights = g.split::<3>(&weight);
    let biases = g.weight(&name("attention.in_proj_bias"), &[3 * size])?;
    let biases = g.split::<3>(&biases);
    let probe = g.weight(&name("probe"), &[1, 1, size])?;
    let mut project = |x: &Value, part: usize| {
        let product = g.op("MatMul", &[x, &weights[part]], &[]);
        g.add(&product, &biases[part])
    };
    let (query, key, value) = (project(&probe, 0), project(x, 1), project(x, 2));
    let x = shape.heads.attend(g, [&query, &key, &value], None);
    let x = Images::first(g, &x);
    let x = g.linear(&x, &name("attention.out_proj"), [size, size], Bias::Added)?;
    let y = g.layer_norm(&x, &name("layernorm"), size, shape.epsilon, Bias::Added)?;
    let y = g.linear(&y, &name("mlp.fc1"), [size, shape.intermediate], Bias::Added)?;
    let y = g.activation(config, shape.activation, &y)?;
    let y = g.linear(&y, &name("mlp.fc2"), [shape.intermediate, size], Bias::Added)?;
    Ok(g.add(&y, &x))
}
