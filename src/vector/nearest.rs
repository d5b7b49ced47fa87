//! Which rows may be among the nearest of many vectors.
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Metric, Queries, Query};

/// Queries that are compared with rows at the same time: their bounds and a block of rows fit into the cache.
const BLOCK_QUERIES: usize = 128;
/// Rows that are compared at the same time.
const BLOCK_ROWS: usize = 256;
/// Bounds that are looked at together: none of them is near enough, as a rule.
const LANES: usize = 16;

/// Vectors whose nearest rows are wanted.
#[derive(Debug)]
pub struct Wanted {
    metric: Metric,
    dimensions: usize,
    /// NULL vectors have no distance.
    valid: Vec<bool>,
    blocks: Vec<Queries>,
    exact: Vec<Query>,
    undefined_is_nearest: bool,
}

impl Wanted {
    /// `vectors` lie one behind the other and have `dimensions` numbers each; those that are not `valid` are NULL.
    /// A distance that is undefined, because of a NULL or of a zero vector, counts as nearer than all others, or as
    /// farther.
    #[must_use]
    pub fn new(
        metric: Metric,
        vectors: &[f32],
        dimensions: usize,
        valid: Vec<bool>,
        undefined_is_nearest: bool,
    ) -> Self {
        let blocks = vectors.chunks((dimensions * BLOCK_QUERIES).max(1));
        let exact = vectors.chunks(dimensions.max(1)).map(|vector| Query::new(metric, vector));
        Self {
            metric,
            dimensions,
            valid,
            blocks: blocks.map(|block| Queries::new(metric, block, dimensions)).collect(),
            exact: exact.collect(),
            undefined_is_nearest,
        }
    }

    /// The bytes that one vector takes here.
    #[must_use]
    pub fn bytes_per_vector(dimensions: usize) -> usize {
        dimensions * (size_of::<f32>() + size_of::<f64>()) + size_of::<Query>()
    }

    /// What orders the rows of a query: smaller is nearer.
    fn key(&self, value: Option<f64>) -> f64 {
        match value {
            None if self.undefined_is_nearest => f64::NEG_INFINITY,
            None => f64::INFINITY,
            // a number that is not one is the largest of all
            Some(value) if value.is_nan() && self.metric.larger_is_nearer() => f64::NEG_INFINITY,
            Some(value) if value.is_nan() => f64::INFINITY,
            Some(value) if self.metric.larger_is_nearer() => -value,
            Some(value) => value,
        }
    }
}

/// Finds, in rows that come block by block, those that may be among the `k` nearest of each vector: all of these, with
/// all that are as near as the last of them, and some that a later row has displaced.
///
/// Time: a matrix product, and the exact distance for the few pairs which its error bound leaves open. Memory: `k`
/// numbers for each vector.
#[derive(Debug)]
pub struct Nearest {
    wanted: Arc<Wanted>,
    k: usize,
    /// The keys of the nearest rows so far, the farthest on top.
    kept: Vec<BinaryHeap<Key>>,
    bounds: Vec<f32>,
}

/// A number in the order of all numbers; never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Key(f64);

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Nearest {
    /// The `k` nearest are wanted of each of the vectors.
    #[must_use]
    pub fn new(wanted: Arc<Wanted>, k: usize) -> Self {
        let kept = vec![BinaryHeap::new(); wanted.exact.len()];
        Self { wanted, k, kept, bounds: Vec::new() }
    }

    /// How many rows [`Self::push`] takes at most.
    #[must_use]
    pub fn block_rows() -> usize {
        BLOCK_ROWS
    }

    /// Calls `found` with the number of the vector and the row for each pair that may be among the nearest, vector by
    /// vector, in the order of the rows.
    ///
    /// `rows` lie one behind the other; those of which `is_valid` says no are NULL.
    pub fn push(
        &mut self,
        rows: &[f32],
        count: usize,
        is_valid: impl Fn(usize) -> bool,
        mut found: impl FnMut(usize, usize),
    ) {
        let wanted = Arc::clone(&self.wanted);
        let mut first = 0;
        for block in &wanted.blocks {
            self.bounds.resize(block.len() * count, 0.0);
            let mut bounds = std::mem::take(&mut self.bounds);
            block.lower_bounds(rows, &mut bounds);
            for (at, bounds) in bounds.chunks_exact(count.max(1)).enumerate() {
                self.push_bounds(&wanted, first + at, rows, bounds, &is_valid, &mut found);
            }
            self.bounds = bounds;
            first += block.len();
        }
    }

    fn push_bounds(
        &mut self,
        wanted: &Wanted,
        vector: usize,
        rows: &[f32],
        bounds: &[f32],
        is_valid: &impl Fn(usize) -> bool,
        found: &mut impl FnMut(usize, usize),
    ) {
        let (kept, dimensions) = (&mut self.kept[vector], wanted.dimensions);
        for (part, bounds) in bounds.chunks(LANES).enumerate() {
            // a NULL has whatever numbers below it, so its bound says nothing
            let all_valid = wanted.valid[vector] && (0..bounds.len()).all(|at| is_valid(part * LANES + at));
            let nearest = bounds.iter().copied().fold(f32::INFINITY, f32::min);
            if all_valid && f64::from(nearest) > farthest(kept, self.k) {
                continue;
            }
            for (at, &bound) in bounds.iter().enumerate() {
                let row = part * LANES + at;
                let valid = wanted.valid[vector] && is_valid(row);
                if valid && f64::from(bound) > farthest(kept, self.k) {
                    continue;
                }
                let value =
                    valid.then(|| wanted.exact[vector].value(&rows[row * dimensions..][..dimensions]));
                let key = wanted.key(value.flatten());
                if key > farthest(kept, self.k) {
                    continue;
                }
                found(vector, row);
                kept.push(Key(key));
                if kept.len() > self.k {
                    kept.pop();
                }
            }
        }
    }
}

/// The key beyond which a row cannot be among the nearest any more.
fn farthest(kept: &BinaryHeap<Key>, k: usize) -> f64 {
    if kept.len() < k { f64::INFINITY } else { kept.peek().map_or(f64::NEG_INFINITY, |key| key.0) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{METRICS, numbers};
    use super::*;

    /// The rows that are found for each query, of blocks of `block` rows.
    fn found(wanted: &Arc<Wanted>, k: usize, rows: &[f32], valid: &[bool], block: usize) -> Vec<Vec<usize>> {
        let mut nearest = Nearest::new(Arc::clone(wanted), k);
        let mut all = vec![vec![]; wanted.exact.len()];
        let dimensions = wanted.dimensions;
        for start in (0..valid.len()).step_by(block) {
            let count = block.min(valid.len() - start);
            let items = &rows[start * dimensions..][..count * dimensions];
            nearest.push(items, count, |row| valid[start + row], |query, row| all[query].push(start + row));
        }
        all
    }

    /// Every row that is as near as the k-th nearest of all is found, and not all rows are.
    #[test]
    fn what_is_near_is_found() {
        let (dimensions, count, queries) = (7, 1000, 130);
        let mut rows: Vec<f32> = numbers(3).take(count * dimensions).collect();
        // equal rows, a zero, and what is not finite
        rows.copy_within(0..70, 700);
        rows[140..147].fill(0.0);
        rows[147] = f32::NAN;
        rows[154] = f32::INFINITY;
        let vectors: Vec<f32> = numbers(4).take(queries * dimensions).collect();
        let valid: Vec<bool> = (0..count).map(|row| row % 50 != 3).collect();
        for metric in METRICS {
            for undefined_is_nearest in [false, true] {
                let of_queries = (0..queries).map(|query| query != 5).collect();
                let wanted =
                    Arc::new(Wanted::new(metric, &vectors, dimensions, of_queries, undefined_is_nearest));
                for k in [1, 10] {
                    let all = found(&wanted, k, &rows, &valid, 64);
                    for (query, found) in all.iter().enumerate() {
                        let keys: Vec<f64> = (0..count)
                            .map(|row| {
                                let valid = valid[row] && query != 5;
                                let row = &rows[row * dimensions..][..dimensions];
                                let exact = Query::new(metric, &vectors[query * dimensions..][..dimensions]);
                                wanted.key(valid.then(|| exact.value(row)).flatten())
                            })
                            .collect();
                        let mut sorted = keys.clone();
                        sorted.sort_by(f64::total_cmp);
                        let near = (0..count).filter(|row| keys[*row] <= sorted[k - 1]);
                        for row in near {
                            assert!(found.contains(&row), "{metric:?} k={k} query {query} row {row}");
                        }
                        assert!(found.is_sorted());
                        assert!(query == 5 || found.len() < count / 2, "{metric:?}: {}", found.len());
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_wanted_of_nothing() {
        let wanted = Arc::new(Wanted::new(Metric::L2Distance, &[], 3, vec![], false));
        assert!(found(&wanted, 3, &[1.0, 2.0, 3.0], &[true], 1).is_empty());
        let wanted = Arc::new(Wanted::new(Metric::L2Distance, &[1.0, 2.0, 3.0], 3, vec![true], false));
        assert_eq!(found(&wanted, 0, &[1.0, 2.0, 3.0], &[true], 1), [Vec::<usize>::new()]);
    }
}
