//! `ModernBERT` (Warner et al. 2024): layers that normalise first, rotary positions, gated feed-forward blocks, and
//! attention to near tokens only in most layers.
use super::Outline;
use super::builder::{Bias, GraphBuilder};
use super::config::Config;
use super::layers::{Heads, Texts, hide_distant};
use super::rotary::Rotary;
use crate::error::Result;

pub(super) fn outline(config: &Config) -> Result<Outline> {
    Ok(Outline::new(config.size(&["hidden_size"])?)
        .with_max_tokens(config.size(&["max_position_embeddings"])?))
}

/// Whether each layer sees all tokens, or near ones only.
fn layers(config: &Config) -> Result<Vec<bool>> {
    let count = config.size(&["num_hidden_layers"])?;
    let Some(kinds) = config.list("layer_types")? else {
        let every = config.size_or("global_attn_every_n_layers", 3)?;
        return Ok((0..count.min(MAX_LAYERS)).map(|layer| layer.is_multiple_of(every)).collect());
    };
    if kinds.len() != count {
        return config
            .unsupported(&format!("layer_types has {} layers, num_hidden_layers is {count}", kinds.len()));
    }
    let sees_all = kinds.into_iter().map(|kind| match kind {
        "full_attention" => Ok(true),
        "sliding_attention" => Ok(false),
        other => config.unsupported(&format!("layer_types has '{other}'")),
    });
    sees_all.collect()
}

/// A number of layers that no file has tensors for: more are an error of the first missing one.
const MAX_LAYERS: usize = 10_000;

pub(super) fn build(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let prefix = g.weights.prefix(&["", "model."], "embeddings.tok_embeddings.weight")?;
    let hidden = config.size(&["hidden_size"])?;
    let intermediate = config.size(&["intermediate_size"])?;
    let heads = Heads::of(config, hidden, &["num_attention_heads"])?;
    let epsilon = config.number_or(&["norm_eps"], 1e-5)?;
    let activation = config.text_or("hidden_activation", "gelu")?;
    let norm_bias = Bias::from(config.flag_or("norm_bias", false)?);
    let attention_bias = Bias::from(config.flag_or("attention_bias", false)?);
    let forward_bias = Bias::from(config.flag_or("mlp_bias", false)?);

    let texts = Texts::input(g);
    let words = config.size(&["vocab_size"])?;
    let name = format!("{prefix}embeddings.tok_embeddings.weight");
    let x = g.weight_rows(&name, &[words, hidden], &texts.ids)?;
    let mut x = g.layer_norm(&x, &format!("{prefix}embeddings.norm"), hidden, epsilon, norm_bias)?;
    let positions = texts.positions(g);
    let all_base = config.rope_theta(Some("full_attention"), &["global_rope_theta"], 160_000.0)?;
    // without a value it is that of the layers that see all
    let default = if config.is_null("local_rope_theta") { all_base } else { 10_000.0 };
    let near_base = config.rope_theta(Some("sliding_attention"), &["local_rope_theta"], default)?;
    let all_rotary = Rotary::new(config, g, &positions, heads, all_base)?;
    let near_rotary = Rotary::new(config, g, &positions, heads, near_base)?;
    let padding = texts.hide_padding(g);
    // the configuration has the width of the whole window
    let distant = hide_distant(g, &positions, config.size_or("local_attention", 128)? / 2);
    let distant = g.add(&distant, &padding);
    for (number, sees_all) in layers(config)?.into_iter().enumerate() {
        let name = |name: &str| format!("{prefix}layers.{number}.{name}");
        let (rotary, unseen) = if sees_all { (&all_rotary, &padding) } else { (&near_rotary, &distant) };
        // the first layer's input is normalised
        let y = match number {
            0 => x.clone(),
            _ => g.layer_norm(&x, &name("attn_norm"), hidden, epsilon, norm_bias)?,
        };
        let y = g.linear(&y, &name("attn.Wqkv"), [hidden, 3 * hidden], attention_bias)?;
        let y = rotary.attend(g, heads, &y, unseen);
        let y = g.linear(&y, &name("attn.Wo"), [hidden, hidden], attention_bias)?;
        x = g.add(&y, &x);

        let y = g.layer_norm(&x, &name("mlp_norm"), hidden, epsilon, norm_bias)?;
        let y = g.linear(&y, &name("mlp.Wi"), [hidden, 2 * intermediate], forward_bias)?;
        let [y, gate] = g.split(&y);
        let y = g.activation(config, activation, &y)?;
        let y = g.multiply(&y, &gate);
        let y = g.linear(&y, &name("mlp.Wo"), [intermediate, hidden], forward_bias)?;
        x = g.add(&y, &x);
    }
    let x = g.layer_norm(&x, &format!("{prefix}final_norm"), hidden, epsilon, norm_bias)?;
    Texts::output(g, &x, hidden);
    Ok(())
}
