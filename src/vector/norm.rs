//! The length of a vector, and vectors of length 1.

use std::ops::Range;

use super::Item;
use super::sums::{Products, for_each_row};

/// Sums of squares of which f64 holds the product of two accurately, and their roots.
pub(super) const NORMAL_SQUARES: Range<f64> = 1e-140..1e140;

/// `|a| = √Σ aᵢ²`; 0 for an empty vector. NaN and infinite items give what f64 arithmetic gives. Where squares overflow
/// or underflow f64, the vector is scaled by its largest item first.
#[must_use]
pub fn norm<T: Item>(vector: &[T]) -> f64 {
    let (scale, norm) = scaled_norm(&widened(vector));
    scale * norm
}

/// The vector in the same direction with length 1, `aᵢ / |a|`; `None` for one that is all zeros. An empty vector stays
/// empty.
#[must_use]
pub fn normalize<T: Item>(vector: &[T]) -> Option<Vec<f64>> {
    let mut items = widened(vector);
    let (scale, norm) = scaled_norm(&items);
    if norm == 0.0 && !items.is_empty() {
        return None;
    }
    for item in &mut items {
        *item = *item / scale / norm;
    }
    Some(items)
}

/// Two numbers whose product is the length of the vector; each is in the range of f64 even if the length is not.
fn scaled_norm(items: &[f64]) -> (f64, f64) {
    let mut square = 0.0;
    for_each_row::<Products, f64>(items, items, 1, |_, [sum, _]| square = sum);
    if NORMAL_SQUARES.contains(&square) {
        return (1.0, square.sqrt());
    }
    let largest = largest(items);
    if largest == 0.0 || !largest.is_finite() {
        return (1.0, largest);
    }
    (largest, scaled_square(items, largest).sqrt())
}

pub(super) fn widened<T: Item>(vector: &[T]) -> Vec<f64> {
    let mut items = vec![0.0; vector.len()];
    T::widen(vector, &mut items);
    items
}

/// `Σ (aᵢ / largest)²`
pub(super) fn scaled_square(items: &[f64], largest: f64) -> f64 {
    items.iter().map(|item| (item / largest).powi(2)).sum()
}

/// The largest magnitude; NaN if an item is NaN; 0 for no item.
pub(super) fn largest(items: &[f64]) -> f64 {
    items.iter().map(|item| item.abs()).fold(0.0, |largest: f64, item| {
        if item.is_nan() || largest.is_nan() { f64::NAN } else { largest.max(item) }
    })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!(norm(&[3.0_f32, 4.0]), 5.0);
        assert_eq!(norm(&[3_i8, -4]), 5.0);
        assert_eq!(norm::<f32>(&[]), 0.0);
        assert_eq!(norm(&[0.0_f64, 0.0]), 0.0);
        for scale in [1e200, 1e-200] {
            assert!((norm(&[3.0 * scale, 4.0 * scale]) / scale - 5.0).abs() < 1e-14);
        }
        assert_eq!(norm(&[f32::NEG_INFINITY, 1.0]), f64::INFINITY);
        assert!(norm(&[f64::NAN, 1.0]).is_nan());
    }

    #[test]
    fn normalized_vectors_have_length_1() {
        for length in 1..=2000 {
            let vector: Vec<f32> = numbers(6).take(length).collect();
            let unit = normalize(&vector).unwrap();
            assert!((norm(&unit) - 1.0).abs() < 1e-14, "{length}");
        }
        for vector in [[1.5e308, 1.5e308], [5e-324, 0.0], [1e-200, 1e200]] {
            assert!((norm(&normalize(&vector).unwrap()) - 1.0).abs() < 1e-14, "{vector:?}");
        }
    }

    #[test]
    fn zeros_have_no_direction() {
        assert_eq!(normalize(&[0.0_f32, 0.0]), None);
        assert_eq!(normalize::<f32>(&[]), Some(vec![]));
    }
}
