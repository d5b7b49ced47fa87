//! Reading a column of images: decoded ones, or the bytes of files.
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, internal_err};

use crate::config::OnError;
use crate::error::{Error, query_err};
use crate::image::{Image, decode};
use crate::types::image::{ImageColumn, ImageType};

/// The type of an argument that holds images, if it does.
pub(super) fn image_type(field: &Field) -> Option<ImageType> {
    match ImageType::of(field).or_else(|| ImageType::of_storage(field.data_type())) {
        // a NULL is an image like any other
        None if field.data_type() == &DataType::Null => Some(ImageType::Any(None)),
        image_type => image_type,
    }
}

/// True for the bytes of files, and NULL.
pub(super) fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null)
}

/// The bytes of each row, read in place.
pub(super) fn bytes(array: &ArrayRef) -> Result<Vec<Option<&[u8]>>> {
    match array.data_type() {
        DataType::Binary => Ok(array.as_binary::<i32>().iter().collect()),
        DataType::LargeBinary => Ok(array.as_binary::<i64>().iter().collect()),
        DataType::BinaryView => Ok(array.as_binary_view().iter().collect()),
        DataType::Null => Ok(vec![None; array.len()]),
        other => internal_err!("expected binary, found {other}"),
    }
}

/// Images one by one.
pub(super) type Images<'a> = Box<dyn Iterator<Item = Result<Option<Image<'a>>, Error>> + Send + 'a>;

/// The images of a column, one by one: `None` for NULL, and for a bad one if errors become NULL.
pub(super) fn images<'a>(array: &'a ArrayRef, field: &Field, on_error: OnError) -> Result<Images<'a>, Error> {
    if is_binary(array.data_type()) {
        let files = bytes(array).map_err(|error| Error::Query(error.to_string()))?;
        return Ok(Box::new(files.into_iter().map(move |file| match file {
            Some(file) => or_null(decode(file, None).map(Some), on_error),
            None => Ok(None),
        })));
    }
    let Some(image_type) = image_type(field) else {
        return query_err!("expected images, found {}", array.data_type());
    };
    let column = ImageColumn::new(array, image_type)?;
    Ok(Box::new((0..array.len()).map(move |row| or_null(column.image(row), on_error))))
}

/// NULL in place of an error in the data, if errors become NULL.
pub(super) fn or_null<T>(result: Result<Option<T>, Error>, on_error: OnError) -> Result<Option<T>, Error> {
    match result {
        Err(Error::Data(_)) if on_error == OnError::Null => Ok(None),
        result => result,
    }
}
