//! Vectors as bytes: the items one behind the other, each 4 bytes, the least first.
//!
//! In Parquet a vector is a list, and a reader has to go through two levels for each of its items. A vector in bytes of
//! a fixed length is copied as a whole.
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Float32Type};
use arrow::error::ArrowError;

use super::{EXTENSION_NAME_KEY, PACKED_EXTENSION, SPACE_KEY};

const BYTES: i32 = 4;

/// Whether the column is an embedding: vectors of f32 that know their space.
pub(crate) fn is_embedding(field: &Field) -> bool {
    is_vector(field.data_type()) && field.metadata().contains_key(SPACE_KEY)
}

/// Whether the column is a packed one.
pub(crate) fn is_packed(field: &Field) -> bool {
    matches!(field.data_type(), DataType::FixedSizeBinary(_))
        && field.metadata().get(EXTENSION_NAME_KEY).map(String::as_str) == Some(PACKED_EXTENSION)
}

fn is_vector(data_type: &DataType) -> bool {
    matches!(data_type, DataType::FixedSizeList(item, 1..) if item.data_type() == &DataType::Float32)
}

/// The field of packed vectors, which keeps what is known of them. `None` unless these are lists of f32 of one length.
pub(crate) fn packed_field(vectors: &Field, name: &str) -> Option<Field> {
    let DataType::FixedSizeList(_, dimensions) = vectors.data_type() else { return None };
    let bytes = is_vector(vectors.data_type()).then(|| dimensions.checked_mul(BYTES)).flatten()?;
    let mut metadata = vectors.metadata().clone();
    metadata.insert(EXTENSION_NAME_KEY.to_owned(), PACKED_EXTENSION.to_owned());
    Some(Field::new(name, DataType::FixedSizeBinary(bytes), true).with_metadata(metadata))
}

/// The field of vectors that were packed. `None` unless these are bytes of one length, a multiple of 4.
pub(crate) fn unpacked_field(bytes: &Field, name: &str) -> Option<Field> {
    let DataType::FixedSizeBinary(length) = *bytes.data_type() else { return None };
    let mut metadata = bytes.metadata().clone();
    metadata.retain(|key, value| key != EXTENSION_NAME_KEY || value != PACKED_EXTENSION);
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let data_type = DataType::FixedSizeList(item, length / BYTES);
    (length % BYTES == 0).then(|| Field::new(name, data_type, true).with_metadata(metadata))
}

/// Whether a vector that is not NULL has a NULL in it.
pub(crate) fn has_vector_with_null(vectors: &FixedSizeListArray) -> bool {
    let length = usize::try_from(vectors.value_length()).unwrap_or(0);
    let Some(nulls) = vectors.values().nulls().filter(|nulls| nulls.null_count() > 0) else { return false };
    (0..vectors.len())
        .filter(|row| vectors.is_valid(*row))
        .any(|row| nulls.slice(row * length, length).null_count() > 0)
}

/// Vectors of f32 as bytes, without a copy of them where numbers lie in memory as in a file. A vector with a NULL in it
/// is an error: bytes have no place for it.
pub(crate) fn pack(vectors: &FixedSizeListArray) -> Result<FixedSizeBinaryArray, ArrowError> {
    let items = vectors.values().as_primitive::<Float32Type>();
    if has_vector_with_null(vectors) {
        return Err(ArrowError::InvalidArgumentError(
            "a vector has a NULL in it, which bytes have no place for; SET semantic.parquet_vectors = 'list' writes lists"
                .to_owned(),
        ));
    }
    let bytes = match cfg!(target_endian = "little") {
        true => items.values().inner().clone(),
        false => items.values().iter().flat_map(|item| item.to_le_bytes()).collect::<Vec<_>>().into(),
    };
    FixedSizeBinaryArray::try_new(vectors.value_length() * BYTES, bytes, vectors.nulls().cloned())
}

/// The vectors that were packed, whose bytes are no multiple of 4 long; without a copy where they lie in memory as
/// numbers do.
pub(crate) fn unpack(bytes: &FixedSizeBinaryArray) -> Result<FixedSizeListArray, ArrowError> {
    let dimensions = bytes.value_length() / BYTES;
    let length = bytes.len() * usize::try_from(dimensions).unwrap_or(0);
    let items = numbers(bytes.values(), length);
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let nulls: Option<NullBuffer> = bytes.nulls().cloned();
    FixedSizeListArray::try_new_with_length(item, dimensions, Arc::new(items), nulls, bytes.len())
}

/// The first `length` numbers of `bytes`.
pub(crate) fn numbers(bytes: &Buffer, length: usize) -> Float32Array {
    let as_in_memory = cfg!(target_endian = "little") && bytes.as_ptr().align_offset(align_of::<f32>()) == 0;
    let items = match as_in_memory {
        true => ScalarBuffer::new(bytes.clone(), 0, length),
        false => {
            let (numbers, _) = bytes.as_slice().as_chunks::<4>();
            numbers.iter().take(length).map(|number| f32::from_le_bytes(*number)).collect()
        }
    };
    Float32Array::new(items, None)
}
