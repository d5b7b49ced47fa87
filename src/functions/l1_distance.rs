//! `l1_distance(a, b)`
use datafusion_macros::user_doc;

use super::Function;
use super::distance::{Distance, Measure};
use crate::vector::Metric;

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "Σ |aᵢ - bᵢ| as Float64, the taxicab distance; 0 for empty vectors. NULL if a vector is NULL or has a NULL item. Vectors of different lengths, or of two different spaces that are both known, are an error.",
    syntax_example = "l1_distance(a, b)",
    sql_example = "SELECT l1_distance([1.0, 2.0], [4.0, 6.0])",
    argument(name = "a", description = "A list of numbers: of fixed size, as embeddings are, or not."),
    argument(name = "b", description = "Another.")
)]
struct L1Distance;

pub(super) fn function() -> Function {
    let distance = Distance::new("l1_distance", Measure::Of(Metric::L1Distance), L1Distance.doc());
    Function::synchronous(distance)
}
