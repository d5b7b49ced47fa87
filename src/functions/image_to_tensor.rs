//! `image_to_tensor(image)`
use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::described;
use super::images::{decoded, planned_images};
use crate::types::image::ImageType;
use crate::types::tensor;

const NAME: &str = "image_to_tensor";
const PARAMETERS: &[&str] = &["image"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The pixels as a tensor of shape [height, width, channels] of UInt8, UInt16 or Float32, as the mode says: arrow.fixed_shape_tensor where size and mode are known at plan time, which such images already are, else arrow.variable_shape_tensor. The mode must be known at plan time. NULL gives NULL.",
    syntax_example = "image_to_tensor(image)",
    sql_example = "SELECT image_to_tensor(decode_image(download(path), 'RGB')) FROM glob('photos/*')",
    argument(
        name = "image",
        description = "A decoded image of a known mode: of decode_image(bytes, 'RGB'), convert_image(image, 'RGB')."
    )
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ImageToTensor {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::synchronous(ImageToTensor { signature: signature(PARAMETERS, 1) })
}

impl ScalarUDFImpl for ImageToTensor {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let image_type = planned_images(NAME, &Arguments::planned(NAME, PARAMETERS, 1, &args)?)?;
        match image_type {
            ImageType::Fixed(..) => Ok(Arc::new(image_type.field(NAME))),
            ImageType::Any(Some(mode)) => Ok(Arc::new(tensor::field(NAME, mode))),
            ImageType::Any(None) => plan_err!(
                "{NAME}: the mode of the images is not known at plan time: use \
                 {NAME}(convert_image(image, 'RGB'))"
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let array = args.args[0].to_array(args.number_rows)?;
        let Some(ImageType::Any(Some(mode))) = ImageType::of(arguments.field(0)) else {
            return Ok(ColumnarValue::Array(array));
        };
        let images = decoded(&array, arguments.field(0)).map_err(|error| arguments.error(error))?;
        let images = (0..array.len()).map(|row| images.as_ref().map_or(Ok(None), |images| images.image(row)));
        let tensors = tensor::column(images, mode).map_err(|error| arguments.error(error))?;
        Ok(ColumnarValue::Array(tensors))
    }
}
