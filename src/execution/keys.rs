//! What tells inputs of a call apart.
use std::mem::size_of;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

/// 128 bits of BLAKE3: among a thousand million inputs two are taken for equal with a probability of 10^-21.
pub(super) type Key = u128;

/// What is the same for all inputs of a call: the function, its constant arguments, the types.
pub(super) type Identity = [u8; 32];

/// The identity of a call that `description` and the values of `constants`, one row each, tell from every other one of
/// the query.
pub(super) fn identity(description: &str, constants: &[ArrayRef]) -> Result<Identity> {
    let description = blake3::hash(description.as_bytes());
    let mut hasher = blake3::Hasher::new_keyed(description.as_bytes());
    for key in keys(description.as_bytes(), constants, 1)? {
        hasher.update(&key.to_le_bytes());
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Whether inputs of these types can be told apart; not those with maps or unions.
pub(super) fn has_keys<'a>(types: impl IntoIterator<Item = &'a DataType>) -> bool {
    types.into_iter().all(|data_type| RowConverter::supports_fields(&[SortField::new(data_type.clone())]))
}

/// The key of each row of `columns`. Rows with equal values have equal keys, whatever the layout of an array.
pub(super) fn keys(identity: &Identity, columns: &[ArrayRef], rows: usize) -> Result<Vec<Key>> {
    let columns = columns.iter().map(Values::new).collect::<Result<Vec<_>>>()?;
    let key = |row| {
        let mut hasher = blake3::Hasher::new_keyed(identity);
        for column in &columns {
            match column.value(row) {
                Some(value) => {
                    hasher.update(&(value.len() as u64 + 1).to_le_bytes());
                    hasher.update(value);
                }
                None => {
                    hasher.update(&[0; size_of::<u64>()]);
                }
            }
        }
        let mut key = [0; size_of::<Key>()];
        hasher.finalize_xof().fill(&mut key);
        Key::from_le_bytes(key)
    };
    Ok((0..rows).map(key).collect())
}

/// The values of a column as bytes. Text and bytes are read in place: they may be whole files.
enum Values<'a> {
    Bytes(Vec<Option<&'a [u8]>>),
    Rows(Rows),
}

impl<'a> Values<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        let bytes = match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().iter().map(|text| text.map(str::as_bytes)).collect(),
            DataType::LargeUtf8 => {
                array.as_string::<i64>().iter().map(|text| text.map(str::as_bytes)).collect()
            }
            DataType::Utf8View => array.as_string_view().iter().map(|text| text.map(str::as_bytes)).collect(),
            DataType::Binary => array.as_binary::<i32>().iter().collect(),
            DataType::LargeBinary => array.as_binary::<i64>().iter().collect(),
            DataType::BinaryView => array.as_binary_view().iter().collect(),
            data_type => {
                let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
                return Ok(Self::Rows(converter.convert_columns(&[ArrayRef::clone(array)])?));
            }
        };
        Ok(Self::Bytes(bytes))
    }

    fn value(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Bytes(values) => values[row],
            Self::Rows(rows) => Some(rows.row(row).data()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, DictionaryArray, Int64Array, StringArray, StringViewArray};
    use arrow::datatypes::Int8Type;

    use super::*;

    fn keys_of(columns: &[ArrayRef]) -> Vec<Key> {
        keys(&identity("f", &[]).unwrap(), columns, columns[0].len()).unwrap()
    }

    #[test]
    fn equal_values_have_equal_keys_and_others_do_not() {
        let rows = [Some("a"), None, Some(""), Some("a"), Some("b")];
        let text: ArrayRef = Arc::new(StringArray::from_iter(rows));
        let view: ArrayRef = Arc::new(StringViewArray::from_iter(rows));
        let found = keys_of(std::slice::from_ref(&text));
        assert_eq!(found, keys_of(&[view]));
        assert_eq!(found[0], found[3]);
        let distinct: std::collections::HashSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert_eq!(keys_of(&[text.slice(2, 2)]), found[2..4]);
    }

    #[test]
    fn columns_do_not_run_together() {
        let column = |value: &[u8]| Arc::new(BinaryArray::from(vec![value])) as ArrayRef;
        assert_ne!(keys_of(&[column(b"ab"), column(b"c")]), keys_of(&[column(b"a"), column(b"bc")]));
    }

    #[test]
    fn any_type_has_keys() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(1), Some(2)]));
        let words: ArrayRef =
            Arc::new(["x", "y", "x", "x"].into_iter().collect::<DictionaryArray<Int8Type>>());
        assert!(has_keys([numbers.data_type(), words.data_type()]));
        let found = keys_of(&[numbers, words]);
        assert_eq!(found[0], found[2]);
        assert!(found[0] != found[1] && found[0] != found[3] && found[1] != found[3]);
    }

    #[test]
    fn calls_are_told_apart() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let of = |call, constants: &[ArrayRef]| {
            keys(&identity(call, constants).unwrap(), std::slice::from_ref(&text), 1).unwrap()
        };
        assert_ne!(of("f", &[]), of("g", &[]));
        let bytes = |last: u8| {
            let file = [b"the same first bytes of every file".as_slice(), &[last]].concat();
            Arc::new(BinaryArray::from(vec![file.as_slice()])) as ArrayRef
        };
        assert_eq!(of("f", &[bytes(1)]), of("f", &[bytes(1)]));
        assert_ne!(of("f", &[bytes(1)]), of("f", &[bytes(2)]));
        assert_ne!(of("f", &[bytes(1)]), of("f", &[]));
    }
}
