//! Cosine distance.

/// How many sums run beside each other, so that the compiler can keep them in vector registers.
const LANES: usize = 8;

/// `1 - a·b / (|a| |b|)`: 0 for the same direction, 1 for orthogonal vectors, 2 for opposite ones.
///
/// Sums are taken in f64. `None` where the angle is undefined: an empty vector, or one that is all zeros. NaN and
/// infinite items give NaN. Finite vectors whose squares overflow or underflow f64 are scaled by their largest item
/// first, which does not change the angle. Cost: one pass over both; time grows linearly with their length.
///
/// The vectors must be of one length; of a longer one only the head is read.
#[must_use]
pub fn cosine_distance<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> Option<f64> {
    let sums = sums(a, b, None);
    let sums = if sums.are_normal() {
        sums
    } else {
        let (largest_a, largest_b) = (largest(a), largest(b));
        if largest_a == 0.0 || largest_b == 0.0 {
            return None;
        }
        if !(largest_a * largest_b).is_nan() && largest_a.is_finite() && largest_b.is_finite() {
            self::sums(a, b, Some((largest_a, largest_b)))
        } else {
            sums
        }
    };
    // one root of the product, and not a product of roots: it is exact for a vector and itself
    let cosine = sums.product / (sums.square_a * sums.square_b).sqrt();
    // rounding can leave [-1, 1] by one unit: a distance is never negative. NaN stays NaN.
    Some(1.0 - if cosine.is_nan() { cosine } else { cosine.clamp(-1.0, 1.0) })
}

struct Sums {
    product: f64,
    square_a: f64,
    square_b: f64,
}

impl Sums {
    /// False where the product of the sums of squares could leave the range in which f64 is accurate, or one is 0
    /// or NaN.
    fn are_normal(&self) -> bool {
        const SMALLEST: f64 = 1e-140;
        const LARGEST: f64 = 1e140;
        [self.square_a, self.square_b].into_iter().all(|square| (SMALLEST..LARGEST).contains(&square))
    }
}

fn sums<T: Copy + Into<f64>>(a: &[T], b: &[T], scale: Option<(f64, f64)>) -> Sums {
    let (mut product, mut square_a, mut square_b) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let mut add = |lane: usize, a: T, b: T| {
        let (mut a, mut b) = (a.into(), b.into());
        if let Some((scale_a, scale_b)) = scale {
            a /= scale_a;
            b /= scale_b;
        }
        product[lane] += a * b;
        square_a[lane] += a * a;
        square_b[lane] += b * b;
    };
    let ((chunks_a, rest_a), (chunks_b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (chunk_a, chunk_b) in chunks_a.iter().zip(chunks_b) {
        for lane in 0..LANES {
            add(lane, chunk_a[lane], chunk_b[lane]);
        }
    }
    for (lane, (&a, &b)) in rest_a.iter().zip(rest_b).enumerate() {
        add(lane, a, b);
    }
    Sums { product: product.iter().sum(), square_a: square_a.iter().sum(), square_b: square_b.iter().sum() }
}

/// The largest magnitude; NaN if an item is NaN; 0 for no item.
fn largest<T: Copy + Into<f64>>(vector: &[T]) -> f64 {
    vector.iter().map(|&item| item.into().abs()).fold(0.0, |largest: f64, item| {
        if item.is_nan() || largest.is_nan() { f64::NAN } else { largest.max(item) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, term by term.
    fn reference(a: &[f32], b: &[f32]) -> f64 {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    #[test]
    fn agrees_with_the_definition_at_every_length() {
        for length in [1_u16, 2, 7, 8, 9, 15, 16, 17, 384, 1536] {
            let vector = |seed: f32| (0..length).map(|i| (f32::from(i) * seed).sin()).collect::<Vec<f32>>();
            let (a, b) = (vector(0.7), vector(1.3));
            // sin(0) is 0: a vector of one item is all zeros, its angle is undefined
            match cosine_distance(&a, &b) {
                Some(distance) => {
                    assert!((distance - reference(&a, &b)).abs() < 1e-12, "{length}: {distance}");
                }
                None => assert_eq!(length, 1),
            }
        }
    }

    #[test]
    fn undefined_angles() {
        assert_eq!(cosine_distance::<f32>(&[], &[]), None);
        assert_eq!(cosine_distance(&[0.0_f32, 0.0], &[1.0, 2.0]), None);
        assert_eq!(cosine_distance(&[1.0_f64, 2.0], &[0.0, 0.0]), None);
    }

    #[test]
    fn extreme_lengths_keep_the_angle() {
        assert_eq!(cosine_distance(&[3e200, 4e200], &[3e200, 4e200]), Some(0.0));
        assert_eq!(cosine_distance(&[1e-200, 2e-200], &[1e-200, 2e-200]), Some(0.0));
        assert_eq!(cosine_distance(&[1e200, 0.0], &[-1e-200, 0.0]), Some(2.0));
        assert_eq!(cosine_distance(&[1e38_f32, 0.0], &[1e-38_f32, 0.0]), Some(0.0));
    }

    #[test]
    fn what_is_not_finite_is_not_a_number() {
        assert!(cosine_distance(&[f64::NAN, 1.0], &[1.0, 1.0]).unwrap().is_nan());
        assert!(cosine_distance(&[f32::INFINITY, 1.0], &[1.0, 1.0]).unwrap().is_nan());
    }

    #[test]
    fn a_distance_is_never_negative() {
        let a: Vec<f32> = (0_u8..200).map(|i| f32::from(i).sqrt()).collect();
        assert!(cosine_distance(&a, &a).unwrap() >= 0.0);
    }
}
