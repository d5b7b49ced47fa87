//! Kernels over vectors: distances, norms, and bounds that spare a distance. Pure: slices of numbers in, numbers out.
//!
//! [`Query`] compares one vector with rows of others; whatever computes a distance goes through it, so that a
//! distance has the same bits wherever it is computed. [`Queries`] bounds the distances of many vectors to many rows
//! with a matrix product, so that the exact distance is needed only for the rows that may be among the nearest.
//!
//! Each kernel is compiled for several instruction sets, and one is picked at run time (`pulp`). What is called inside
//! a kernel has to be inlined into it: else it is compiled for the plainest of them.
#![expect(clippy::inline_always, reason = "see above")]

mod bits;
mod bounds;
mod item;
mod metric;
mod nearest;
mod norm;
mod products;
mod query;
mod sums;

pub use bits::{hamming_distance, jaccard_distance};
pub use bounds::{Queries, Rows};
pub use item::Item;
pub use metric::Metric;
pub use nearest::{Keep, Nearest, Pair, Slot, Wanted};
pub use norm::{norm, normalize};
pub use query::Query;

#[cfg(test)]
mod tests {
    use super::Metric;

    pub(super) const METRICS: [Metric; 5] = [
        Metric::CosineDistance,
        Metric::CosineSimilarity,
        Metric::InnerProduct,
        Metric::L2Distance,
        Metric::L1Distance,
    ];

    /// Numbers that look random, in [-1, 1), the same in every run.
    pub(super) fn numbers(seed: u64) -> impl Iterator<Item = f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [_, _, high, low, ..] = state.to_be_bytes();
            f32::from(i16::from_be_bytes([high, low])) / 32768.0
        })
    }
}
