//! Reading a column of strings in whichever of Arrow's layouts it comes.
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};

/// True for strings, dictionaries of strings, and NULL.
pub(super) fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_string(values),
        _ => false,
    }
}

/// The string of each row, read in place.
pub(super) fn strings(array: &ArrayRef) -> Result<Vec<Option<&str>>> {
    match array.data_type() {
        DataType::Utf8 => Ok(array.as_string::<i32>().iter().collect()),
        DataType::LargeUtf8 => Ok(array.as_string::<i64>().iter().collect()),
        DataType::Utf8View => Ok(array.as_string_view().iter().collect()),
        DataType::Null => Ok(vec![None; array.len()]),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = strings(dictionary.values())?;
            if values.is_empty() {
                // every key is NULL
                return Ok(vec![None; array.len()]);
            }
            let keys = dictionary.normalized_keys();
            let row = |row: usize| {
                if array.is_null(row) { None } else { values[keys[row]] }
            };
            Ok((0..array.len()).map(row).collect())
        }
        other => internal_err!("expected a string, found {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        DictionaryArray, LargeStringArray, NullArray, StringArray, StringViewArray,
    };
    use datafusion::arrow::datatypes::Int8Type;

    use super::*;

    #[test]
    fn every_layout_and_slices_of_it() {
        let rows = [Some("x"), Some("a"), None, Some("a"), Some("")];
        let layouts: [ArrayRef; 4] = [
            Arc::new(StringArray::from_iter(rows)),
            Arc::new(LargeStringArray::from_iter(rows)),
            Arc::new(StringViewArray::from_iter(rows)),
            Arc::new(rows.into_iter().collect::<DictionaryArray<Int8Type>>()),
        ];
        for array in layouts {
            assert!(is_string(array.data_type()));
            assert_eq!(strings(&array).unwrap(), rows);
            assert_eq!(strings(&array.slice(1, 3)).unwrap(), rows[1..4]);
        }
        let empty: ArrayRef = Arc::new([None::<&str>; 2].into_iter().collect::<DictionaryArray<Int8Type>>());
        assert_eq!(strings(&empty).unwrap(), [None, None]);
        assert_eq!(strings(&empty.slice(0, 0)).unwrap(), []);
        let nulls: ArrayRef = Arc::new(NullArray::new(2));
        assert_eq!(strings(&nulls).unwrap(), [None, None]);
    }
}
