//! Cutting a stream of batches into slices.
use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::Result;

use super::size::size;

/// How large a slice may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) rows: usize,
    /// Of the input and of what is made of it. A slice has one row at least, whatever its bytes.
    pub(super) bytes: usize,
    /// What a row takes beside its input, as far as that is known.
    pub(super) bytes_made: usize,
}

/// Rows that wait to be cut into slices.
#[derive(Debug, Default)]
pub(super) struct Slices {
    batches: VecDeque<Waiting>,
    rows: usize,
}

#[derive(Debug)]
struct Waiting {
    batch: RecordBatch,
    bytes_per_row: usize,
}

impl Slices {
    pub(super) fn push(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.rows += batch.num_rows();
            let bytes_per_row = size(batch.columns()) / batch.num_rows();
            self.batches.push_back(Waiting { batch, bytes_per_row });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether there are as many rows as a slice may have.
    pub(super) fn is_full(&self, limits: Limits) -> bool {
        let (rows, limited) = self.next_rows(limits);
        limited || rows >= limits.rows.max(1)
    }

    /// How many rows the next slice has, and whether there are no more of them because of their bytes.
    fn next_rows(&self, limits: Limits) -> (usize, bool) {
        let (mut rows, mut bytes) = (0, 0);
        for waiting in &self.batches {
            let per_row = waiting.bytes_per_row + limits.bytes_made;
            let fitting = (limits.bytes.saturating_sub(bytes)).checked_div(per_row).unwrap_or(usize::MAX);
            let wanted = waiting.batch.num_rows().min(limits.rows.max(1) - rows);
            if fitting < wanted {
                return ((rows + fitting).max(1), true);
            }
            rows += wanted;
            bytes += wanted * per_row;
            if rows >= limits.rows {
                break;
            }
        }
        (rows, false)
    }

    /// Puts a slice back in front of the others.
    pub(super) fn put_back(&mut self, slice: RecordBatch) {
        self.push(slice);
        self.batches.rotate_right(1);
    }

    /// The next slice; none if no row waits. Rows of one batch are not copied.
    pub(super) fn take(&mut self, limits: Limits) -> Result<Option<RecordBatch>> {
        let (mut missing, _) = self.next_rows(limits);
        let mut parts = vec![];
        while missing > 0
            && let Some(waiting) = self.batches.pop_front()
        {
            let rows = waiting.batch.num_rows().min(missing);
            parts.push(waiting.batch.slice(0, rows));
            missing -= rows;
            self.rows -= rows;
            if rows < waiting.batch.num_rows() {
                let batch = waiting.batch.slice(rows, waiting.batch.num_rows() - rows);
                self.batches.push_front(Waiting { batch, ..waiting });
            }
        }
        match parts.as_slice() {
            [] => Ok(None),
            [part] => Ok(Some(part.clone())),
            [first, ..] => Ok(Some(concat_batches(first.schema_ref(), &parts)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
        let column = Arc::new(Int64Array::from_iter_values(range)) as ArrayRef;
        RecordBatch::try_from_iter([("x", column)]).unwrap()
    }

    fn limits(rows: usize, bytes: usize) -> Limits {
        Limits { rows, bytes, bytes_made: 0 }
    }

    /// All slices, as the numbers in them.
    fn cut(slices: &mut Slices, limits: Limits) -> Vec<Vec<i64>> {
        std::iter::from_fn(|| slices.take(limits).unwrap())
            .map(|slice| slice.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect()
    }

    #[test]
    fn small_batches_are_joined_and_large_ones_cut() {
        let mut slices = Slices::default();
        for range in [0..1, 1..1, 1..3, 3..10] {
            slices.push(numbers(range));
        }
        let found = cut(&mut slices, limits(4, usize::MAX));
        assert_eq!(found, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
        assert!(slices.is_empty());
    }

    #[test]
    fn bytes_limit_a_slice_too_but_one_row_always_fits() {
        let mut slices = Slices::default();
        slices.push(numbers(0..5));
        assert_eq!(cut(&mut slices, limits(100, 16)), [vec![0, 1], vec![2, 3], vec![4]]);
        slices.push(numbers(0..2));
        assert_eq!(cut(&mut slices, limits(100, 3)), [[0], [1]]);
        slices.push(numbers(0..4));
        let made = Limits { bytes_made: 24, ..limits(100, 64) };
        assert_eq!(cut(&mut slices, made), [[0, 1], [2, 3]]);
    }

    #[test]
    fn full_by_rows_or_by_bytes() {
        let mut slices = Slices::default();
        assert!(!slices.is_full(limits(1, 1)));
        slices.push(numbers(0..3));
        assert!(!slices.is_full(limits(4, 1000)));
        assert!(slices.is_full(limits(3, 1000)));
        assert!(slices.is_full(limits(4, 16)));
    }
}
