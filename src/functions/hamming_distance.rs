//! `hamming_distance(a, b)`
use datafusion_macros::user_doc;

use super::Function;
use super::distance::{Distance, Measure};

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "The number of bits in which a and b differ, as Float64: pgvector's hamming_distance of bit vectors, eight of whose bits are a byte here; 0 for empty vectors. NULL if a vector is NULL or has a NULL item. Vectors of different lengths, or of two different spaces that are both known, are an error.",
    syntax_example = "hamming_distance(a, b)",
    sql_example = "SELECT hamming_distance(arrow_cast([1, 255], 'List(UInt8)'), arrow_cast([3, 254], 'List(UInt8)'))",
    argument(name = "a", description = "A list of int8 or uint8, whose bits are compared."),
    argument(name = "b", description = "Another.")
)]
struct HammingDistance;

pub(super) fn function() -> Function {
    let distance = Distance::new("hamming_distance", Measure::Hamming, HammingDistance.doc());
    Function::synchronous(distance)
}
