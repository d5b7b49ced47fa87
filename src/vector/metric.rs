//! What is measured between two vectors.

/// A number that says how near two vectors `a` and `b` are. The SQL function of the same name gives this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// `1 - a·b / (|a| |b|)`: 0 for the same direction, 1 for orthogonal vectors, 2 for opposite ones.
    CosineDistance,
    /// `a·b / (|a| |b|)`: 1 for the same direction, 0 for orthogonal vectors, -1 for opposite ones.
    CosineSimilarity,
    /// `a·b = Σ aᵢ bᵢ`
    InnerProduct,
    /// `|a - b| = √Σ (aᵢ - bᵢ)²`
    L2Distance,
    /// `Σ |aᵢ - bᵢ|`
    L1Distance,
}

impl Metric {
    /// True where vectors are the nearer the larger the number is.
    #[must_use]
    pub fn larger_is_nearer(self) -> bool {
        matches!(self, Self::CosineSimilarity | Self::InnerProduct)
    }
}
