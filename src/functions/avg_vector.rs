//! `avg_vector(vector)`
use datafusion_macros::user_doc;

use super::AggregateFunction;
use super::vector_aggregate::VectorAggregate;

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "The mean of the vectors, item by item: the centre of a cluster of embeddings, in their space. A list of the same kind, of floats of the same width, else of Float64; sums are taken in Float64. A vector that is NULL or has a NULL item does not count; NULL if none does. Vectors of different lengths are an error.",
    syntax_example = "avg_vector(vector)",
    sql_example = "SELECT label, avg_vector(embedding) FROM documents GROUP BY label",
    argument(name = "vector", description = "A list of numbers: of fixed size, as embeddings are, or not.")
)]
struct AvgVector;

pub(super) fn function() -> AggregateFunction {
    AggregateFunction::new(VectorAggregate::new("avg_vector", true, AvgVector.doc()))
}
