//! What the families share: the inputs of text and image encoders, attention (Vaswani et al. 2017), and layers that
//! normalise after (BERT) or before (`ViT`) their two blocks.
use super::builder::{Attribute, Bias, GraphBuilder, Side, Value, signed};
use super::config::Config;
use super::onnx::DataType;
use crate::error::Result;

/// Added to the score of what is not to be seen: after the softmax nothing is left of it.
const HIDDEN: f32 = -1e9;

/// The texts of a run, `[batch, sequence]`.
pub(super) struct Texts {
    pub(super) ids: Value,
    /// 1 for a token, 0 for padding behind the last one.
    pub(super) mask: Value,
}

const BATCH_OF_TEXTS: [Side; 2] = [Side::Any("batch"), Side::Any("sequence")];

impl Texts {
    pub(super) fn input(g: &mut GraphBuilder) -> Self {
        Self {
            ids: g.input("input_ids", DataType::Int64, &BATCH_OF_TEXTS),
            mask: g.input("attention_mask", DataType::Int64, &BATCH_OF_TEXTS),
        }
    }

    /// The type of each token, which is 0 unless a text has two parts.
    pub(super) fn types(g: &mut GraphBuilder) -> Value {
        g.input("token_type_ids", DataType::Int64, &BATCH_OF_TEXTS)
    }

    /// 0, 1, 2, ... as many as the longest text has tokens.
    pub(super) fn positions(&self, g: &mut GraphBuilder) -> Value {
        let shape = g.op("Shape", &[&self.ids], &[]);
        let (zero, one) = (g.integer(0), g.integer(1));
        let length = g.rows(&shape, &one);
        g.op("Range", &[&zero, &length, &one], &[])
    }

    /// What hides padding when it is added to scores: `[batch, 1, 1, sequence]`.
    pub(super) fn hide_padding(&self, g: &mut GraphBuilder) -> Value {
        let mask = g.cast(&self.mask, DataType::Float);
        let mask = g.unsqueeze(&mask, &[1, 2]);
        let (one, hidden) = (g.number(1.0), g.number(HIDDEN));
        let padding = g.op("Sub", &[&one, &mask], &[]);
        g.multiply(&padding, &hidden)
    }

    /// The vectors of tokens, as the output that is pooled outside of the graph.
    pub(super) fn output(g: &mut GraphBuilder, tokens: &Value, size: usize) {
        g.output("last_hidden_state", tokens, &[Side::Any("batch"), Side::Any("sequence"), Side::Is(size)]);
    }

    /// The vectors of texts that have the token `end`: that of its first one, `[batch, size]`.
    pub(super) fn at_end(&self, g: &mut GraphBuilder, tokens: &Value, end: End) -> Value {
        let last = match end {
            End::Token(end) => {
                let end = g.integer(end);
                let found = g.op("Equal", &[&self.ids, &end], &[]);
                g.cast(&found, DataType::Int32)
            }
            End::Largest => self.ids.clone(),
        };
        let keep = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(1))];
        let last = g.op("ArgMax", &[&last], &keep);
        let picked = g.op("GatherND", &[tokens, &last], &[("batch_dims", Attribute::Int(1))]);
        g.reshape(&picked, &[0, -1])
    }
}

/// The token whose vector is the text's.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// The first one of this number.
    Token(i64),
    /// The first one of the largest number.
    Largest,
}

/// The distance of each token from each other: `[sequence, sequence]`, its position minus that of the one that looks.
pub(super) fn distances(g: &mut GraphBuilder, positions: &Value) -> Value {
    let (rows, columns) = (g.unsqueeze(positions, &[1]), g.unsqueeze(positions, &[0]));
    g.op("Sub", &[&columns, &rows], &[])
}

/// What hides those for which `hidden` is true, when it is added to scores.
fn hide(g: &mut GraphBuilder, hidden: &Value) -> Value {
    let (seen, not) = (g.number(0.0), g.number(HIDDEN));
    g.op("Where", &[hidden, &not, &seen], &[])
}

/// What hides the tokens that come later: `[sequence, sequence]`.
pub(super) fn hide_later(g: &mut GraphBuilder, positions: &Value) -> Value {
    let (distances, zero) = (distances(g, positions), g.integer(0));
    let later = g.op("Greater", &[&distances, &zero], &[]);
    hide(g, &later)
}

/// What hides the tokens that are more than `window` away: `[sequence, sequence]`.
pub(super) fn hide_distant(g: &mut GraphBuilder, positions: &Value, window: usize) -> Value {
    let (distances, window) = (distances(g, positions), g.integer(signed(window)));
    let distances = g.op("Abs", &[&distances], &[]);
    let distant = g.op("Greater", &[&distances, &window], &[]);
    hide(g, &distant)
}

/// Attention heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) count: usize,
    /// Numbers of a vector that each has.
    pub(super) size: usize,
}

impl Heads {
    pub(super) fn of(config: &Config, hidden: usize, keys: &[&str]) -> Result<Self> {
        let count = config.size(keys)?;
        Ok(Self { count, size: config.head_size(hidden, count)? })
    }

    /// `[batch, sequence, vector]` to `[batch, head, sequence, part]`.
    pub(super) fn split(self, g: &mut GraphBuilder, x: &Value) -> Value {
        let x = g.reshape(x, &[0, 0, signed(self.count), signed(self.size)]);
        g.transpose(&x, &[0, 2, 1, 3])
    }

    /// `[batch, sequence, vector]` to `[batch, head, part, sequence]`.
    fn split_keys(self, g: &mut GraphBuilder, x: &Value) -> Value {
        let x = g.reshape(x, &[0, 0, signed(self.count), signed(self.size)]);
        g.transpose(&x, &[0, 2, 3, 1])
    }

    /// Attention of vectors `[batch, sequence, vector]`; `hidden` is added to the scores.
    pub(super) fn attend(
        self,
        g: &mut GraphBuilder,
        [query, key, value]: [&Value; 3],
        hidden: Option<&Value>,
    ) -> Value {
        let (query, key, value) = (self.split(g, query), self.split_keys(g, key), self.split(g, value));
        self.attend_split(g, [&query, &key, &value], hidden)
    }

    /// Attention of vectors that are split: keys `[batch, head, part, sequence]`, the others
    /// `[batch, head, sequence, part]`.
    pub(super) fn attend_split(
        self,
        g: &mut GraphBuilder,
        [query, key, value]: [&Value; 3],
        hidden: Option<&Value>,
    ) -> Value {
        #[expect(clippy::cast_precision_loss, reason = "a head has far fewer numbers than 2^24")]
        let scale = g.number(1.0 / (self.size as f32).sqrt());
        let scores = g.op("MatMul", &[query, key], &[]);
        let mut scores = g.multiply(&scores, &scale);
        if let Some(hidden) = hidden {
            scores = g.add(&scores, hidden);
        }
        let shares = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let vectors = g.op("MatMul", &[&shares, value], &[]);
        let vectors = g.transpose(&vectors, &[0, 2, 1, 3]);
        g.reshape(&vectors, &[0, 0, signed(self.count * self.size)])
    }
}

/// The sizes of a layer.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) heads: Heads,
    pub(super) epsilon: f32,
    pub(super) activation: &'a str,
}

/// How a family calls the tensors of a layer.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    /// From the heads' vectors to the layer's.
    pub(super) joined: &'static str,
    /// The normalisation of the attention block.
    pub(super) attention_norm: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    /// The normalisation of the feed-forward block.
    pub(super) forward_norm: &'static str,
}

/// The layer with the tensors below `prefix`.
pub(super) struct Layer<'a> {
    pub(super) config: &'a Config,
    pub(super) shape: &'a Shape<'a>,
    pub(super) names: &'a Names,
    pub(super) prefix: String,
    /// Of query, key and value.
    pub(super) bias: Bias,
}

impl Layer<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn norm(&self, g: &mut GraphBuilder, x: &Value, name: &str) -> Result<Value> {
        g.layer_norm(x, &self.name(name), self.shape.hidden, self.shape.epsilon, Bias::Added)
    }

    fn attention(&self, g: &mut GraphBuilder, x: &Value, hidden: Option<&Value>) -> Result<Value> {
        let size = self.shape.hidden;
        let mut project = |name: &str| g.linear(x, &self.name(name), [size, size], self.bias);
        let (query, key, value) =
            (project(self.names.query)?, project(self.names.key)?, project(self.names.value)?);
        let y = self.shape.heads.attend(g, [&query, &key, &value], hidden);
        g.linear(&y, &self.name(self.names.joined), [size, size], Bias::Added)
    }

    fn forward(&self, g: &mut GraphBuilder, x: &Value) -> Result<Value> {
        let (hidden, intermediate) = (self.shape.hidden, self.shape.intermediate);
        let y = g.linear(x, &self.name(self.names.up), [hidden, intermediate], Bias::Added)?;
        let y = g.activation(self.config, self.shape.activation, &y)?;
        g.linear(&y, &self.name(self.names.down), [intermediate, hidden], Bias::Added)
    }

    /// Normalises the sum of each block's input and output, as BERT does.
    pub(super) fn norm_after(
        &self,
        g: &mut GraphBuilder,
        x: &Value,
        hidden: Option<&Value>,
    ) -> Result<Value> {
        let y = self.attention(g, x, hidden)?;
        let sum = g.add(&y, x);
        let x = self.norm(g, &sum, self.names.attention_norm)?;
        let y = self.forward(g, &x)?;
        let sum = g.add(&y, &x);
        self.norm(g, &sum, self.names.forward_norm)
    }

    /// Normalises each block's input, as `ViT` does.
    pub(super) fn norm_before(
        &self,
        g: &mut GraphBuilder,
        x: &Value,
        hidden: Option<&Value>,
    ) -> Result<Value> {
        let y = self.norm(g, x, self.names.attention_norm)?;
        let y = self.attention(g, &y, hidden)?;
        let x = g.add(&y, x);
        let y = self.norm(g, &x, self.names.forward_norm)?;
        let y = self.forward(g, &y)?;
        Ok(g.add(&y, &x))
    }
}
