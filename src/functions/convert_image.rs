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
use super::images::{image_type, images};
use crate::config::OnError;
use crate::image::{Mode, convert};
use crate::types::image::{ImageBuilder, ImageType};

const NAME: &str = "convert_image";
const PARAMETERS: &[&str] = &["image", "mode"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The image in another mode. Colour becomes luminance by L = 0.299 R + 0.587 G + 0.114 B; alpha is dropped, or added as opaque. NULL gives NULL.",
    syntax_example = "convert_image(image, mode)",
    sql_example = "SELECT convert_image(decode_image(download(path)), 'RGB') AS image FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image."),
    argument(name = "mode", description = "'L', 'LA', 'RGB' or 'RGBA'.")
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
        None => plan_err!("{NAME}: mode must not be NULL: use 'L', 'LA', 'RGB' or 'RGBA'"),
    }
}

impl ScalarUDFImpl for ConvertImage {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 2, &args)?;
        let image = arguments.field(0);
        let mode = mode(&arguments)?;
        match image_type(image) {
            Some(ImageType::Any(_)) => Ok(Arc::new(ImageType::Any(Some(mode)).field(NAME))),
            Some(ImageType::Fixed(width, height, _)) => {
                Ok(Arc::new(ImageType::Fixed(width, height, mode).field(NAME)))
            }
            None => plan_err!(
                "{NAME}: image must be a decoded image, found {}: use decode_image",
                image.data_type()
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let mode = mode(&arguments)?;
        let array = args.args[0].to_array(args.number_rows)?;
        let of_result = ImageType::of(&args.return_field).unwrap_or(ImageType::Any(Some(mode)));
        let mut converted = ImageBuilder::new(of_result, array.len());
        let images =
            images(&array, arguments.field(0), OnError::Raise).map_err(|error| arguments.error(error))?;
        for image in images {
            let image = image.map(|image| image.map(|image| convert(image, mode)));
            let image = image.and_then(|image| converted.append(image.as_ref()));
            image.map_err(|error| arguments.error(error))?;
        }
        Ok(ColumnarValue::Array(converted.finish()))
    }
}
