//! Reading a column of images: decoded ones, or the bytes of files.
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::arguments::Arguments;
use crate::config::OnError;
use crate::error::{Error, query_err};
use crate::image::{DecodeOptions, Image, ImageFile, Mode};
use crate::inference::Running;
use crate::types::image::{ImageBuilder, ImageColumn, ImageType};

/// The type of an argument that holds images, if it does.
pub(super) fn image_type(field: &Field) -> Option<ImageType> {
    match ImageType::of(field).or_else(|| ImageType::of_storage(field.data_type())) {
        // a NULL is an image like any other
        None if field.data_type() == &DataType::Null => Some(ImageType::Any(None)),
        image_type => image_type,
    }
}

/// The type of the first argument, images; an error at plan time that names the cure.
pub(super) fn planned_images(function: &str, arguments: &Arguments<'_>) -> Result<ImageType> {
    let image = arguments.field(0);
    match image_type(image) {
        Some(image_type) => Ok(image_type),
        None => plan_err!(
            "{function}: image must be a decoded image, found {}: use decode_image",
            image.data_type()
        ),
    }
}

/// A column of what `change` makes of the image of each row; NULL where it is NULL or becomes so.
pub(super) fn map_images(
    args: &ScalarFunctionArgs,
    arguments: &Arguments<'_>,
    mut change: impl for<'a> FnMut(usize, Image<'a>) -> Result<Option<Image<'a>>, Error>,
) -> Result<ColumnarValue> {
    let array = args.args[0].to_array(args.number_rows)?;
    let of_result = ImageType::of(&args.return_field).unwrap_or(ImageType::Any(None));
    let mut changed = ImageBuilder::new(of_result, array.len());
    let images = decoded(&array, arguments.field(0)).map_err(|error| arguments.error(error))?;
    for row in 0..array.len() {
        let image = images.as_ref().map_or(Ok(None), |images| images.image(row));
        let image = image.and_then(|image| image.map_or(Ok(None), |image| change(row, image)));
        image.and_then(|image| changed.append(image)).map_err(|error| arguments.error(error))?;
    }
    Ok(ColumnarValue::Array(changed.finish()))
}

/// A column of decoded images; `None` if it is a column of NULLs of no type.
pub(super) fn decoded<'a>(array: &'a ArrayRef, field: &Field) -> Result<Option<ImageColumn<'a>>, Error> {
    if array.data_type() == &DataType::Null {
        return Ok(None);
    }
    let Some(image_type) = image_type(field) else {
        return query_err!("expected images, found {}", array.data_type());
    };
    ImageColumn::new(array, image_type).map(Some)
}

/// True for the bytes of files, and NULL.
pub(super) fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null)
}

/// Refuses an argument of `function` that cannot hold the bytes of files.
pub(super) fn expect_file(function: &str, argument: &Field) -> Result<()> {
    let found = argument.data_type();
    if is_binary(found) {
        return Ok(());
    }
    plan_err!("{function}: bytes must be binary, found {found}; read a path with {function}(download(path))")
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

/// What `work` makes of the image of a row, from a column of decoded images or of the bytes of files; `None` for NULL.
///
/// What decoding takes is reserved until `work` has ended. Called on a thread for pixels.
pub(super) fn with_image<T>(
    array: &ArrayRef,
    row: usize,
    field: &Field,
    options: &DecodeOptions,
    running: &Running,
    work: impl FnOnce(Image<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    if !is_binary(array.data_type()) {
        let image = decoded(array, field)?.map_or(Ok(None), |images| images.image(row))?;
        return image.map(work).transpose();
    }
    let row = array.slice(row, 1);
    let files = bytes(&row).map_err(|error| Error::Query(error.to_string()))?;
    let Some(file) = files.into_iter().flatten().next() else { return Ok(None) };
    let file = ImageFile::open(file, options)?;
    // models see RGB
    let memory = file.memory(Some(Mode::Rgb));
    // the data of one row takes more than there is
    let _reservation = running.reserve(memory).map_err(|error| Error::Query(error.to_string()))?;
    work(file.decode(None)?).map(Some)
}

/// NULL in place of an error in the data, if errors become NULL.
pub(super) fn or_null<T>(result: Result<Option<T>, Error>, on_error: OnError) -> Result<Option<T>, Error> {
    match result {
        Err(Error::Data(_)) if on_error == OnError::Null => Ok(None),
        result => result,
    }
}
