//! `thumbnail(image, max_side)`
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
use crate::image::{MAX_SIDE, Resizing};
use crate::planner::When;
use crate::types::image::ImageType;

pub(super) const NAME: &str = "thumbnail";
const PARAMETERS: &[&str] = &["image", "max_side"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The image with its longer side at most max_side pixels and its aspect ratio kept, by cubic interpolation, antialiased; a smaller image as it is. JPEGs are decoded as for resize. NULL gives NULL.",
    syntax_example = "thumbnail(image, max_side)",
    sql_example = "SELECT encode_image(thumbnail(decode_image(download(path), 'RGB'), 128), 'jpeg') FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image."),
    argument(name = "max_side", description = "Pixels, from 1 to 16384.")
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Thumbnail {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::with_twin(Thumbnail { signature: signature(PARAMETERS, 2) }, When::WithinAsync)
}

impl ScalarUDFImpl for Thumbnail {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 2, &args)?;
        let mode = planned_images(NAME, &arguments)?.mode();
        check_whole(NAME, PARAMETERS, &arguments, 1)?;
        if arguments.is_constant(1) {
            arguments.positive(1, 128, MAX_SIDE)?;
        }
        Ok(Arc::new(ImageType::Any(mode).field(NAME)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let sides = whole_numbers(&args, 1)?;
        map_images(&args, &arguments, |row, image| match sides[row] {
            Some(side) => Resizing::thumbnail(within(side, "max_side", 1, MAX_SIDE)?).apply(image).map(Some),
            None => Ok(None),
        })
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Thumbnail {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(IMAGE_SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run_blocking(self, args).await
    }
}
