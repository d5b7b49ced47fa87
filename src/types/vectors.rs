//! Reading a column of vectors in whichever of Arrow's layouts it comes.
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::vector::{Item, Query, Slot};

/// A column of vectors, its items read in place where they are floats, or integers of 8 bits.
#[derive(Debug)]
pub(crate) struct Vectors {
    lists: ArrayRef,
    items: ArrayRef,
    /// What to take from an offset of the lists to get the place of an item
    first: usize,
}

/// Runs `$body` with `$numbers` as the slice of the items of `$vectors`.
macro_rules! with_numbers {
    ($vectors:expr, $numbers:ident => $body:expr) => {{
        use arrow::array::AsArray;
        use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, Int8Type, UInt8Type};
        let items = $vectors.items();
        macro_rules! of_type {
            ($type:ty) => {{
                let $numbers = items.as_primitive::<$type>().values().as_ref();
                $body
            }};
        }
        match items.data_type() {
            DataType::Float16 => of_type!(Float16Type),
            DataType::Float32 => of_type!(Float32Type),
            DataType::Int8 => of_type!(Int8Type),
            DataType::UInt8 => of_type!(UInt8Type),
            _ => of_type!(Float64Type),
        }
    }};
}
pub(crate) use with_numbers;

/// Runs `$body` with `$numbers` as the slice of the items of `$rows`, each of `$dimensions` items, one behind the other.
macro_rules! with_dense_numbers {
    ($vectors:expr, $rows:expr, $dimensions:expr, $numbers:ident => $body:expr) => {
        match $vectors.dense($rows, $dimensions) {
            Some(place) => crate::types::vectors::with_numbers!($vectors, numbers => {
                let $numbers = &numbers[place];
                $body
            }),
            None => {
                let gathered = $vectors.gathered($rows, $dimensions);
                let $numbers = gathered.as_slice();
                $body
            }
        }
    };
}
pub(crate) use with_dense_numbers;

impl Vectors {
    /// An error if these are no lists of numbers, nor NULLs.
    pub(crate) fn new(lists: &ArrayRef) -> Result<Self, ArrowError> {
        let mut first = 0;
        let mut used = |values: &ArrayRef, start: usize, end: usize| {
            first = start;
            values.slice(start, end - start)
        };
        // of the items of a variable list only those that its slice uses
        let items = match lists.data_type() {
            DataType::List(_) => {
                let lists = lists.as_list::<i32>();
                used(lists.values(), place(lists.offsets()[0]), place(lists.offsets()[lists.len()]))
            }
            DataType::LargeList(_) => {
                let lists = lists.as_list::<i64>();
                used(lists.values(), place(lists.offsets()[0]), place(lists.offsets()[lists.len()]))
            }
            DataType::FixedSizeList(..) => Arc::clone(lists.as_fixed_size_list().values()),
            DataType::Null => Arc::new(Float64Array::from(Vec::<f64>::new())),
            other => {
                return Err(ArrowError::InvalidArgumentError(format!("expected a list, found {other}")));
            }
        };
        let items = match items.data_type() {
            DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Int8 | DataType::UInt8 => {
                items
            }
            _ => cast(&items, &DataType::Float64)?,
        };
        Ok(Self { lists: Arc::clone(lists), items, first })
    }

    /// The items of all rows: of type float, int8 or uint8. See [`with_numbers`].
    pub(crate) fn items(&self) -> &ArrayRef {
        &self.items
    }

    /// The length of every vector, where it is one; row `i` is then at `i * dimensions`.
    pub(crate) fn dimensions(&self) -> Option<usize> {
        Self::dimensions_of(self.lists.data_type())
    }

    /// The length of every vector of that type, where it is one.
    pub(crate) fn dimensions_of(lists: &DataType) -> Option<usize> {
        match lists {
            DataType::FixedSizeList(_, dimensions) => usize::try_from(*dimensions).ok(),
            _ => None,
        }
    }

    /// Where the items of a row are; `None` if it is NULL, or if one of its items is.
    pub(crate) fn range(&self, row: usize) -> Option<Range<usize>> {
        if self.lists.data_type().is_null() || self.lists.is_null(row) {
            return None;
        }
        let range = self.place_of(row);
        let has_null =
            self.items.nulls().is_some_and(|nulls| nulls.slice(range.start, range.len()).null_count() > 0);
        (!has_null).then_some(range)
    }

    /// Where the items of a row are, whatever they are.
    fn place_of(&self, row: usize) -> Range<usize> {
        match self.lists.data_type() {
            DataType::List(_) => {
                let offsets = self.lists.as_list::<i32>().offsets();
                place(offsets[row]) - self.first..place(offsets[row + 1]) - self.first
            }
            DataType::LargeList(_) => {
                let offsets = self.lists.as_list::<i64>().offsets();
                place(offsets[row]) - self.first..place(offsets[row + 1]) - self.first
            }
            _ => {
                let dimensions = self.dimensions().unwrap_or(0);
                row * dimensions..(row + 1) * dimensions
            }
        }
    }

    /// What is at each of these rows, where vectors have so many dimensions.
    pub(crate) fn slots(&self, rows: Range<usize>, dimensions: usize) -> Vec<Slot> {
        let nulls = self.lists.logical_null_count() + self.items.null_count();
        if nulls == 0 && self.dimensions() == Some(dimensions) {
            return vec![Slot::Vector; rows.len()];
        }
        let slot = |row| match self.range(row) {
            None => Slot::Null,
            Some(range) if range.len() == dimensions => Slot::Vector,
            Some(_) => Slot::OtherLength,
        };
        rows.map(slot).collect()
    }

    /// Where the items of these rows are, if each has `dimensions` of them and they lie one behind the other.
    pub(crate) fn dense(&self, rows: Range<usize>, dimensions: usize) -> Option<Range<usize>> {
        if self.dimensions() == Some(dimensions) {
            return Some(rows.start * dimensions..rows.end * dimensions);
        }
        if self.dimensions().is_some() || self.lists.data_type().is_null() || rows.is_empty() {
            return None;
        }
        let first = self.place_of(rows.start).start;
        let is_next = |(at, row)| {
            let place = self.place_of(row);
            place.start == first + at * dimensions && place.len() == dimensions
        };
        let dense = rows.clone().enumerate().all(is_next);
        dense.then(|| first..first + rows.len() * dimensions)
    }

    /// The items of these rows, one row behind the other; zeros for a row that is no vector of so many dimensions.
    pub(crate) fn gathered(&self, rows: Range<usize>, dimensions: usize) -> Vec<f64> {
        let mut items = vec![0.0; rows.len() * dimensions];
        for (row, items) in rows.zip(items.chunks_exact_mut(dimensions.max(1))) {
            if let Some(range) = self.range(row).filter(|range| range.len() == dimensions) {
                with_numbers!(self, numbers => Item::widen(&numbers[range], items));
            }
        }
        items
    }

    /// Makes the vector at `range` the one that `query` compares with others.
    pub(crate) fn set_query(&self, query: &mut Query, range: Range<usize>) {
        with_numbers!(self, numbers => query.set(&numbers[range]));
    }

    /// The items at `range`, as f64.
    pub(crate) fn widened(&self, range: Range<usize>, into: &mut Vec<f64>) {
        into.resize(range.len(), 0.0);
        with_numbers!(self, numbers => Item::widen(&numbers[range], into));
    }
}

/// An offset of a list as an index: Arrow promises that it is not negative.
fn place(offset: impl TryInto<usize>) -> usize {
    offset.try_into().unwrap_or(0)
}
