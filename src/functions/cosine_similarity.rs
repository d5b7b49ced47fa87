//! `cosine_similarity(a, b)`
use datafusion_macros::user_doc;

use super::Function;
use super::distance::{Distance, Measure};
use crate::vector::Metric;

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "a·b / (|a| |b|) as Float64, 1 - cosine_distance(a, b): 1 for the same direction, 0 for orthogonal vectors, -1 for opposite ones. NULL if a vector is NULL, has a NULL item, is empty or all zeros. Vectors of different lengths, or of two different spaces that are both known, are an error.",
    syntax_example = "cosine_similarity(a, b)",
    sql_example = "SELECT cosine_similarity(embed_text('cat'), embed_text('kitten'))",
    argument(name = "a", description = "A list of numbers: of fixed size, as embeddings are, or not."),
    argument(name = "b", description = "Another.")
)]
struct CosineSimilarity;

pub(super) fn function() -> Function {
    let distance =
        Distance::new("cosine_similarity", Measure::Of(Metric::CosineSimilarity), CosineSimilarity.doc());
    Function::synchronous(distance)
}
