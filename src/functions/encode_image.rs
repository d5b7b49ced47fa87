//! `encode_image(image, format [, quality])`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, LargeBinaryBuilder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::arguments::{Arguments, signature};
use super::blocking::run_blocking;
use super::described;
use super::images::{decoded, planned_images};
use super::{Function, IMAGE_SLICE_ROWS};
use crate::image::{Encoding, encode};
use crate::planner::When;

const NAME: &str = "encode_image";
const PARAMETERS: &[&str] = &["image", "format", "quality"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The bytes of an image file. An error where the format cannot hold the mode: JPEG has no alpha and 8 bits, WEBP and GIF are RGB or RGBA, BMP has 8 bits; PNG has up to 16 bits, TIFF also floats, but no LA. NULL gives NULL.",
    syntax_example = "encode_image(image, format [, quality])",
    sql_example = "SELECT encode_image(thumbnail(decode_image(download(path), 'RGB'), 128), 'jpeg', 90) FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image."),
    argument(name = "format", description = "'png', 'jpeg', 'webp', 'tiff', 'bmp' or 'gif'."),
    argument(
        name = "quality",
        description = "From 1 to 100, for 'jpeg' (default 75) and 'webp' (default 80, lossy)."
    )
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EncodeImage {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::with_twin(EncodeImage { signature: signature(PARAMETERS, 2) }, When::WithinAsync)
}

fn encoding(arguments: &Arguments<'_>) -> Result<Encoding> {
    let Some(format) = arguments.string(1, "'png'")? else {
        return plan_err!(
            "{NAME}: format must not be NULL: use 'png', 'jpeg', 'webp', 'tiff', 'bmp' or 'gif'"
        );
    };
    let quality = arguments.positive(2, 90, 100)?.and_then(|quality| u8::try_from(quality).ok());
    Encoding::new(format, quality).map_err(|error| arguments.error(error))
}

impl ScalarUDFImpl for EncodeImage {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 2, &args)?;
        let image_type = planned_images(NAME, &arguments)?;
        let encoding = encoding(&arguments)?;
        if let Some(mode) = image_type.mode() {
            encoding.check(mode).map_err(|error| arguments.error(error))?;
        }
        Ok(Arc::new(Field::new(NAME, DataType::LargeBinary, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let encoding = encoding(&arguments)?;
        let array = args.args[0].to_array(args.number_rows)?;
        let mut files = LargeBinaryBuilder::new();
        let images = decoded(&array, arguments.field(0)).map_err(|error| arguments.error(error))?;
        for row in 0..array.len() {
            let image = images.as_ref().map_or(Ok(None), |images| images.image(row));
            let file = image.and_then(|image| image.map(|image| encode(image, encoding)).transpose());
            files.append_option(file.map_err(|error| arguments.error(error))?);
        }
        Ok(ColumnarValue::Array(Arc::new(files.finish())))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for EncodeImage {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(IMAGE_SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run_blocking(self, args).await
    }
}
