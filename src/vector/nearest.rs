//! Which rows may be among the nearest of many vectors.
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Item, Metric, Queries, Query, Rows};

/// Queries that are compared with rows at the same time: their bounds and a block of rows fit into the cache.
const BLOCK_QUERIES: usize = 128;
/// Rows that are compared at the same time.
const BLOCK_ROWS: usize = 256;
/// Bounds that are looked at together: none of them is near enough, as a rule.
const LANES: usize = 16;

/// What is at the place of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A vector of the length of all others.
    Vector,
    /// NULL: its distances are undefined.
    Null,
    /// A vector of another length: it has no distance, and every pair with it is found.
    OtherLength,
}

/// Which pairs of a vector and a row are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keep {
    /// The nearest ones, so many; all if `None`.
    pub k: Option<usize>,
    /// So many of all pairs, and not of each vector's.
    pub of_all: bool,
    /// Only pairs whose value is not beyond this one.
    pub within: Option<f64>,
    /// Whether a distance that is undefined, because of a NULL or of a zero vector, counts as nearer than all others,
    /// or as farther.
    pub undefined_is_nearest: bool,
}

/// Vectors whose nearest rows are wanted.
#[derive(Debug)]
pub struct Wanted {
    metric: Metric,
    dimensions: usize,
    slots: Vec<Slot>,
    blocks: Vec<Queries>,
}

impl Wanted {
    /// `vectors` lie one behind the other and have `dimensions` numbers each, also those that are no vector.
    #[must_use]
    pub fn new<T: Item>(metric: Metric, vectors: &[T], dimensions: usize, slots: Vec<Slot>) -> Self {
        let blocks = vectors.chunks((dimensions * BLOCK_QUERIES).max(1));
        let blocks = blocks.map(|block| Queries::new(metric, block, dimensions)).collect();
        Self { metric, dimensions, slots, blocks }
    }

    /// The bytes that one vector takes here, at most.
    #[must_use]
    pub fn bytes_per_vector(dimensions: usize) -> usize {
        dimensions * (size_of::<f32>() + size_of::<f64>()) + size_of::<Slot>()
    }
}

/// A pair of a vector and a row that may be among the nearest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The number of the vector.
    pub vector: usize,
    /// The number of the row.
    pub row: usize,
    /// What orders the pairs of a vector: smaller is nearer.
    key: f64,
}

impl Pair {
    /// A pair of which nothing is known.
    #[must_use]
    pub fn new(vector: usize, row: usize) -> Self {
        Self { vector, row, key: f64::NEG_INFINITY }
    }
}

/// Finds, in rows that come block by block, those that may be among the nearest of each vector: all of these, with
/// all that are as near as the last of them, and some that a later row has displaced.
///
/// Time: a matrix product, and the exact distance for the few pairs which its error bound leaves open. Memory: `k`
/// numbers for each vector.
#[derive(Debug)]
pub struct Nearest {
    wanted: Arc<Wanted>,
    keep: Keep,
    /// The keys of the nearest rows so far, the farthest on top: of each vector, or one of all.
    kept: Vec<BinaryHeap<Key>>,
    /// The key of what is farthest and still wanted, where no heap says it.
    limit: f64,
    /// Memory that is used again.
    singles: Vec<f32>,
    bounds: Vec<f32>,
    candidates: Vec<Pair>,
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
    /// What `keep` says is wanted of each of the vectors.
    #[must_use]
    pub fn new(wanted: Arc<Wanted>, keep: Keep) -> Self {
        let heaps = if keep.of_all { 1 } else { wanted.slots.len() };
        let limit = match keep.within {
            Some(within) if wanted.metric.larger_is_nearer() => -within,
            Some(within) => within,
            None => f64::INFINITY,
        };
        Self {
            wanted,
            keep,
            kept: vec![BinaryHeap::new(); heaps],
            limit,
            singles: Vec::new(),
            bounds: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// How many rows [`Self::push`] takes at most.
    #[must_use]
    pub fn block_rows() -> usize {
        BLOCK_ROWS
    }

    /// How many vectors are compared with rows at the same time.
    #[must_use]
    pub fn block_vectors() -> usize {
        BLOCK_QUERIES
    }

    /// The bytes of what is kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let keys: usize = self.kept.iter().map(BinaryHeap::capacity).sum();
        keys * size_of::<Key>() + self.kept.len() * size_of::<BinaryHeap<Key>>()
    }

    /// Whether the pair is still among the nearest that were found.
    #[must_use]
    pub fn is_kept(&self, pair: &Pair) -> bool {
        pair.key <= self.farthest(pair.vector)
    }

    /// How many blocks of vectors [`Self::push`] is called with.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.wanted.blocks.len()
    }

    /// Adds to `found` each pair of a vector of a block and a row that may be among the nearest, vector by vector, in
    /// the order of the rows.
    ///
    /// `rows` lie one behind the other, also those that `slots` say are none. `pass` may drop pairs from those that are
    /// near enough: these are not wanted, however near they are. Its error ends the search.
    pub fn push<T: Item, E>(
        &mut self,
        block: usize,
        rows: &[T],
        slots: &[Slot],
        mut pass: impl FnMut(&mut Vec<Pair>) -> Result<(), E>,
        found: &mut Vec<Pair>,
    ) -> Result<(), E> {
        let wanted = Arc::clone(&self.wanted);
        let mut singles = std::mem::take(&mut self.singles);
        let single_rows = Rows::new(T::singles(rows, &mut singles), wanted.dimensions, !T::FITS_SINGLE);
        let (mut bounds, mut candidates) =
            (std::mem::take(&mut self.bounds), std::mem::take(&mut self.candidates));
        let (count, all_vectors) = (slots.len(), slots.iter().all(|slot| *slot == Slot::Vector));
        let (first, queries) = (block * BLOCK_QUERIES, &wanted.blocks[block]);
        bounds.resize(queries.len() * count, 0.0);
        queries.lower_bounds(&single_rows, &mut bounds);
        candidates.clear();
        for (at, bounds) in bounds.chunks_exact(count.max(1)).enumerate() {
            let slots = if all_vectors { &[] } else { slots };
            self.near_enough(first + at, bounds, slots, &mut candidates);
        }
        pass(&mut candidates)?;
        let mut query = Query::new::<f32>(wanted.metric, &[]);
        let mut current = None;
        for &pair in &candidates {
            let Pair { vector, row, key: bound } = pair;
            if bound > self.farthest(vector) {
                continue;
            }
            let key = match (wanted.slots[vector], slots[row]) {
                (Slot::Vector, Slot::Vector) => {
                    if current != Some(vector) {
                        queries.get(vector - first, &mut query);
                        current = Some(vector);
                    }
                    self.key(query.value(&rows[row * wanted.dimensions..][..wanted.dimensions]))
                }
                (Slot::Null, _) | (_, Slot::Null) => self.key(None),
                _ => {
                    found.push(Pair::new(vector, row));
                    continue;
                }
            };
            if key <= self.farthest(vector) {
                found.push(Pair { key, ..pair });
                self.insert(vector, key);
            }
        }
        (self.singles, self.bounds, self.candidates) = (singles, bounds, candidates);
        Ok(())
    }

    /// The rows of a block that are near enough to a vector as far as bounds tell; no `slots` if all are vectors.
    fn near_enough(&self, vector: usize, bounds: &[f32], slots: &[Slot], candidates: &mut Vec<Pair>) {
        let is_vector = self.wanted.slots[vector] == Slot::Vector;
        let farthest = self.farthest(vector);
        for (part, bounds) in bounds.chunks(LANES).enumerate() {
            let nearest = bounds.iter().copied().fold(f32::INFINITY, f32::min);
            if is_vector && slots.is_empty() && f64::from(nearest) > farthest {
                continue;
            }
            for (row, &bound) in (part * LANES..).zip(bounds) {
                // what is no vector has whatever numbers in its place, so its bound says nothing
                let known = is_vector && slots.get(row).is_none_or(|slot| *slot == Slot::Vector);
                let key = if known { f64::from(bound) } else { f64::NEG_INFINITY };
                if key <= farthest {
                    candidates.push(Pair { vector, row, key });
                }
            }
        }
    }

    /// What orders the rows of a query: smaller is nearer.
    fn key(&self, value: Option<f64>) -> f64 {
        let larger_is_nearer = self.wanted.metric.larger_is_nearer();
        match value {
            // a comparison with what is undefined does not hold
            None if self.keep.undefined_is_nearest && self.keep.within.is_none() => f64::NEG_INFINITY,
            None => f64::INFINITY,
            // a number that is not one is the largest of all
            Some(value) if value.is_nan() && larger_is_nearer => f64::NEG_INFINITY,
            Some(value) if value.is_nan() => f64::INFINITY,
            Some(value) if larger_is_nearer => -value,
            Some(value) => value,
        }
    }

    fn heap(&self, vector: usize) -> usize {
        if self.keep.of_all { 0 } else { vector }
    }

    /// The key beyond which a row cannot be among the nearest of a vector any more.
    fn farthest(&self, vector: usize) -> f64 {
        let Some(k) = self.keep.k else { return self.limit };
        let kept = &self.kept[self.heap(vector)];
        if kept.len() < k {
            return self.limit;
        }
        kept.peek().map_or(f64::NEG_INFINITY, |key| key.0.min(self.limit))
    }

    fn insert(&mut self, vector: usize, key: f64) {
        let Some(k) = self.keep.k else { return };
        let heap = self.heap(vector);
        self.kept[heap].push(Key(key));
        if self.kept[heap].len() > k {
            self.kept[heap].pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::tests::{METRICS, numbers};
    use super::*;

    const DIMENSIONS: usize = 7;
    const ROWS: usize = 300;
    const QUERIES: usize = 130;

    fn wanted<T: Item>(metric: Metric, vectors: &[T]) -> Arc<Wanted> {
        let slots = (0..vectors.len() / DIMENSIONS).map(|query| slot(query != 5)).collect();
        Arc::new(Wanted::new(metric, vectors, DIMENSIONS, slots))
    }

    fn slot(valid: bool) -> Slot {
        if valid { Slot::Vector } else { Slot::Null }
    }

    fn is_valid(row: usize) -> bool {
        row % 50 != 3
    }

    fn nearest_of(k: usize) -> Keep {
        Keep { k: Some(k), of_all: false, within: None, undefined_is_nearest: false }
    }

    /// Vectors and rows of f64: with equal rows, a zero, and what is not finite.
    fn example() -> (Vec<f64>, Vec<f64>) {
        let mut rows: Vec<f64> = numbers(3).take(ROWS * DIMENSIONS).map(f64::from).collect();
        rows.copy_within(0..70, 700);
        rows[140..147].fill(0.0);
        rows[147] = f64::NAN;
        rows[154] = f64::INFINITY;
        // what f32 does not hold
        rows[161] = 0.1;
        rows[168] = 1e300;
        (numbers(4).take(QUERIES * DIMENSIONS).map(f64::from).collect(), rows)
    }

    fn singles(items: &[f64]) -> Vec<f32> {
        #[expect(clippy::cast_possible_truncation, reason = "rounded")]
        items.iter().map(|&item| item as f32).collect()
    }

    /// The pairs that are found in blocks of `block` rows, of those that `pass` lets pass.
    fn found<T: Item>(
        wanted: &Arc<Wanted>,
        keep: Keep,
        rows: &[T],
        pass: impl Fn(&Pair) -> bool,
    ) -> (Nearest, Vec<Pair>) {
        let (mut nearest, mut all) = (Nearest::new(Arc::clone(wanted), keep), vec![]);
        let count = rows.len() / DIMENSIONS;
        for start in (0..count).step_by(64) {
            let end = count.min(start + 64);
            let mut found = vec![];
            for block in 0..nearest.blocks() {
                let Ok(()) = nearest.push(
                    block,
                    &rows[start * DIMENSIONS..end * DIMENSIONS],
                    &(start..end).map(|row| slot(is_valid(row))).collect::<Vec<_>>(),
                    |pairs| {
                        pairs.retain(|pair| pass(&Pair { row: start + pair.row, ..*pair }));
                        Ok::<(), Infallible>(())
                    },
                    &mut found,
                );
            }
            all.extend(found.into_iter().map(|pair| Pair { row: start + pair.row, ..pair }));
        }
        (nearest, all)
    }

    /// The keys of all pairs, computed one by one.
    fn keys<Q: Item, T: Item>(nearest: &Nearest, vectors: &[Q], rows: &[T]) -> Vec<Vec<f64>> {
        let metric = nearest.wanted.metric;
        let vectors = vectors.chunks(DIMENSIONS).enumerate().map(|(query, vector)| {
            let exact = Query::new(metric, vector);
            let rows = rows.chunks(DIMENSIONS).enumerate().map(|(row, items)| {
                let valid = is_valid(row) && query != 5;
                nearest.key(valid.then(|| exact.value(items)).flatten())
            });
            rows.collect()
        });
        vectors.collect()
    }

    fn check<Q: Item, T: Item>(metric: Metric, keep: Keep, vectors: &[Q], rows: &[T]) {
        let (nearest, all) = found(&wanted(metric, vectors), keep, rows, |_| true);
        let k = keep.k.unwrap();
        let keys = keys(&nearest, vectors, rows);
        for (query, keys) in keys.iter().enumerate() {
            let found: Vec<Pair> = all.iter().filter(|pair| pair.vector == query).copied().collect();
            let mut sorted = keys.clone();
            sorted.sort_by(f64::total_cmp);
            let near = (0..ROWS).filter(|row| keys[*row] <= sorted[k - 1]);
            for row in near {
                let pair = found.iter().find(|pair| pair.row == row);
                let pair = pair.unwrap_or_else(|| panic!("{metric:?} k={k} query {query} row {row}"));
                assert!(nearest.is_kept(pair), "{pair:?}");
            }
            assert!(found.is_sorted_by_key(|pair| pair.row));
            assert!(query == 5 || found.len() < ROWS * 3 / 4, "{metric:?}: {}", found.len());
            let kept = found.iter().filter(|pair| nearest.is_kept(pair)).count();
            assert!(query == 5 || kept <= k + ROWS / 10, "{metric:?}: {kept}");
        }
    }

    /// Every row that is as near as the k-th nearest of all is found, and not all rows are.
    #[test]
    fn what_is_near_is_found() {
        let (vectors, rows) = example();
        for metric in METRICS {
            for (k, undefined_is_nearest) in [(1, true), (10, false)] {
                let keep = Keep { undefined_is_nearest, ..nearest_of(k) };
                check(metric, keep, &singles(&vectors), &singles(&rows));
                check(metric, keep, &vectors[..DIMENSIONS * 20], &rows);
                check(metric, keep, &vectors[..DIMENSIONS], &singles(&rows));
                // two queries are compared in another way
                check(metric, keep, &singles(&vectors[..DIMENSIONS * 2]), &singles(&rows));
            }
        }
    }

    #[test]
    fn the_nearest_of_all_pairs() {
        let (vectors, rows) = example();
        for metric in METRICS {
            let keep = Keep { of_all: true, ..nearest_of(10) };
            let (nearest, all) = found(&wanted(metric, &vectors), keep, &rows, |_| true);
            let mut keys: Vec<f64> = keys(&nearest, &vectors, &rows).into_iter().flatten().collect();
            keys.sort_by(f64::total_cmp);
            let mut of_found: Vec<f64> = all.iter().map(|pair| pair.key).collect();
            of_found.sort_by(f64::total_cmp);
            assert_eq!(of_found[..10], keys[..10], "{metric:?}");
            assert!(all.len() < ROWS * QUERIES / 100, "{}", all.len());
        }
    }

    #[test]
    fn what_is_within() {
        let (vectors, rows) = example();
        for (metric, within) in
            [(Metric::L2Distance, 1.2), (Metric::CosineDistance, 0.3), (Metric::CosineSimilarity, 0.6)]
        {
            for k in [None, Some(3)] {
                // what is undefined is not within anything
                let keep = Keep { k, within: Some(within), undefined_is_nearest: true, of_all: false };
                let (nearest, all) = found(&wanted(metric, &vectors), keep, &rows, |_| true);
                let limit = nearest.limit;
                let mut expected = 0;
                for (query, keys) in keys(&nearest, &vectors, &rows).into_iter().enumerate() {
                    let mut sorted = keys.clone();
                    sorted.sort_by(f64::total_cmp);
                    let limit = k.map_or(limit, |k| sorted[k - 1].min(limit));
                    let near: Vec<usize> = (0..ROWS).filter(|row| keys[*row] <= limit).collect();
                    expected += near.len();
                    let found = |row| all.iter().any(|pair| pair.vector == query && pair.row == row);
                    assert!(near.into_iter().all(found), "{metric:?}");
                }
                assert!(k.is_some() || all.len() == expected, "{metric:?}: {expected}, {}", all.len());
                assert!(all.iter().all(|pair| pair.key <= limit));
            }
        }
    }

    /// Pairs that do not pass leave room for others.
    #[test]
    fn what_does_not_pass_is_not_counted() {
        let (vectors, rows) = example();
        let passes = |pair: &Pair| pair.row % 10 == pair.vector % 10;
        let (nearest, all) = found(&wanted(Metric::L2Distance, &vectors), nearest_of(4), &rows, passes);
        assert!(all.iter().all(passes));
        for (query, keys) in keys(&nearest, &vectors, &rows).into_iter().enumerate() {
            let mut keys: Vec<f64> = keys.into_iter().skip(query % 10).step_by(10).collect();
            keys.sort_by(f64::total_cmp);
            let mut found: Vec<f64> =
                all.iter().filter(|pair| pair.vector == query).map(|pair| pair.key).collect();
            found.sort_by(f64::total_cmp);
            assert_eq!(found[..4], keys[..4]);
        }
    }

    /// What has no distance is left to who asks for it.
    #[test]
    fn every_pair_with_a_vector_of_another_length_is_found() {
        let mut nearest = Nearest::new(
            Arc::new(Wanted::new(Metric::L2Distance, &[0.0_f32; 3], 1, vec![Slot::Vector; 3])),
            nearest_of(1),
        );
        let mut found = vec![];
        let slots = [Slot::Vector, Slot::Vector, Slot::OtherLength];
        let Ok(()) = nearest.push(0, &[0.0_f32, 9.0, 9.0], &slots, |_| Ok::<(), Infallible>(()), &mut found);
        let found: Vec<_> = found.into_iter().map(|pair| (pair.vector, pair.row)).collect();
        assert_eq!(found, [(0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2)]);
    }

    #[test]
    fn nothing_is_wanted_of_nothing() {
        let row = singles(&example().1[..DIMENSIONS]);
        let none = wanted::<f32>(Metric::L2Distance, &[]);
        assert!(found(&none, nearest_of(3), &row, |_| true).1.is_empty());
        assert!(found(&wanted(Metric::L2Distance, &row), nearest_of(0), &row, |_| true).1.is_empty());
    }
}
