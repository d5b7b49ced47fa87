//! `l2_distance(a, b)`
use datafusion_macros::user_doc;

use super::Function;
use super::distance::{Distance, Measure};
use crate::vector::Metric;

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "|a - b| = √Σ (aᵢ - bᵢ)² as Float64, the Euclidean distance; 0 for empty vectors. NULL if a vector is NULL or has a NULL item. Vectors of different lengths, or of two different spaces that are both known, are an error. Also called array_distance and list_distance.",
    syntax_example = "l2_distance(a, b)",
    sql_example = "SELECT text FROM documents ORDER BY l2_distance(embedding, embed_text('What is Daft?')) LIMIT 5",
    argument(name = "a", description = "A list of numbers: of fixed size, as embeddings are, or not."),
    argument(name = "b", description = "Another.")
)]
struct L2Distance;

pub(super) fn function() -> Function {
    let distance = Distance::new("l2_distance", Measure::Of(Metric::L2Distance), L2Distance.doc());
    // DataFusion's own names for it
    Function::synchronous(distance.with_aliases(&["array_distance", "list_distance"]))
}
