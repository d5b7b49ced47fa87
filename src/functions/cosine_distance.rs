//! `cosine_distance(a, b)`
use datafusion_macros::user_doc;

use super::Function;
use super::distance::{Distance, Measure};
use crate::planner::When;
use crate::vector::Metric;

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "1 - a·b / (|a| |b|) as Float64: 0 for the same direction, 1 for orthogonal vectors, 2 for opposite ones. NULL if a vector is NULL, has a NULL item, is empty or all zeros. Vectors of different lengths, or of two different spaces that are both known, are an error.",
    syntax_example = "cosine_distance(a, b)",
    sql_example = "SELECT text FROM documents ORDER BY cosine_distance(embed_text(text), embed_text('What is Daft?')) LIMIT 5",
    argument(name = "a", description = "A list of numbers: of fixed size, as embeddings are, or not."),
    argument(name = "b", description = "Another.")
)]
struct CosineDistance;

pub(super) fn function() -> Function {
    let distance =
        Distance::new("cosine_distance", Measure::Of(Metric::CosineDistance), CosineDistance.doc());
    Function::with_twin(distance, When::Always)
}
