//! One vector against rows of others, exactly.

use super::norm::{NORMAL_SQUARES, largest, norm, scaled_square, widened};
use super::sums::{Differences, Products, ProductsAndSquares, SquaredDifferences, for_each_row};
use super::{Item, Metric};

/// A vector, ready to be compared with many others: it is read, and its length is computed, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    metric: Metric,
    items: Vec<f64>,
    /// `a·a` of the items
    square: f64,
}

impl Query {
    /// `vector` is compared by `metric`.
    #[must_use]
    pub fn new<T: Item>(metric: Metric, vector: &[T]) -> Self {
        let mut query = Self { metric, items: Vec::new(), square: 0.0 };
        query.set(vector);
        query
    }

    /// Puts another vector in the place of this one; its memory is used again.
    pub fn set<T: Item>(&mut self, vector: &[T]) {
        self.items.resize(vector.len(), 0.0);
        T::widen(vector, &mut self.items);
        for_each_row::<Products, f64>(&self.items, &self.items, 1, |_, [square, _]| self.square = square);
    }

    /// The length of the vector.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.items.len()
    }

    /// The metric between the vector and `row`, which is as long; of a longer one only the head is read, of a
    /// shorter one nothing.
    ///
    /// `None` where it is undefined: the angle to a vector that is empty or all zeros. NaN and infinite items give
    /// what f64 arithmetic gives, never `None`. The order of the two vectors makes no difference to any bit.
    ///
    /// Sums are taken in f64. Where squares overflow or underflow f64, vectors are scaled by their largest item first.
    #[must_use]
    pub fn value<T: Item>(&self, row: &[T]) -> Option<f64> {
        let mut value = [None];
        self.values(row, &mut value);
        value[0]
    }

    /// [`Self::value`] for each of `values.len()` rows, which lie one behind the other in `rows`.
    pub fn values<T: Item>(&self, rows: &[T], values: &mut [Option<f64>]) {
        let (query, count) = (&self.items, values.len());
        let row = |index: usize| &rows[index * query.len()..][..query.len()];
        values.fill(None);
        match self.metric {
            Metric::CosineDistance => {
                for_each_row::<ProductsAndSquares, T>(rows, query, count, |index, [product, square]| {
                    values[index] = self.cosine(row(index), product, square).map(|cosine| 1.0 - cosine);
                });
            }
            Metric::CosineSimilarity => {
                for_each_row::<ProductsAndSquares, T>(rows, query, count, |index, [product, square]| {
                    values[index] = self.cosine(row(index), product, square);
                });
            }
            Metric::InnerProduct => {
                for_each_row::<Products, T>(rows, query, count, |index, [product, _]| {
                    values[index] = Some(product);
                });
            }
            Metric::L2Distance => {
                for_each_row::<SquaredDifferences, T>(rows, query, count, |index, [square, _]| {
                    values[index] = Some(self.l2(row(index), square));
                });
            }
            Metric::L1Distance => {
                for_each_row::<Differences, T>(rows, query, count, |index, [sum, _]| {
                    values[index] = Some(sum);
                });
            }
        }
    }

    /// The cosine, from the sums over a row and the query: `a·b` and the row's `a·a`.
    #[inline(always)]
    fn cosine<T: Item>(&self, row: &[T], product: f64, square: f64) -> Option<f64> {
        if !(NORMAL_SQUARES.contains(&square) && NORMAL_SQUARES.contains(&self.square)) {
            return self.scaled_cosine(row);
        }
        Some(cosine(product, square, self.square))
    }

    /// The cosine where squares leave the range in which f64 is accurate, or there is nothing but zeros.
    #[cold]
    fn scaled_cosine<T: Item>(&self, row: &[T]) -> Option<f64> {
        let row = widened(row);
        let (largest_row, largest_query) = (largest(&row), largest(&self.items));
        if largest_row == 0.0 || largest_query == 0.0 {
            return None;
        }
        if !largest_row.is_finite() || !largest_query.is_finite() {
            return Some(f64::NAN);
        }
        let product = row.iter().zip(&self.items).map(|(a, b)| (a / largest_row) * (b / largest_query)).sum();
        Some(cosine(product, scaled_square(&row, largest_row), scaled_square(&self.items, largest_query)))
    }

    /// The distance, from the sum of the squares of the differences.
    #[inline(always)]
    fn l2<T: Item>(&self, row: &[T], square: f64) -> f64 {
        if NORMAL_SQUARES.contains(&square) { square.sqrt() } else { self.scaled_l2(row) }
    }

    #[cold]
    fn scaled_l2<T: Item>(&self, row: &[T]) -> f64 {
        let mut differences = widened(row);
        for (difference, item) in differences.iter_mut().zip(&self.items) {
            *difference -= item;
        }
        norm(&differences)
    }
}

#[inline(always)]
fn cosine(product: f64, square_a: f64, square_b: f64) -> f64 {
    // one root of the product, and not a product of roots: it is exact for a vector and itself
    let cosine = product / (square_a * square_b).sqrt();
    // rounding can leave [-1, 1] by one unit: a distance is never negative. NaN stays NaN.
    cosine.clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::super::tests::{METRICS, numbers};
    use super::*;

    /// The definition, term by term, and the size of what is rounded.
    fn reference(metric: Metric, a: &[f64], b: &[f64]) -> (f64, f64) {
        let sum = |term: fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| term(a, b)).sum::<f64>();
        let cosine = || sum(|a, b| a * b) / (sum(|a, _| a * a).sqrt() * sum(|_, b| b * b).sqrt());
        match metric {
            Metric::CosineDistance => (1.0 - cosine(), 1.0),
            Metric::CosineSimilarity => (cosine(), 1.0),
            Metric::InnerProduct => (sum(|a, b| a * b), sum(|a, b| (a * b).abs())),
            Metric::L2Distance => (sum(|a, b| (a - b).powi(2)).sqrt(), sum(|a, b| (a - b).powi(2)).sqrt()),
            Metric::L1Distance => (sum(|a, b| (a - b).abs()), sum(|a, b| (a - b).abs())),
        }
    }

    fn value<T: Item>(metric: Metric, a: &[T], b: &[T]) -> Option<f64> {
        Query::new(metric, b).value(a)
    }

    #[test]
    fn agrees_with_the_definition_at_every_length_and_magnitude() {
        for (length, scale) in (0..=2000).zip([1.0, 1e-18, 1e18, 1e-3].into_iter().cycle()) {
            let vector = |seed| numbers(seed).take(length).map(|item| item * scale).collect::<Vec<f32>>();
            let (a, b) = (vector(1), vector(2));
            let widened = |vector: &[f32]| vector.iter().map(|&item| f64::from(item)).collect::<Vec<_>>();
            for metric in METRICS {
                let (expected, size) = reference(metric, &widened(&a), &widened(&b));
                match value(metric, &a, &b) {
                    Some(value) => {
                        let error = (value - expected).abs();
                        assert!(
                            error <= 1e-12 * size,
                            "{metric:?} of {length} items of {scale}: {value}, {expected}"
                        );
                    }
                    None => assert_eq!(length, 0),
                }
            }
        }
    }

    #[test]
    fn has_the_same_bits_in_either_order_and_one_by_one_or_in_rows() {
        for length in [1, 3, 16, 17, 63, 64, 65, 384, 1000] {
            let rows: Vec<f32> = numbers(3).take(length * 5).collect();
            let query: Vec<f32> = numbers(4).take(length).collect();
            for metric in METRICS {
                let mut values = [None; 5];
                Query::new(metric, &query).values(&rows, &mut values);
                for (row, value_in_rows) in rows.chunks(length).zip(values) {
                    let in_rows = value_in_rows.map(f64::to_bits);
                    assert_eq!(
                        value(metric, row, &query).map(f64::to_bits),
                        in_rows,
                        "{metric:?} of {length}"
                    );
                    assert_eq!(
                        value(metric, &query, row).map(f64::to_bits),
                        in_rows,
                        "{metric:?} of {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_type_of_number() {
        fn check<T: Item>(a: &[T; 3], b: &[T; 3]) {
            assert_eq!(value(Metric::InnerProduct, a, b), Some(11.0));
            assert_eq!(value(Metric::L1Distance, a, b), Some(5.0));
            assert_eq!(value(Metric::L2Distance, a, b), Some(13_f64.sqrt()));
        }
        let (a, b) = ([1_u8, 2, 3], [4, 2, 1]);
        check(&a, &b);
        check(&a.map(f16::from), &b.map(f16::from));
        check(&a.map(f32::from), &b.map(f32::from));
        check(&a.map(f64::from), &b.map(f64::from));
        check(&[-1_i8, -2, -3], &[-4, -2, -1]);
    }

    #[test]
    fn a_long_vector_of_half_precision() {
        let a: Vec<f16> = numbers(5).take(100).map(f16::from_f32).collect();
        let same: Vec<f64> = a.iter().map(|&item| item.to_f64()).collect();
        assert_eq!(value(Metric::InnerProduct, &a, &a), value(Metric::InnerProduct, &same, &same));
    }

    #[test]
    fn undefined_angles() {
        for metric in [Metric::CosineDistance, Metric::CosineSimilarity] {
            assert_eq!(value::<f32>(metric, &[], &[]), None);
            assert_eq!(value(metric, &[0.0_f32, 0.0], &[1.0, 2.0]), None);
            assert_eq!(value(metric, &[1.0_f64, 2.0], &[0.0, 0.0]), None);
            assert_eq!(value(metric, &[0.0, 0.0], &[f64::NAN, 0.0]), None);
        }
    }

    #[test]
    fn distances_between_empty_vectors() {
        for metric in [Metric::InnerProduct, Metric::L2Distance, Metric::L1Distance] {
            assert_eq!(value::<f32>(metric, &[], &[]), Some(0.0));
        }
    }

    #[test]
    fn extreme_lengths_keep_the_angle() {
        let distance = |a: &[f64], b: &[f64]| value(Metric::CosineDistance, a, b);
        assert_eq!(distance(&[3e200, 4e200], &[3e200, 4e200]), Some(0.0));
        assert_eq!(distance(&[1e-200, 2e-200], &[1e-200, 2e-200]), Some(0.0));
        assert_eq!(distance(&[1e200, 0.0], &[-1e-200, 0.0]), Some(2.0));
        assert_eq!(value(Metric::CosineDistance, &[1e38_f32, 0.0], &[1e-38, 0.0]), Some(0.0));
    }

    #[test]
    fn extreme_distances() {
        for scale in [1e200, 1e-200] {
            let distance = value(Metric::L2Distance, &[3.0 * scale, 0.0], &[0.0, 4.0 * scale]);
            assert!((distance.unwrap() / scale - 5.0).abs() < 1e-14);
        }
        assert_eq!(value(Metric::L2Distance, &[1.0, 2.0], &[1.0, 2.0]), Some(0.0));
    }

    #[test]
    fn what_is_not_finite_is_not_a_number() {
        for metric in [Metric::CosineDistance, Metric::CosineSimilarity] {
            assert!(value(metric, &[f64::NAN, 1.0], &[1.0, 1.0]).unwrap().is_nan());
            assert!(value(metric, &[f32::INFINITY, 1.0], &[1.0, 1.0]).unwrap().is_nan());
        }
        for metric in [Metric::InnerProduct, Metric::L2Distance, Metric::L1Distance] {
            assert!(value(metric, &[f64::NAN, 1.0], &[1.0, 1.0]).unwrap().is_nan());
            assert_eq!(value(metric, &[f32::INFINITY, 1.0], &[1.0, 1.0]), Some(f64::INFINITY));
        }
    }

    #[test]
    fn a_distance_is_never_negative() {
        let a: Vec<f32> = (0_u8..200).map(|i| f32::from(i).sqrt()).collect();
        assert_eq!(value(Metric::CosineDistance, &a, &a), Some(0.0));
    }

    #[test]
    fn nothing_is_read_behind_the_rows() {
        let mut values = [Some(7.0); 3];
        Query::new(Metric::InnerProduct, &[1.0_f32, 1.0]).values(&[1.0_f32, 2.0, 3.0], &mut values);
        assert_eq!(values, [Some(3.0), None, None]);
    }
}
