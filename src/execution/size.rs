//! What the values of a column take.
use arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait};
use arrow::datatypes::{ArrowNativeType, DataType};

/// The bytes of the values of `columns`, not of the buffers which they share with other rows.
pub(crate) fn size(columns: &[ArrayRef]) -> usize {
    columns.iter().map(size_of_array).sum()
}

/// The bytes of the values of one column.
pub(super) fn size_of_array(array: &ArrayRef) -> usize {
    let own = match array.data_type() {
        // Arrow counts all items of a list whatever the slice, and none of the bytes behind views
        DataType::Utf8View => array.as_string_view().total_buffer_bytes_used() + 16 * array.len(),
        DataType::BinaryView => array.as_binary_view().total_buffer_bytes_used() + 16 * array.len(),
        DataType::List(_) => size_of_list(array.as_list::<i32>()),
        DataType::LargeList(_) => size_of_list(array.as_list::<i64>()),
        DataType::Map(..) => {
            let map = array.as_map();
            let (first, last) = (map.offsets()[0].as_usize(), map.offsets()[map.len()].as_usize());
            let entries: ArrayRef = std::sync::Arc::new(map.entries().slice(first, last - first));
            size_of_array(&entries) + size_of_val(&**map.offsets())
        }
        DataType::Struct(_) => size(array.as_struct().columns()),
        DataType::FixedSizeList(..) => size_of_array(array.as_fixed_size_list().values()),
        _ => {
            return array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size());
        }
    };
    own + array.nulls().map_or(0, |nulls| nulls.len().div_ceil(8))
}

fn size_of_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> usize {
    let offsets = list.offsets();
    let (first, end) = (offsets[0].as_usize(), offsets[list.len()].as_usize());
    size_of_array(&list.values().slice(first, end - first)) + size_of_val(&**offsets)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ListArray, StringArray, StringViewArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn a_part_of_an_array_has_its_own_size() {
        let texts = vec!["x".repeat(1000); 100];
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(7); 125]); 100]);
        let arrays: [ArrayRef; 3] = [
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(StringViewArray::from(texts)),
            Arc::new(list),
        ];
        for array in arrays {
            let (one, all) = (size(&[array.slice(3, 1)]), size(&[Arc::clone(&array)]));
            assert!((1000..2000).contains(&one), "{}: {one}", array.data_type());
            assert!((100_000..110_000).contains(&all), "{}: {all}", array.data_type());
        }
    }
}
