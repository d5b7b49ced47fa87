//! The types of vectors, and columns of computed ones.
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, FixedSizeListArray, Float64Array, LargeListArray, ListArray, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, plan_err};

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
