//! Bounds of the distances of many vectors to many rows, at the price of a matrix product.

use std::cell::OnceCell;

use super::products::{error_bound, products};
use super::sums::{Squares, for_each_row};
use super::{Item, Metric, Query};

/// Lengths of vectors whose products neither overflow nor underflow f32.
const LENGTHS: std::ops::RangeInclusive<f64> = 1e-12..=1e18;
/// What the few operations behind a product can add to its error, relative to the lengths.
const SLACK: f64 = 16.0 * f32::EPSILON as f64;

/// Up to so many queries, the rows are read at the speed of memory also if the value is computed for each pair.
const FEW: usize = 2;

/// Rows of numbers, one behind the other, that are compared with queries.
#[derive(Debug)]
pub struct Rows<'a> {
    items: &'a [f32],
    dimensions: usize,
    rounded: bool,
    /// The length of each; NaN outside [`LENGTHS`]
    norms: OnceCell<Vec<f32>>,
}

impl<'a> Rows<'a> {
    /// Rows of `dimensions` numbers each, which were `rounded` to f32, or are exact.
    #[must_use]
    pub fn new(items: &'a [f32], dimensions: usize, rounded: bool) -> Self {
        Self { items, dimensions, rounded, norms: OnceCell::new() }
    }

    fn count(&self) -> usize {
        self.items.len().checked_div(self.dimensions).unwrap_or(0)
    }

    fn norms(&self) -> &[f32] {
        self.norms.get_or_init(|| {
            let mut norms = vec![f32::NAN; self.count()];
            lengths(self.items, self.dimensions, &mut norms);
            norms
        })
    }
}

/// Vectors of one length, ready to be compared with many rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Queries {
    metric: Metric,
    dimensions: usize,
    items: Vec<f32>,
    /// The numbers, where f32 does not hold them exactly.
    exact: Option<Vec<f64>>,
    /// The length of each; NaN outside [`LENGTHS`]
    norms: Vec<f32>,
}

impl Queries {
    /// `queries` are vectors of `dimensions` numbers, which lie one behind the other.
    #[must_use]
    pub fn new<T: Item>(metric: Metric, queries: &[T], dimensions: usize) -> Self {
        let mut singles = Vec::new();
        let items = T::singles(queries, &mut singles).to_vec();
        let exact = (!T::FITS_SINGLE).then(|| {
            let mut exact = vec![0.0; queries.len()];
            T::widen(queries, &mut exact);
            exact
        });
        let mut norms = vec![f32::NAN; items.len().checked_div(dimensions).unwrap_or(0)];
        lengths(&items, dimensions, &mut norms);
        Self { metric, dimensions, items, exact, norms }
    }

    /// The number of queries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.norms.len()
    }

    /// Makes `query` the one of that number.
    pub fn get(&self, number: usize, query: &mut Query) {
        let place = number * self.dimensions..(number + 1) * self.dimensions;
        match &self.exact {
            Some(exact) => query.set(&exact[place]),
            None => query.set(&self.items[place]),
        }
    }

    /// True if there is no query.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }

    /// Writes a lower bound of the metric, with the opposite sign where larger is nearer
    /// ([`Metric::larger_is_nearer`]), of each query and each row into `bounds`, one query after the other: that of
    /// query `i` and row `j` is at `i * number of rows + j`.
    ///
    /// That is: [`Query::value`] of the pair is not below the bound (`-value` not below it, where larger is nearer). A
    /// row whose bound is above the value of the worst row that is kept need not be looked at. The bound is `-∞` where
    /// nothing can be said: the value may be NaN or undefined, or numbers leave the range of f32.
    ///
    /// With `n` dimensions, `e = 6e-8 (n + 32)`: a bound is less than `2 e` below the cosine, `2 e |a| |b|` below the
    /// product, `2 e (|a|² + |b|²)` below the square of the L2 distance. L1 distances are no product: they are computed
    /// and rounded down, as the values of a few queries are.
    ///
    /// The rows have as many dimensions as the queries, and `bounds` has a place for each pair.
    pub fn lower_bounds(&self, rows: &Rows<'_>, bounds: &mut [f32]) {
        let count = rows.count();
        let of_values = self.metric == Metric::L1Distance || self.len() <= FEW;
        // what rounding adds to a sum of differences grows with the numbers, not with the sum
        if count == 0 || self.metric == Metric::L1Distance && rows.rounded {
            bounds.fill(f32::NEG_INFINITY);
            return;
        }
        if of_values && !rows.rounded {
            return self.values(rows, bounds);
        }
        products(&self.items, rows.items, self.dimensions, bounds);
        #[expect(clippy::cast_possible_truncation, reason = "the slack covers it")]
        let error = (error_bound(self.dimensions) + SLACK) as f32;
        for (products, &norm) in bounds.chunks_exact_mut(count).zip(&self.norms) {
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || bound(self.metric, products, rows.norms(), norm, error),
            );
        }
    }

    /// The values, rounded down.
    fn values(&self, rows: &Rows<'_>, bounds: &mut [f32]) {
        let count = rows.count();
        let mut values = vec![None; count];
        let mut query = Query::new::<f32>(self.metric, &[]);
        for (number, bounds) in bounds.chunks_exact_mut(count).enumerate() {
            self.get(number, &mut query);
            query.values(rows.items, &mut values);
            let sign = if self.metric.larger_is_nearer() { -1.0 } else { 1.0 };
            for (bound, value) in bounds.iter_mut().zip(&values) {
                #[expect(clippy::cast_possible_truncation, reason = "rounded down")]
                let value = value.map_or(f32::NAN, |value| ((sign * value) as f32).next_down());
                // the larger of a number and NaN is the number
                *bound = value.max(f32::NEG_INFINITY);
            }
        }
    }
}

/// Turns the products of one query with rows into bounds, from their lengths.
#[inline(always)]
fn bound(metric: Metric, products: &mut [f32], norms: &[f32], norm: f32, error: f32) {
    let each = products.iter_mut().zip(norms);
    // the larger of a number and NaN is the number
    match metric {
        Metric::CosineDistance => {
            for (product, &of_row) in each {
                *product = ((1.0 - error) - *product / (norm * of_row)).max(f32::NEG_INFINITY);
            }
        }
        Metric::CosineSimilarity => {
            for (product, &of_row) in each {
                *product = (-error - *product / (norm * of_row)).max(f32::NEG_INFINITY);
            }
        }
        Metric::InnerProduct => {
            for (product, &of_row) in each {
                *product = (-*product - error * norm * of_row).max(f32::NEG_INFINITY);
            }
        }
        Metric::L2Distance | Metric::L1Distance => {
            for (product, &of_row) in each {
                let squares = norm * norm + of_row * of_row;
                // 2 |a| |b| <= |a|² + |b|²
                let square = squares - 2.0 * *product - error * squares;
                // a comparison that NaN fails
                *product = if square >= 0.0 {
                    square.sqrt() * (1.0 - 4.0 * f32::EPSILON)
                } else if square < 0.0 {
                    0.0
                } else {
                    f32::NEG_INFINITY
                };
            }
        }
    }
}

/// The length of each vector; NaN where it is not in [`LENGTHS`].
fn lengths(vectors: &[f32], dimensions: usize, norms: &mut [f32]) {
    for_each_row::<Squares, f32>(vectors, &vec![0.0; dimensions], norms.len(), |index, [square, _]| {
        let length = square.sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "the slack covers it")]
        let inside = if LENGTHS.contains(&length) { length as f32 } else { f32::NAN };
        norms[index] = inside;
    });
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::super::tests::{METRICS, numbers};
    use super::*;

    /// What a bound may be below the value, from the lengths of the vectors.
    fn tolerance(metric: Metric, a: f64, b: f64, value: f64, dimensions: usize) -> f64 {
        let error = 2.0 * 6e-8 * f64::from(u32::try_from(dimensions).unwrap() + 32);
        match metric {
            Metric::CosineDistance | Metric::CosineSimilarity => error,
            Metric::InnerProduct => error * a * b,
            // of the distance, from that of its square
            Metric::L2Distance => {
                value - (value * value - error * (a * a + b * b)).max(0.0).sqrt() + 1e-6 * value
            }
            Metric::L1Distance => value * 2e-7,
        }
    }

    #[test]
    fn bounds_are_below_and_near() {
        for (dimensions, scale) in (1..=2000).step_by(37).zip([1.0, 1e-6, 1e9].into_iter().cycle()) {
            for (queries, rows) in [(1, 1), (3, 7), (9, 5)] {
                let vectors = |seed, count| {
                    numbers(seed).map(|item| item * scale).take(count * dimensions).collect::<Vec<f32>>()
                };
                let (queries, mut rows) = (vectors(7, queries), vectors(8, rows));
                // a row that is a query: where cancellation is worst
                rows[..dimensions].copy_from_slice(&queries[..dimensions]);
                for metric in METRICS {
                    check(metric, &queries, &rows, dimensions);
                }
            }
        }
    }

    fn check(metric: Metric, queries: &[f32], rows: &[f32], dimensions: usize) {
        let count = rows.len() / dimensions;
        let prepared = Queries::new(metric, queries, dimensions);
        let mut bounds = vec![f32::NAN; prepared.len() * count];
        prepared.lower_bounds(&Rows::new(rows, dimensions, false), &mut bounds);
        for (query, bounds) in queries.chunks(dimensions).zip(bounds.chunks(count)) {
            let exact = Query::new(metric, query);
            for (row, &bound) in rows.chunks(dimensions).zip(bounds) {
                let value = exact.value(row).unwrap();
                let value = if metric.larger_is_nearer() { -value } else { value };
                let gap = value - f64::from(bound);
                let norms = (super::super::norm(row), super::super::norm(query));
                let tolerance = tolerance(metric, norms.0, norms.1, value, dimensions);
                assert!(
                    gap >= 0.0 && gap <= tolerance + f64::from(f32::MIN_POSITIVE),
                    "{metric:?} of {dimensions}: {value}, bound {bound}"
                );
            }
        }
    }

    /// Numbers that f32 does not hold, where the difference decides.
    #[test]
    fn bounds_of_queries_of_f64() {
        let rows = [1.0_f32, 0.000_976_55, 1.0 + 1.0 / 1024.0, 0.0];
        let query = [1.000_000_03_f64, 0.0];
        for metric in METRICS {
            for count in [1, 5] {
                let queries = Queries::new(metric, &query.repeat(count), 2);
                let mut bounds = vec![f32::NAN; 2 * count];
                queries.lower_bounds(&Rows::new(&rows, 2, false), &mut bounds);
                for (row, bound) in rows.chunks(2).cycle().zip(bounds) {
                    let value = Query::new(metric, &query).value(row).unwrap();
                    let value = if metric.larger_is_nearer() { -value } else { value };
                    assert!(f64::from(bound) <= value, "{metric:?} of {count}: {value}, bound {bound}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_said_about_what_f32_cannot_hold() {
        let rows =
            [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0], [1e30, 1e30], [1e-30, 1e-30], [1.0, 2.0]];
        for metric in METRICS {
            let mut bounds = [0.0; 6];
            let rows_of_two = Rows::new(rows.as_flattened(), 2, false);
            Queries::new(metric, &[3.0_f32, -1.0], 2).lower_bounds(&rows_of_two, &mut bounds);
            let exact = Query::new(metric, &[3.0_f32, -1.0]);
            for (row, bound) in rows.iter().zip(bounds) {
                let value = exact.value(row).unwrap_or(f64::NAN);
                let value = if metric.larger_is_nearer() { -value } else { value };
                assert!(
                    bound == f32::NEG_INFINITY || f64::from(bound) <= value,
                    "{metric:?} {row:?}: {bound}"
                );
            }
            assert!(bounds[5].is_finite());
        }
        // of a query, too
        let mut bounds = [0.0];
        Queries::new(Metric::CosineDistance, &[0.0_f32, 0.0], 2)
            .lower_bounds(&Rows::new(&[1.0, 1.0], 2, false), &mut bounds);
        assert_eq!(bounds, [f32::NEG_INFINITY]);
    }

    #[test]
    fn no_dimensions_no_queries_no_rows() {
        let mut bounds = [0.0];
        Queries::new::<f32>(Metric::L2Distance, &[], 0).lower_bounds(&Rows::new(&[], 0, false), &mut bounds);
        assert_eq!(bounds, [f32::NEG_INFINITY]);
        Queries::new::<f32>(Metric::L2Distance, &[], 3)
            .lower_bounds(&Rows::new(&[1.0, 2.0, 3.0], 3, false), &mut []);
        Queries::new(Metric::L2Distance, &[1.0_f32, 2.0, 3.0], 3)
            .lower_bounds(&Rows::new(&[], 3, false), &mut []);
        assert!(Queries::new::<f32>(Metric::L2Distance, &[], 3).is_empty());
    }
}
