//! Reading a column of vectors in whichever of Arrow's layouts it comes.
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float64Array, LargeListArray, ListArray, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, internal_err, plan_err};

use crate::vector::{Item, Query};

/// The type of a list's items; `None` if it is no list of numbers.
pub(super) fn item_type(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type()).filter(|item| item.is_numeric() || item.is_null())
        }
        _ => None,
    }
}

/// An error of planning unless the field is a list of numbers, or NULL.
pub(super) fn check_numbers(function: &str, vector: &Field) -> Result<()> {
    let data_type = vector.data_type();
    if data_type.is_null() || item_type(data_type).is_some() {
        return Ok(());
    }
    plan_err!("{function} does not support type {data_type}: it takes lists of numbers")
}

/// A list of the same kind and length whose items are floats: of the same width, else 64 bits wide; for NULL
/// a list of Float64.
pub(super) fn float_list(list: &DataType) -> DataType {
    let float = |item: &Field| {
        let data_type = if item.data_type().is_floating() { item.data_type() } else { &DataType::Float64 };
        Arc::new(Field::new(item.name(), data_type.clone(), true))
    };
    match list {
        DataType::List(item) => DataType::List(float(item)),
        DataType::LargeList(item) => DataType::LargeList(float(item)),
        DataType::FixedSizeList(item, dimensions) => DataType::FixedSizeList(float(item), *dimensions),
        _ => DataType::new_list(DataType::Float64, true),
    }
}

/// Vectors as an array of `data_type`, which [`float_list`] gave.
pub(super) fn lists_of(data_type: &DataType, vectors: &[Option<Vec<f64>>]) -> Result<ArrayRef> {
    let nulls = Some(vectors.iter().map(Option::is_some).collect::<NullBuffer>())
        .filter(|nulls| nulls.null_count() > 0);
    let lengths = vectors.iter().map(|vector| vector.as_ref().map_or(0, Vec::len));
    let items = |of_null: usize| -> Float64Array {
        let of_null = vec![0.0; of_null];
        vectors.iter().flat_map(|vector| vector.as_ref().unwrap_or(&of_null)).copied().collect()
    };
    Ok(match data_type {
        DataType::List(item) => {
            let items = cast(&items(0), item.data_type())?;
            Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), items, nulls)?)
        }
        DataType::LargeList(item) => {
            let items = cast(&items(0), item.data_type())?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(LargeListArray::try_new(Arc::clone(item), offsets, items, nulls)?)
        }
        DataType::FixedSizeList(item, dimensions) => {
            let items = cast(&items(usize::try_from(*dimensions).unwrap_or(0)), item.data_type())?;
            let (item, length) = (Arc::clone(item), vectors.len());
            Arc::new(FixedSizeListArray::try_new_with_length(item, *dimensions, items, nulls, length)?)
        }
        _ => new_null_array(data_type, vectors.len()),
    })
}

/// A column of vectors, its items read in place where they are floats, or integers of 8 bits.
pub(super) struct Vectors {
    lists: ArrayRef,
    items: ArrayRef,
    /// What to take from an offset of the lists to get the place of an item
    first: usize,
}

/// Runs `$body` with `$numbers` as the slice of the items of `$vectors`.
macro_rules! with_numbers {
    ($vectors:expr, $numbers:ident => $body:expr) => {{
        use datafusion::arrow::array::AsArray;
        use datafusion::arrow::datatypes::{
            DataType, Float16Type, Float32Type, Float64Type, Int8Type, UInt8Type,
        };
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
pub(super) use with_numbers;

impl Vectors {
    pub(super) fn new(lists: &ArrayRef) -> Result<Self> {
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
            other => return internal_err!("expected a list, found {other}"),
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
    pub(super) fn items(&self) -> &ArrayRef {
        &self.items
    }

    /// The length of every vector, where it is one; row `i` is then at `i * dimensions`.
    pub(super) fn dimensions(&self) -> Option<usize> {
        match self.lists.data_type() {
            DataType::FixedSizeList(_, dimensions) => usize::try_from(*dimensions).ok(),
            _ => None,
        }
    }

    /// Where the items of a row are; `None` if it is NULL, or if one of its items is.
    pub(super) fn range(&self, row: usize) -> Option<Range<usize>> {
        if self.lists.data_type().is_null() || self.lists.is_null(row) {
            return None;
        }
        let range = match self.lists.data_type() {
            DataType::List(_) => {
                let offsets = self.lists.as_list::<i32>().offsets();
                place(offsets[row]) - self.first..place(offsets[row + 1]) - self.first
            }
            DataType::LargeList(_) => {
                let offsets = self.lists.as_list::<i64>().offsets();
                place(offsets[row]) - self.first..place(offsets[row + 1]) - self.first
            }
            _ => {
                let dimensions = self.dimensions()?;
                row * dimensions..(row + 1) * dimensions
            }
        };
        let has_null =
            self.items.nulls().is_some_and(|nulls| nulls.slice(range.start, range.len()).null_count() > 0);
        (!has_null).then_some(range)
    }

    /// Makes the vector at `range` the one that `query` compares with others.
    pub(super) fn set_query(&self, query: &mut Query, range: Range<usize>) {
        with_numbers!(self, numbers => query.set(&numbers[range]));
    }

    /// The items at `range`, as f64.
    pub(super) fn widened(&self, range: Range<usize>, into: &mut Vec<f64>) {
        into.resize(range.len(), 0.0);
        with_numbers!(self, numbers => Item::widen(&numbers[range], into));
    }
}

/// An offset of a list as an index: Arrow promises that it is not negative.
fn place(offset: impl TryInto<usize>) -> usize {
    offset.try_into().unwrap_or(0)
}
