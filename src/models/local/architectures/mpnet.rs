//! `MPNet` (Song et al. 2020): BERT's layers, positions as `RoBERTa`'s, and a score for each distance between tokens.
use super::Outline;
use super::bert;
use super::builder::{Bias, GraphBuilder, Value, signed};
use super::config::Config;
use super::layers::{Layer, Names, Texts, distances};
use crate::error::Result;

const NAMES: Names = Names {
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    joined: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    forward_norm: "output.LayerNorm",
};

/// The distance from which on all have one bucket.
const MAX_DISTANCE: f32 = 128.0;

/// The library counts from behind this padding token, whatever the configuration says.
pub(super) fn outline(config: &Config) -> Result<Outline> {
    bert::outline_behind_padding(config, bert::PADDING)
}

pub(super) fn build(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let prefix = g.weights.prefix(&["", "mpnet."], "embeddings.word_embeddings.weight")?;
    let shape = bert::shape(config)?;
    let embeddings = format!("{prefix}embeddings.");
    let texts = Texts::input(g);
    let positions = bert::positions_behind_padding(g, &texts, bert::PADDING);
    let x = bert::words(config, g, &embeddings, &texts, shape.hidden)?;
    let x = bert::with_positions(config, g, &embeddings, &x, &positions, shape.hidden)?;
    let mut x =
        g.layer_norm(&x, &format!("{embeddings}LayerNorm"), shape.hidden, shape.epsilon, Bias::Added)?;

    let padding = texts.hide_padding(g);
    let scores = distance_scores(config, g, prefix, &texts, shape.heads.count)?;
    let hidden = g.add(&scores, &padding);
    for number in 0..config.size(&["num_hidden_layers"])? {
        let prefix = format!("{prefix}encoder.layer.{number}.");
        let layer = Layer { config, shape: &shape, names: &NAMES, prefix, bias: Bias::Added };
        x = layer.norm_after(g, &x, Some(&hidden))?;
    }
    Texts::output(g, &x, shape.hidden);
    Ok(())
}

/// What each head adds to a score for the distance of its tokens: `[1, head, sequence, sequence]`.
fn distance_scores(
    config: &Config,
    g: &mut GraphBuilder,
    prefix: &str,
    texts: &Texts,
    heads: usize,
) -> Result<Value> {
    let buckets = config.size_or("relative_attention_num_buckets", 32)?;
    let name = format!("{prefix}encoder.relative_attention_bias.weight");
    if buckets < 4 {
        return config
            .unsupported(&format!("relative_attention_num_buckets is {buckets}, expected 4 at least"));
    }
    // the bucket of each distance that there can be, from the lowest on
    let most = signed(config.size(&["max_position_embeddings"])?);
    let of_distances = (-most..=most).map(|distance| bucket(distance, signed(buckets))).collect();
    let of_distances = g.named_integers("buckets of distances", of_distances);
    let positions = texts.positions(g);
    let (distances, most) = (distances(g, &positions), g.integer(most));
    let found = g.add(&distances, &most);
    let found = g.rows(&of_distances, &found);
    let scores = g.weight_rows(&name, &[buckets, heads], &found)?;
    let scores = g.transpose(&scores, &[2, 0, 1]);
    Ok(g.unsqueeze(&scores, &[0]))
}

/// The bucket of a distance, as in T5 (Raffel et al. 2020): half of them for tokens before, half for those behind; of each
/// half the first half for one distance each, the others for ranges that grow logarithmically.
fn bucket(distance: i64, buckets: i64) -> i64 {
    let half = buckets / 2;
    let (side, distance) = (if distance > 0 { half } else { 0 }, distance.abs());
    let exact = half / 2;
    if distance < exact {
        return side + distance;
    }
    // in 32-bit floats, as the model was trained
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers")]
    let range = {
        let (distance, exact, ranges) = (distance as f32, exact as f32, (half - exact) as f32);
        ((distance / exact).ln() / (MAX_DISTANCE / exact).ln() * ranges) as i64
    };
    side + (exact + range).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::bucket;

    /// The distances at which a bucket begins, as the library's own function has them for 32 buckets.
    #[test]
    fn buckets_of_distances() {
        let begins: Vec<i64> = (-600..=0).rev().filter(|&d| bucket(d, 32) != bucket(d + 1, 32)).collect();
        let expected = [0, -1, -2, -3, -4, -5, -6, -7, -8, -12, -16, -23, -32, -46, -64, -91];
        assert_eq!(begins, expected);
        for distance in 1..600 {
            assert_eq!(bucket(distance, 32), bucket(-distance, 32) + 16);
        }
    }
}
