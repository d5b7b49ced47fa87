//! `crop(image, x, y, width, height)`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::Result;
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
use crate::image::{MAX_PIXELS, crop};
use crate::planner::When;
use crate::types::image::ImageType;

const NAME: &str = "crop";
const PARAMETERS: &[&str] = &["image", "x", "y", "width", "height"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The width x height pixels of an image whose upper left corner is at (x, y), counted from 0. An error if they are not all inside the image: image_width and image_height give its size. A fixed-shape tensor where width, height and mode are constants. NULL gives NULL.",
    syntax_example = "crop(image, x, y, width, height)",
    sql_example = "SELECT crop(decode_image(download(path), 'RGB'), 0, 0, 64, 64) FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image."),
    argument(name = "x", description = "Pixels to the left of the part, from 0."),
    argument(name = "y", description = "Pixels above the part, from 0."),
    argument(name = "width", description = "Pixels, from 1."),
    argument(name = "height", description = "Pixels, from 1.")
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Crop {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::with_twin(Crop { signature: signature(PARAMETERS, 5) }, When::WithinAsync)
}

impl ScalarUDFImpl for Crop {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 5, &args)?;
        let mode = planned_images(NAME, &arguments)?.mode();
        for index in 1..PARAMETERS.len() {
            check_whole(NAME, PARAMETERS, &arguments, index)?;
        }
        let side = |index: usize| match arguments.is_constant(index) {
            true => arguments.positive(index, 64, u32::from(u16::MAX)),
            false => Ok(None),
        };
        Ok(Arc::new(match (side(3)?, side(4)?, mode) {
            (Some(width), Some(height), Some(mode)) if u64::from(width) * u64::from(height) <= MAX_PIXELS => {
                ImageType::Fixed(width, height, mode).field(NAME)
            }
            _ => ImageType::Any(mode).field(NAME),
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let numbers = [1, 2, 3, 4].map(|index| whole_numbers(&args, index));
        let [x, y, width, height] = numbers;
        let (x, y, width, height) = (x?, y?, width?, height?);
        map_images(&args, &arguments, |row, image| {
            let (Some(x), Some(y), Some(width), Some(height)) = (x[row], y[row], width[row], height[row])
            else {
                return Ok(None);
            };
            let (x, y) = (within(x, "x", 0, u32::MAX)?, within(y, "y", 0, u32::MAX)?);
            let (width, height) =
                (within(width, "width", 1, u32::MAX)?, within(height, "height", 1, u32::MAX)?);
            crop(&image, x, y, width, height).map(Some)
        })
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Crop {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(IMAGE_SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run_blocking(self, args).await
    }
}
