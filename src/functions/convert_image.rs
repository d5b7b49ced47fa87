//! `convert_image(image, mode)`
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::described;
use super::images::{map_images, planned_images};
use crate::image::{Mode, convert};
use crate::types::image::ImageType;

const NAME: &str = "convert_image";
const PARAMETERS: &[&str] = &["image", "mode"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The image in another mode. Colour becomes luminance by L = 0.299 R + 0.587 G + 0.114 B; alpha is dropped, or added as opaque; 255, 65535 and 1.0 of channels of 8 bits, 16 bits and floats are the same. NULL gives NULL.",
    syntax_example = "convert_image(image, mode)",
    sql_example = "SELECT convert_image(decode_image(download(path)), 'RGB') AS image FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image."),
    argument(
        name = "mode",
        description = "'L', 'LA', 'RGB' or 'RGBA', also with 16 bits ('L16', 'LA16', 'RGB16', 'RGBA16') or floats ('RGB32F', 'RGBA32F')."
    )
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ConvertImage {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::synchronous(ConvertImage { signature: signature(PARAMETERS, 2) })
}

/// The mode to convert to.
fn mode(arguments: &Arguments<'_>) -> Result<Mode> {
    match arguments.parsed(1, "'RGB'")? {
        Some(mode) => Ok(mode),
        None => plan_err!("{NAME}: mode must not be NULL: use {}", Mode::NAMES),
    }
}

impl ScalarUDFImpl for ConvertImage {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 2, &args)?;
        let image_type = planned_images(NAME, &arguments)?;
        let mode = mode(&arguments)?;
        let converted = match image_type {
            ImageType::Any(_) => ImageType::Any(Some(mode)),
            ImageType::Fixed(width, height, _) => ImageType::Fixed(width, height, mode),
        };
        Ok(Arc::new(converted.field(NAME)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let mode = mode(&arguments)?;
        map_images(&args, &arguments, |_, image| Ok(Some(convert(image, mode))))
    }
}
