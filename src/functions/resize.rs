//! `resize(image, width, height)`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::arguments::{Arguments, signature};
use super::blocking::run_blocking;
use super::described;
use super::images::{image_type, images};
use super::{Function, IMAGE_SLICE_ROWS};
use crate::config::OnError;
use crate::image::{Filter, MAX_PIXELS, MAX_SIDE, resize};
use crate::planner::When;
use crate::types::image::{ImageBuilder, ImageType};

const NAME: &str = "resize";
const PARAMETERS: &[&str] = &["image", "width", "height"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The image at exactly width x height pixels, by linear interpolation, antialiased. Where the size and the mode of the images are constants, the result is an arrow.fixed_shape_tensor of shape [height, width, channels], else an image. NULL gives NULL.",
    syntax_example = "resize(image, width, height)",
    sql_example = "SELECT resize(decode_image(download(path), 'RGB'), 288, 288) AS image FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image."),
    argument(name = "width", description = "Pixels, from 1 to 16384."),
    argument(name = "height", description = "Pixels, from 1 to 16384.")
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Resize {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::with_twin(Resize { signature: signature(PARAMETERS, 3) }, When::WithinAsync)
}

/// The type of the result: fixed where size and mode are known at plan time and a tensor can hold such an image.
fn result_type(arguments: &Arguments<'_>) -> Result<ImageType> {
    let image = arguments.field(0);
    let mode = match image_type(image) {
        Some(ImageType::Any(mode)) => mode,
        Some(ImageType::Fixed(_, _, mode)) => Some(mode),
        None => {
            return plan_err!(
                "{NAME}: image must be a decoded image, found {}: use decode_image",
                image.data_type()
            );
        }
    };
    for side in [1, 2] {
        let data_type = arguments.field(side).data_type();
        if !data_type.is_integer() && !data_type.is_null() {
            return plan_err!("{NAME}: {} must be a whole number, found {data_type}", PARAMETERS[side]);
        }
    }
    let (width, height) = (constant_side(arguments, 1)?, constant_side(arguments, 2)?);
    if let (Some(width), Some(height)) = (width, height)
        && let Err(error) = check_pixels(width, height)
    {
        return plan_err!("{error}");
    }
    match (width, height, mode) {
        (Some(width), Some(height), Some(mode)) => Ok(ImageType::Fixed(width, height, mode)),
        _ => Ok(ImageType::Any(mode)),
    }
}

fn check_pixels(width: u32, height: u32) -> Result<(), String> {
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("{NAME}: {width}x{height} is too large: at most {MAX_PIXELS} pixels"));
    }
    Ok(())
}

fn constant_side(arguments: &Arguments<'_>, index: usize) -> Result<Option<u32>> {
    if arguments.is_constant(index) { arguments.positive(index, 224, MAX_SIDE) } else { Ok(None) }
}

impl ScalarUDFImpl for Resize {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 3, &args)?;
        Ok(Arc::new(result_type(&arguments)?.field(NAME)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let array = args.args[0].to_array(args.number_rows)?;
        let side = |index: usize| -> Result<ArrayRef> {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            Ok(cast_with_options(&args.args[index].to_array(args.number_rows)?, &DataType::Int64, &options)?)
        };
        let (widths, heights) = (side(1)?, side(2)?);
        let (widths, heights) = (widths.as_primitive::<Int64Type>(), heights.as_primitive::<Int64Type>());
        let of_result = ImageType::of(&args.return_field).unwrap_or(ImageType::Any(None));
        let mut resized = ImageBuilder::new(of_result, array.len());
        let images =
            images(&array, arguments.field(0), OnError::Raise).map_err(|error| arguments.error(error))?;
        for (row, image) in images.enumerate() {
            let image = image.map_err(|error| arguments.error(error))?;
            let appended = match image {
                Some(image) if widths.is_valid(row) && heights.is_valid(row) => {
                    let (width, height) =
                        (side_of(widths.value(row), "width")?, side_of(heights.value(row), "height")?);
                    if let Err(error) = check_pixels(width, height) {
                        return exec_err!("{error}");
                    }
                    resize(image, width, height, Filter::Bilinear)
                        .and_then(|image| resized.append(Some(&image)))
                }
                _ => resized.append(None),
            };
            appended.map_err(|error| arguments.error(error))?;
        }
        Ok(ColumnarValue::Array(resized.finish()))
    }
}

fn side_of(value: i64, name: &str) -> Result<u32> {
    match u32::try_from(value) {
        Ok(side @ 1..=MAX_SIDE) => Ok(side),
        _ => exec_err!("{NAME}: {name} must be from 1 to {MAX_SIDE}, found {value}"),
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Resize {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(IMAGE_SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run_blocking(self, args).await
    }
}
