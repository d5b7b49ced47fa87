//! `AIMv2` (Fini et al. 2024), the models tuned with texts ("lit"): an encoder of texts and one of images, into one
//! space. Tensors are called as the transformers library calls them, or as the authors' own files do.
use super::Outline;
use super::builder::{Bias, GraphBuilder, Side, Value};
use super::config::Config;
use super::images::Images;
use super::layers::{End, Heads, Texts, hide_later};
use crate::error::Result;

/// How the tensors are called.
struct Names {
    text: &'static str,
    image: &'static str,
    words: &'static str,
    text_positions: &'static str,
    image_positions: &'static str,
    patches: &'static str,
    patch_norm: &'static str,
    layer: &'static str,
    /// Query, key and value in one tensor, or each in its own.
    attention: Attention,
    joined: &'static str,
    gate: &'static str,
    up: &'static str,
    down: &'static str,
    attention_norm: &'static str,
    forward_norm: &'static str,
    norm: &'static str,
    key: &'static str,
    value: &'static str,
    pooled: &'static str,
    text_projection: &'static str,
    image_projection: &'static str,
}

enum Attention {
    One(&'static str),
    Three([&'static str; 3]),
}

const LIBRARY: Names = Names {
    text: "text_model.",
    image: "vision_model.",
    words: "embeddings.token_embedding.weight",
    text_positions: "embeddings.position_embedding.weight",
    image_positions: "embeddings.position_embedding.weight",
    patches: "embeddings.patch_embed",
    patch_norm: "embeddings.rms_norm",
    layer: "encoder.layers.",
    attention: Attention::Three(["attention.q_proj", "attention.k_proj", "attention.v_proj"]),
    joined: "attention.out_proj",
    gate: "ffn.gate_proj",
    up: "ffn.up_proj",
    down: "ffn.down_proj",
    attention_norm: "rms_norm1",
    forward_norm: "rms_norm2",
    norm: "rms_norm",
    key: "head.k_proj",
    value: "head.v_proj",
    pooled: "head.output_proj",
    text_projection: "text_projection",
    image_projection: "visual_projection",
};

const AUTHORS: Names = Names {
    text: "text_encoder.",
    image: "image_encoder.",
    words: "preprocessor.text_embedding.weight",
    text_positions: "preprocessor.positional_embedding",
    image_positions: "preprocessor.pos_embed",
    patches: "preprocessor.patchifier.proj",
    patch_norm: "preprocessor.patchifier.norm",
    layer: "trunk.blocks.",
    attention: Attention::One("attn.qkv"),
    joined: "attn.proj",
    gate: "mlp.fc1",
    up: "mlp.fc3",
    down: "mlp.fc2",
    attention_norm: "norm_1",
    forward_norm: "norm_2",
    norm: "trunk.post_trunk_norm",
    key: "head.k",
    value: "head.v",
    pooled: "head.linear",
    text_projection: "text_projector",
    image_projection: "image_projector",
};

const TEXT: Defaults = Defaults { hidden: 768, intermediate: 2048, layers: 12, heads: 6 };
const IMAGE: Defaults = Defaults { hidden: 1024, intermediate: 2816, layers: 24, heads: 8 };

/// The sizes of the large model, which `config.json` leaves out.
struct Defaults {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
}

const POSITIONS: &[&str] = &["max_position_embeddings", "max_context_length"];

fn positions(config: &Config) -> Result<usize> {
    if POSITIONS.iter().any(|key| config.has(key)) { config.size(POSITIONS) } else { Ok(77) }
}

fn dimensions(config: &Config) -> Result<usize> {
    config.size_or("projection_dim", 512)
}

pub(super) fn text_outline(config: &Config) -> Result<Outline> {
    let positions = positions(&config.section("text_config")?)?;
    Ok(Outline::new(dimensions(config)?).with_max_tokens(positions))
}

pub(super) fn image_outline(config: &Config) -> Result<Outline> {
    dimensions(config).map(Outline::new)
}

/// One of the two encoders.
struct Encoder<'a> {
    config: &'a Config,
    names: &'static Names,
    prefix: &'static str,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: Heads,
    epsilon: f32,
    attention_bias: Bias,
    forward_bias: Bias,
}

impl<'a> Encoder<'a> {
    fn new(
        config: &'a Config,
        names: &'static Names,
        prefix: &'static str,
        defaults: &Defaults,
    ) -> Result<Self> {
        let hidden = config.size_or("hidden_size", defaults.hidden)?;
        let heads = config.size_or("num_attention_heads", defaults.heads)?;
        Ok(Self {
            config,
            names,
            prefix,
            hidden,
            intermediate: config.size_or("intermediate_size", defaults.intermediate)?,
            layers: config.size_or("num_hidden_layers", defaults.layers)?,
            heads: Heads { count: heads, size: config.head_size(hidden, heads)? },
            epsilon: config.number_or(&["rms_norm_eps"], 1e-5)?,
            attention_bias: Bias::from(config.flag_or("qkv_bias", false)?),
            forward_bias: Bias::from(config.flag_or("mlp_bias", config.flag_or("use_bias", false)?)?),
        })
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A table of positions, which some files have with a side of 1 before the others.
    fn positions(&self, g: &mut GraphBuilder, name: &str, count: usize) -> Result<Value> {
        let name = self.name(name);
        if g.weights.get(&name)?.shape.len() == 3 {
            let table = g.weight(&name, &[1, count, self.hidden])?;
            return Ok(g.reshape(&table, &[-1, i64::try_from(self.hidden).unwrap_or(i64::MAX)]));
        }
        g.weight(&name, &[count, self.hidden])
    }

    fn layer(&self, g: &mut GraphBuilder, number: usize, x: &Value, unseen: Option<&Value>) -> Result<Value> {
        let (names, hidden) = (self.names, self.hidden);
        let name = |name: &str| self.name(&format!("{}{number}.{name}", names.layer));
        let y = g.rms_norm(x, &name(names.attention_norm), hidden, self.epsilon)?;
        let [query, key, value] = match &names.attention {
            Attention::One(one) => {
                let y = g.linear(&y, &name(one), [hidden, 3 * hidden], self.attention_bias)?;
                g.split(&y)
            }
            Attention::Three(three) => {
                let mut project =
                    |part: &str| g.linear(&y, &name(part), [hidden, hidden], self.attention_bias);
                [project(three[0])?, project(three[1])?, project(three[2])?]
            }
        };
        let y = self.heads.attend(g, [&query, &key, &value], unseen);
        let y = g.linear(&y, &name(names.joined), [hidden, hidden], self.attention_bias)?;
        let x = g.add(&y, x);

        let y = g.rms_norm(&x, &name(names.forward_norm), hidden, self.epsilon)?;
        let sides = [hidden, self.intermediate];
        let gate = g.linear(&y, &name(names.gate), sides, self.forward_bias)?;
        let gate = g.activation(self.config, self.config.text_or("hidden_act", "silu")?, &gate)?;
        let up = g.linear(&y, &name(names.up), sides, self.forward_bias)?;
        let y = g.multiply(&gate, &up);
        let y = g.linear(&y, &name(names.down), [self.intermediate, hidden], self.forward_bias)?;
        Ok(g.add(&y, &x))
    }

    fn layers(&self, g: &mut GraphBuilder, x: Value, unseen: Option<&Value>) -> Result<Value> {
        let mut x = x;
        for number in 0..self.layers {
            x = self.layer(g, number, &x, unseen)?;
        }
        g.rms_norm(&x, &self.name(self.names.norm), self.hidden, self.epsilon)
    }

    /// One trained query looks at all patches.
    fn pool(&self, g: &mut GraphBuilder, x: &Value) -> Result<Value> {
        let (names, sides) = (self.names, [self.hidden, self.hidden]);
        let query = g.weight(&self.name("head.cls_token"), &[1, 1, self.hidden])?;
        let key = g.linear(x, &self.name(names.key), sides, self.attention_bias)?;
        let value = g.linear(x, &self.name(names.value), sides, self.attention_bias)?;
        let x = self.heads.attend(g, [&query, &key, &value], None);
        let x = Images::first(g, &x);
        g.linear(&x, &self.name(names.pooled), sides, Bias::Added)
    }
}

fn names(g: &GraphBuilder) -> &'static Names {
    if g.weights.has("image_projector.weight") { &AUTHORS } else { &LIBRARY }
}

pub(super) fn build_text(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let names = names(g);
    let (dimensions, config) = (dimensions(config)?, &config.section("text_config")?);
    let encoder = Encoder::new(config, names, names.text, &TEXT)?;
    let texts = Texts::input(g);
    let positions = texts.positions(g);
    let words = config.size_or("vocab_size", 49_408)?;
    let words = g.weight_rows(&encoder.name(names.words), &[words, encoder.hidden], &texts.ids)?;
    let table = encoder.positions(g, names.text_positions, self::positions(config)?)?;
    let of_positions = g.rows(&table, &positions);
    let x = g.add(&words, &of_positions);
    let padding = texts.hide_padding(g);
    let later = hide_later(g, &positions);
    let unseen = g.add(&later, &padding);
    let x = encoder.layers(g, x, Some(&unseen))?;
    let x = texts.at_end(g, &x, End::Token(config.token_or("eos_token_id", 49_407)?));
    let x = g.linear(&x, names.text_projection, [encoder.hidden, dimensions], Bias::None)?;
    g.output("text_embeds", &x, &[Side::Any("batch"), Side::Is(dimensions)]);
    Ok(())
}

pub(super) fn build_image(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let names = names(g);
    let (dimensions, config) = (dimensions(config)?, &config.section("vision_config")?);
    if config.flag_or("is_native", false)? {
        return config.unsupported("is_native is true: images of any size are not built");
    }
    let encoder = Encoder::new(config, names, names.image, &IMAGE)?;
    let images = Images::input(config, g, 14)?;
    let x = images.patches(g, &encoder.name(names.patches), encoder.hidden, Bias::Added)?;
    let x = g.rms_norm(&x, &encoder.name(names.patch_norm), encoder.hidden, encoder.epsilon)?;
    let positions = encoder.positions(g, names.image_positions, images.count)?;
    let x = g.add(&x, &positions);
    let x = encoder.layers(g, x, None)?;
    let x = encoder.pool(g, &x)?;
    let x = g.linear(&x, names.image_projection, [encoder.hidden, dimensions], Bias::None)?;
    Images::output(g, "image_embeds", &x, dimensions);
    Ok(())
}
