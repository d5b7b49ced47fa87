//! `resize(image, width, height [, filter [, fit]])`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::arguments::{Arguments, signature};
use super::blocking::run_blocking;
use super::described;
use super::images::{map_images, planned_images};
use super::numbers::{check_whole, whole_numbers, within};
use super::{Function, IMAGE_SLICE_ROWS};
use crate::error::{Result as DataResult, data_err};
use crate::image::{Filter, Fit, MAX_PIXELS, MAX_SIDE, Resizing};
use crate::planner::When;
use crate::types::image::ImageType;

pub(super) const NAME: &str = "resize";
const PARAMETERS: &[&str] = &["image", "width", "height", "filter", "fit"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The image at width x height pixels. Where the size and the mode of the images are constants, the result is an arrow.fixed_shape_tensor of shape [height, width, channels], else an image. All filters but 'nearest' are antialiased as Pillow's are; colours are weighted by alpha. A JPEG that is decoded only to be made less than half as large is decoded at 1/2, 1/4 or 1/8 of its size, unless the option semantic.scaled_decoding is false, the filter 'box' or 'nearest', or the fit 'cover': pixels differ by less than 1 of 255 in the mean. NULL gives NULL.",
    syntax_example = "resize(image, width, height [, filter [, fit]])",
    sql_example = "SELECT resize(decode_image(download(path), 'RGB'), 288, 288) AS image FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image."),
    argument(name = "width", description = "Pixels, from 1 to 16384."),
    argument(name = "height", description = "Pixels, from 1 to 16384."),
    argument(
        name = "filter",
        description = "'nearest', 'bilinear', 'bicubic', 'lanczos3' or 'box'. Default: 'bilinear'."
    ),
    argument(
        name = "fit",
        description = "'stretch' gives exactly the size; 'contain' the largest image of the same aspect ratio inside it; 'cover' fills it and cuts off what is over, from the middle; 'pad' adds black around 'contain', transparent where there is alpha. Default: 'stretch'."
    )
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Resize {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::with_twin(Resize { signature: signature(PARAMETERS, 3) }, When::WithinAsync)
}

fn filter(arguments: &Arguments<'_>) -> Result<Filter> {
    Ok(arguments.parsed(3, "'bilinear'")?.unwrap_or(Filter::Bilinear))
}

fn fit(arguments: &Arguments<'_>) -> Result<Fit> {
    Ok(arguments.parsed(4, "'contain'")?.unwrap_or(Fit::Stretch))
}

/// The type of the result: fixed where size and mode are known at plan time and a tensor can hold such an image.
fn result_type(arguments: &Arguments<'_>) -> Result<ImageType> {
    let mode = planned_images(NAME, arguments)?.mode();
    filter(arguments)?;
    for side in [1, 2] {
        check_whole(NAME, PARAMETERS, arguments, side)?;
    }
    let (width, height) = (constant_side(arguments, 1)?, constant_side(arguments, 2)?);
    if let (Some(width), Some(height)) = (width, height)
        && let Err(error) = check_pixels(width, height)
    {
        return plan_err!("{NAME}: {error}");
    }
    match (width, height, mode, fit(arguments)?.is_exact()) {
        (Some(width), Some(height), Some(mode), true) => Ok(ImageType::Fixed(width, height, mode)),
        _ => Ok(ImageType::Any(mode)),
    }
}

fn check_pixels(width: u32, height: u32) -> DataResult<()> {
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return data_err!("{width}x{height} is too large: at most {MAX_PIXELS} pixels");
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
        let (filter, fit) = (filter(&arguments)?, fit(&arguments)?);
        let (widths, heights) = (whole_numbers(&args, 1)?, whole_numbers(&args, 2)?);
        map_images(&args, &arguments, |row, image| {
            let (Some(width), Some(height)) = (widths[row], heights[row]) else { return Ok(None) };
            let (width, height) =
                (within(width, "width", 1, MAX_SIDE)?, within(height, "height", 1, MAX_SIDE)?);
            check_pixels(width, height)?;
            Resizing { width, height, filter, fit }.apply(image).map(Some)
        })
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
