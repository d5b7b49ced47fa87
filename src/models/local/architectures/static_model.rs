//! Static models of model2vec: a text is the mean of its tokens' rows of a table.
use super::Outline;
use super::builder::{Attribute, GraphBuilder, Side};
use super::config::Config;
use super::layers::Texts;
use super::onnx::DataType;
use super::tokens;
use crate::error::Result;

/// The library's own limit. It also cuts a text at that many times the median length of a token before it is tokenised,
/// which is not done here: a longer text can have a few tokens more.
const MAX_TOKENS: usize = 512;

pub(super) fn outline(config: &Config) -> Result<Outline> {
    let dimensions = config.size(&["hidden_dim", "hidden_size"])?;
    let max_tokens = config.size_or("max_length", MAX_TOKENS)?;
    Ok(Outline { special_tokens: false, ..Outline::new(dimensions).with_max_tokens(max_tokens) })
}

pub(super) fn build(config: &Config, g: &mut GraphBuilder) -> Result<()> {
    let size = config.size(&["hidden_dim", "hidden_size"])?;
    let rows = g.weights.get("embeddings")?.shape.first().copied().unwrap_or_default();

    let texts = Texts::input(g);
    let mut counts = g.cast(&texts.mask, DataType::Float);
    // what the tokenizer does not know says nothing
    if let Some(unknown) = tokens::unknown(config.folder())? {
        let unknown = g.integer(unknown);
        let unknown = g.op("Equal", &[&texts.ids, &unknown], &[]);
        let known = g.op("Not", &[&unknown], &[]);
        let known = g.cast(&known, DataType::Float);
        counts = g.multiply(&counts, &known);
    }
    // a table of fewer rows than there are tokens has a row and a weight for each of these
    let mut of_table = texts.ids.clone();
    if g.weights.has("mapping") {
        let tokens = g.weights.get("mapping")?.shape.first().copied().unwrap_or_default();
        let mapping = g.integer_weight("mapping", &[tokens])?;
        of_table = g.rows(&mapping, &of_table);
    }
    let mut shares = counts.clone();
    if g.weights.has("weights") {
        let tokens = g.weights.get("weights")?.shape.first().copied().unwrap_or_default();
        let weights = g.weight_rows("weights", &[tokens], &texts.ids)?;
        shares = g.multiply(&shares, &weights);
    }
    // [batch, 1, sequence] times [batch, sequence, size]
    let vectors = g.weight_rows("embeddings", &[rows, size], &of_table)?;
    let shares = g.unsqueeze(&shares, &[1]);
    let sum = g.op("MatMul", &[&shares, &vectors], &[]);
    let axes = g.integers(&[1]);
    let sum = g.op("Squeeze", &[&sum, &axes], &[]);
    let count = g.op("ReduceSum", &[&counts, &axes], &[("keepdims", Attribute::Int(1))]);
    let one = g.number(1.0);
    let count = g.op("Max", &[&count, &one], &[]);
    let mut mean = g.op("Div", &[&sum, &count], &[]);
    if config.flag_or("normalize", false)? {
        mean = g.op("LpNormalization", &[&mean], &[("axis", Attribute::Int(-1)), ("p", Attribute::Int(2))]);
    }
    g.output("sentence_embedding", &mean, &[Side::Any("batch"), Side::Is(size)]);
    Ok(())
}
