//! Distances between vectors. Pure: slices of numbers in, a number out.

mod cosine;

pub use cosine::cosine_distance;
