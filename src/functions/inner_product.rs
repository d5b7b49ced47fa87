//! `inner_product(a, b)`
use datafusion_macros::user_doc;

use super::Function;
use super::distance::{Distance, Measure};
use crate::vector::Metric;

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "a·b = Σ aᵢ bᵢ as Float64, the cosine similarity of vectors of length 1; 0 for empty vectors. NULL if a vector is NULL or has a NULL item. Vectors of different lengths, or of two different spaces that are both known, are an error.",
    syntax_example = "inner_product(a, b)",
    sql_example = "SELECT text FROM documents ORDER BY inner_product(embedding, embed_text('What is Daft?')) DESC LIMIT 5",
    argument(name = "a", description = "A list of numbers: of fixed size, as embeddings are, or not."),
    argument(name = "b", description = "Another.")
)]
struct InnerProduct;

pub(super) fn function() -> Function {
    let distance = Distance::new("inner_product", Measure::Of(Metric::InnerProduct), InnerProduct.doc());
    Function::synchronous(distance)
}
