//! Nomic BERT (Nussbaum et al. 2024): BERT with rotary positions and gated feed-forward blocks. The keys of `config.json`
//! are those of the files on the hub, which are GPT-2's, or those of the transformers library.
use super::Outline;
use super::bert;
use super::builder::{Bias, GraphBuilder};
use super::config::Config;
use super::layers::{Heads, Texts};
use super::rotary::Rotary;
use crate::error::Result;

const HIDDEN: &[&str] = &["n_embd", "hidden_size"];

pub(super) fn outline(config: &Config) -> Result<Outline> {
    let positions = config.size(&["n_positions", "max_position_embeddings"])?;
    // positions behind the trained ones are scaled there, which is not built
    let trained = match config.has("rotary_scaling_factor") {
        true => config.size_or("max_trained_positions", 2048)?,
        false => positions,
    };
    Ok(Outline::new(config.size(HIDDEN)?).with_max_tokens(positions.min(trained)))
}

pub(super) fn build(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    check(config)?;
    let prefix = g.weights.prefix(&["", "bert.", "nomic_bert."], "embeddings.word_embeddings.weight")?;
    let hidden = config.size(HIDDEN)?;
    let intermediate = config.size(&["n_inner", "intermediate_size"])?;
    let heads = Heads::of(config, hidden, &["n_head", "num_attention_heads"])?;
    let epsilon = config.number_or(&["layer_norm_epsilon", "layer_norm_eps"], 1e-12)?;
    let base = config.rope_theta(None, &["rotary_emb_base", "rope_theta"], 1000.0)?;
    let attention_bias = Bias::from(config.flag_or("qkv_proj_bias", false)?);
    let up_bias = Bias::from(config.flag_or("mlp_fc1_bias", false)?);
    let down_bias = Bias::from(config.flag_or("mlp_fc2_bias", false)?);

    let texts = Texts::input(g);
    let embeddings = format!("{prefix}embeddings.");
    let mut x = bert::words(config, g, &embeddings, &texts, hidden)?;
    if let Some(kinds) = config.count("type_vocab_size", 2)? {
        let types = Texts::types(g);
        let name = format!("{embeddings}token_type_embeddings.weight");
        let kinds = g.weight_rows(&name, &[kinds, hidden], &types)?;
        x = g.add(&x, &kinds);
    }
    let mut x = g.layer_norm(&x, &format!("{prefix}emb_ln"), hidden, epsilon, Bias::Added)?;
    let positions = texts.positions(g);
    let rotary = Rotary::new(config, g, &positions, heads, base)?;
    let padding = texts.hide_padding(g);
    for number in 0..config.size(&["n_layer", "num_hidden_layers"])? {
        let name = |name: &str| format!("{prefix}encoder.layers.{number}.{name}");
        let y = g.linear(&x, &name("attn.Wqkv"), [hidden, 3 * hidden], attention_bias)?;
        let y = rotary.attend(g, heads, &y, &padding);
        let y = g.linear(&y, &name("attn.out_proj"), [hidden, hidden], attention_bias)?;
        let sum = g.add(&y, &x);
        x = g.layer_norm(&sum, &name("norm1"), hidden, epsilon, Bias::Added)?;

        let up = g.linear(&x, &name("mlp.fc11"), [hidden, intermediate], up_bias)?;
        let gate = g.linear(&x, &name("mlp.fc12"), [hidden, intermediate], up_bias)?;
        let gate = g.activation(config, "silu", &gate)?;
        let y = g.multiply(&gate, &up);
        let y = g.linear(&y, &name("mlp.fc2"), [intermediate, hidden], down_bias)?;
        let sum = g.add(&y, &x);
        x = g.layer_norm(&sum, &name("norm2"), hidden, epsilon, Bias::Added)?;
    }
    Texts::output(g, &x, hidden);
    Ok(())
}

/// The files can say more than is built.
fn check(config: &Config) -> Result<()> {
    let activation = match config.has("activation_function") {
        true => config.text_or("activation_function", "swiglu")?,
        false => config.text_or("hidden_act", "silu")?,
    };
    if !matches!(activation, "swiglu" | "silu") {
        return config.unsupported(&format!("its activation is '{activation}', not 'swiglu'"));
    }
    for flag in ["prenorm", "use_rms_norm", "rotary_emb_interleaved", "parallel_block", "causal"] {
        if config.flag_or(flag, false)? {
            return config.unsupported(&format!("{flag} is true"));
        }
    }
    if config.has("rotary_emb_scale_base") {
        return config.unsupported("it has a rotary_emb_scale_base");
    }
    if config.count("num_experts", 0)?.is_some() {
        return config.unsupported("it is a mixture of experts");
    }
    let fraction = config.number_or(&["rotary_emb_fraction"], 1.0)?;
    if (fraction - 1.0).abs() > f32::EPSILON {
        return config.unsupported(&format!("rotary_emb_fraction is {fraction}, not 1"));
    }
    Ok(())
}
