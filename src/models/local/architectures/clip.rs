//! CLIP (Radford et al. 2021): an encoder of texts and one of images, into one space.
use super::Outline;
use super::builder::{Bias, GraphBuilder, Side, Value};
use super::config::Config;
use super::images::Images;
use super::layers::{End, Heads, Layer, Names, Shape, Texts, hide_later};
use crate::error::Result;

/// The tensors of a layer, which `SigLIP`'s are called like.
pub(super) const NAMES: Names = Names {
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    joined: "self_attn.out_proj",
    attention_norm: "layer_norm1",
    up: "mlp.fc1",
    down: "mlp.fc2",
    forward_norm: "layer_norm2",
};

/// The sizes that hold where a section of `config.json` does not have them: its library leaves out what it takes for
/// granted.
pub(super) struct Defaults {
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) heads: usize,
    pub(super) epsilon: f32,
    pub(super) activation: &'static str,
}

const TEXT: Defaults =
    Defaults { hidden: 512, intermediate: 2048, heads: 8, epsilon: 1e-5, activation: "quick_gelu" };
const IMAGE: Defaults =
    Defaults { hidden: 768, intermediate: 3072, heads: 12, epsilon: 1e-5, activation: "quick_gelu" };

impl Defaults {
    pub(super) fn shape<'a>(&'a self, config: &'a Config) -> Result<Shape<'a>> {
        let hidden = config.size_or("hidden_size", self.hidden)?;
        let heads = config.size_or("num_attention_heads", self.heads)?;
        Ok(Shape {
            hidden,
            intermediate: config.size_or("intermediate_size", self.intermediate)?,
            heads: Heads { count: heads, size: config.head_size(hidden, heads)? },
            epsilon: config.number_or(&["layer_norm_eps"], self.epsilon)?,
            activation: config.text_or("hidden_act", self.activation)?,
        })
    }
}

const POSITIONS: usize = 77;

fn dimensions(config: &Config) -> Result<usize> {
    config.size_or("projection_dim", 512)
}

pub(super) fn text_outline(config: &Config) -> Result<Outline> {
    let positions = config.section("text_config")?.size_or("max_position_embeddings", POSITIONS)?;
    Ok(Outline::new(dimensions(config)?).with_max_tokens(positions))
}

pub(super) fn image_outline(config: &Config) -> Result<Outline> {
    dimensions(config).map(Outline::new)
}

pub(super) fn build_text(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let (dimensions, config) = (dimensions(config)?, &config.section("text_config")?);
    let shape = TEXT.shape(config)?;
    let texts = Texts::input(g);
    let positions = texts.positions(g);
    let words = config.size_or("vocab_size", 49_408)?;
    let count = config.size_or("max_position_embeddings", POSITIONS)?;
    let x = embeddings(g, &texts.ids, &positions, [words, count, shape.hidden])?;
    let padding = texts.hide_padding(g);
    let later = hide_later(g, &positions);
    let hidden = g.add(&later, &padding);
    let x = encoder(config, g, &shape, "text_model.", &x, Some(&hidden))?;
    let x = g.layer_norm(&x, "text_model.final_layer_norm", shape.hidden, shape.epsilon, Bias::Added)?;
    // the files of the first models have 2 here, which is wrong, and mean the token of the largest number
    let end = match config.token_or("eos_token_id", 49_407)? {
        2 => End::Largest,
        end => End::Token(end),
    };
    let x = texts.at_end(g, &x, end);
    let x = g.linear(&x, "text_projection", [shape.hidden, dimensions], Bias::None)?;
    g.output("text_embeds", &x, &[Side::Any("batch"), Side::Is(dimensions)]);
    Ok(())
}

/// The vectors of tokens and of their positions.
pub(super) fn embeddings(
    g: &mut GraphBuilder,
    ids: &Value,
    positions: &Value,
    [words, count, hidden]: [usize; 3],
) -> Result<Value> {
    let name = |name: &str| format!("text_model.embeddings.{name}_embedding.weight");
    let words = g.weight_rows(&name("token"), &[words, hidden], ids)?;
    let positions = g.weight_rows(&name("position"), &[count, hidden], positions)?;
    Ok(g.add(&words, &positions))
}

/// All layers of an encoder.
pub(super) fn encoder(
    config: &Config,
    g: &mut GraphBuilder,
    shape: &Shape,
    prefix: &str,
    x: &Value,
    hidden: Option<&Value>,
) -> Result<Value> {
    let mut x = x.clone();
    for number in 0..config.size_or("num_hidden_layers", 12)? {
        let prefix = format!("{prefix}encoder.layers.{number}.");
        let layer = Layer { config, shape, names: &NAMES, prefix, bias: Bias::Added };
        x = layer.norm_before(g, &x, hidden)?;
    }
    Ok(x)
}

pub(super) fn build_image(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let (dimensions, config) = (dimensions(config)?, &config.section("vision_config")?);
    let shape = IMAGE.shape(config)?;
    let size = shape.hidden;
    let images = Images::input(config, g, 32)?;
    let patches = images.patches(g, "vision_model.embeddings.patch_embedding", size, Bias::None)?;
    let class = g.weight("vision_model.embeddings.class_embedding", &[size])?;
    let class = g.reshape(&class, &[1, 1, -1]);
    let x = Images::with_class(g, &class, &patches);
    let positions =
        g.weight("vision_model.embeddings.position_embedding.weight", &[images.count + 1, size])?;
    let x = g.add(&x, &positions);
    // the library's own spelling
    let x = g.layer_norm(&x, "vision_model.pre_layrnorm", size, shape.epsilon, Bias::Added)?;
    let x = encoder(config, g, &shape, "vision_model.", &x, None)?;
    let x = Images::first(g, &x);
    let x = g.layer_norm(&x, "vision_model.post_layernorm", size, shape.epsilon, Bias::Added)?;
    let x = g.linear(&x, "visual_projection", [size, dimensions], Bias::None)?;
    Images::output(g, "image_embeds", &x, dimensions);
    Ok(())
}
