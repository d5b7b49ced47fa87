//! Distances between vectors of bits, which come as bytes.

use pulp::Arch;

/// The number of bits in which `a` and `b` differ.
///
/// The vectors must be of one length; of a longer one only the head is read.
#[must_use]
pub fn hamming_distance(a: &[u8], b: &[u8]) -> u64 {
    Arch::new().dispatch(
        #[inline(always)]
        || a.iter().zip(b).map(|(a, b)| u64::from((a ^ b).count_ones())).sum(),
    )
}

/// `1 - |a ∧ b| / |a ∨ b|` over the bits that are set: 0 for the same set of bits, 1 for sets that share none. As in
/// pgvector, it is 1 if no bit is set in either.
///
/// The vectors must be of one length; of a longer one only the head is read.
#[must_use]
pub fn jaccard_distance(a: &[u8], b: &[u8]) -> f64 {
    let (common, all) = Arch::new().dispatch(
        #[inline(always)]
        || {
            a.iter().zip(b).fold((0_u32, 0_u32), |(common, all), (a, b)| {
                (common + (a & b).count_ones(), all + (a | b).count_ones())
            })
        },
    );
    if common == 0 { 1.0 } else { 1.0 - f64::from(common) / f64::from(all) }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::*;

    #[test]
    fn differing_bits() {
        assert_eq!(hamming_distance(&[0b1010, 0xFF], &[0b0110, 0xFE]), 3);
        assert_eq!(hamming_distance(&[], &[]), 0);
        assert_eq!(hamming_distance(&[0; 1000], &[0xFF; 1000]), 8000);
    }

    #[test]
    fn sets_of_bits() {
        assert_eq!(jaccard_distance(&[0b1111], &[0b0110]), 0.5);
        assert_eq!(jaccard_distance(&[0b1010, 3], &[0b1010, 3]), 0.0);
        assert_eq!(jaccard_distance(&[0b01], &[0b10]), 1.0);
        assert_eq!(jaccard_distance(&[0], &[0]), 1.0);
        assert_eq!(jaccard_distance(&[], &[]), 1.0);
    }
}
