//! `jaccard_distance(a, b)`
use datafusion_macros::user_doc;

use super::Function;
use super::distance::{Distance, Measure};

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "1 - |a ∧ b| / |a ∨ b| over the bits that are set, as Float64: 0 for the same set of bits, 1 for sets that share none. pgvector's jaccard_distance of bit vectors, eight of whose bits are a byte here; as there, 1 if no bit is set in either. NULL if a vector is NULL or has a NULL item. Vectors of different lengths, or of two different spaces that are both known, are an error.",
    syntax_example = "jaccard_distance(a, b)",
    sql_example = "SELECT jaccard_distance(arrow_cast([3], 'List(UInt8)'), arrow_cast([6], 'List(UInt8)'))",
    argument(name = "a", description = "A list of int8 or uint8, whose bits are compared."),
    argument(name = "b", description = "Another.")
)]
struct JaccardDistance;

pub(super) fn function() -> Function {
    let distance = Distance::new("jaccard_distance", Measure::Jaccard, JaccardDistance.doc());
    Function::synchronous(distance)
}
