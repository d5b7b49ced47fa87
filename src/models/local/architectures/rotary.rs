//! Rotary positions (Su et al. 2021): each pair of numbers of a query or a key is turned by an angle that grows with the
//! token's position.
use super::builder::{Attribute, GraphBuilder, Value};
use super::config::Config;
use super::layers::Heads;
use super::onnx::DataType;
use crate::error::Result;

/// The sine and cosine of each angle: `[sequence, half of a head]`.
pub(super) struct Rotary {
    cos: Value,
    sin: Value,
}

impl Rotary {
    /// `base`: the slowest pair turns by about 1 / base a position.
    pub(super) fn new(
        config: &Config,
        g: &mut GraphBuilder,
        positions: &Value,
        heads: Heads,
        base: f32,
    ) -> Result<Self> {
        if !heads.size.is_multiple_of(2) {
            return config.unsupported(&format!("a head has {} numbers, which are no pairs", heads.size));
        }
        #[expect(clippy::cast_precision_loss, reason = "a head has far fewer numbers than 2^24")]
        let speed = |pair: usize| 1.0 / base.powf((2 * pair) as f32 / heads.size as f32);
        let speeds = (0..heads.size / 2).map(speed).collect();
        let speeds = g.numbers(&format!("speeds of base {base}"), speeds);
        let positions = g.cast(positions, DataType::Float);
        let positions = g.unsqueeze(&positions, &[1]);
        let angles = g.multiply(&positions, &speeds);
        Ok(Self { cos: g.op("Cos", &[&angles], &[]), sin: g.op("Sin", &[&angles], &[]) })
    }

    /// Turns `[batch, head, sequence, part]`; number i of a head is paired with the one half a head behind it.
    pub(super) fn turn(&self, g: &mut GraphBuilder, x: &Value) -> Value {
        let [first, second] = g.split(x);
        let (kept, taken) = (g.multiply(&first, &self.cos), g.multiply(&second, &self.sin));
        let turned_first = g.op("Sub", &[&kept, &taken], &[]);
        let (kept, added) = (g.multiply(&second, &self.cos), g.multiply(&first, &self.sin));
        let turned_second = g.add(&kept, &added);
        g.op("Concat", &[&turned_first, &turned_second], &[("axis", Attribute::Int(-1))])
    }

    /// Attention of the three parts of `x`, `[batch, sequence, 3 * vector]`, with queries and keys turned.
    pub(super) fn attend(&self, g: &mut GraphBuilder, heads: Heads, x: &Value, hidden: &Value) -> Value {
        let [query, key, value] = g.split(x).map(|part| heads.split(g, &part));
        let (query, key) = (self.turn(g, &query), self.turn(g, &key));
        let key = g.transpose(&key, &[0, 1, 3, 2]);
        heads.attend_split(g, [&query, &key, &value], Some(hidden))
    }
}
