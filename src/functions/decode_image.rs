//! `decode_image(bytes [, mode [, on_error]])`
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
use super::images::{bytes, expect_file, or_null};
use super::{Function, FunctionContext, IMAGE_SLICE_ROWS};
use crate::image::{ImageFile, Mode, Resizing};
use crate::inference::Running;
use crate::planner::When;
use crate::types::image::{ImageBuilder, ImageType};

const NAME: &str = "decode_image";
const PARAMETERS: &[&str] = &["bytes", "mode", "on_error"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The image in the bytes of a PNG, JPEG, TIFF, WEBP, GIF (first frame), BMP or ICO file, recognised by its content. The EXIF orientation is applied, unless the option semantic.image_orientation is false. The header is checked against semantic.image_max_side, image_max_pixels and image_max_bytes before a pixel is decoded; a truncated file is an error. NULL gives NULL.",
    syntax_example = "decode_image(bytes [, mode [, on_error]])",
    sql_example = "SELECT decode_image(download(path), 'RGB') AS image FROM glob('photos/*')",
    argument(name = "bytes", description = "The bytes of an image file."),
    argument(
        name = "mode",
        description = "The mode to convert to, as in convert_image: 'RGB'. Default: the mode of the file."
    ),
    argument(
        name = "on_error",
        description = "'raise' fails the query at a corrupt image, 'null' makes it NULL. Default: the option semantic.on_error."
    )
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DecodeImage {
    signature: Signature,
    context: Arc<FunctionContext>,
    /// What is made of the images before anybody sees them.
    then: Option<Resized>,
}

/// The mode to which an image is brought first, and its size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Resized {
    pub(super) mode: Option<Mode>,
    pub(super) resizing: Resizing,
}

impl DecodeImage {
    /// The same function of images that are resized and nothing else; `None` if they are already.
    pub(super) fn resized(&self, then: Resized) -> Option<Self> {
        self.then.is_none().then(|| Self { then: Some(then), ..self.clone() })
    }
}

pub(super) fn function(context: &Arc<FunctionContext>) -> Function {
    let function =
        DecodeImage { signature: signature(PARAMETERS, 1), context: Arc::clone(context), then: None };
    Function::with_twin(function, When::WithinAsync)
}

impl ScalarUDFImpl for DecodeImage {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        expect_file(NAME, arguments.field(0))?;
        arguments.on_error(2, &self.context.settings())?;
        let mode = arguments.parsed::<Mode>(1, "'RGB'")?;
        Ok(Arc::new(ImageType::Any(mode).field(NAME)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let settings = self.context.settings_of(&args.config_options);
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let mode = arguments.parsed::<Mode>(1, "'RGB'")?;
        let on_error = arguments.on_error(2, &settings)?;
        let array = args.args[0].to_array(args.number_rows)?;
        let running = Running::current(1);
        let mut images = ImageBuilder::new(ImageType::Any(mode), array.len());
        for file in bytes(&array)? {
            let opened = file.map(|file| ImageFile::open(file, &settings.images)).transpose();
            let opened = or_null(opened, on_error).map_err(|error| arguments.error(error))?;
            let image = match opened {
                Some(opened) => {
                    let opened = match &self.then {
                        Some(then) if settings.scaled_decoding => opened.scaled_for(&then.resizing),
                        _ => opened,
                    };
                    let converted = self.then.as_ref().and_then(|then| then.mode);
                    let _reservation = running.reserve(opened.memory(converted.or(mode)))?;
                    let image = match &self.then {
                        Some(then) => opened.decode_resized([mode, converted], &then.resizing),
                        None => opened.decode(mode),
                    };
                    or_null(image.map(Some), on_error)
                }
                None => Ok(None),
            };
            let image = image.map_err(|error| arguments.error(error))?;
            running.usage().failed_rows.add(usize::from(file.is_some() && image.is_none()));
            running.keep(image.as_ref().map_or(0, |image| image.pixels().len()));
            images.append(image).map_err(|error| arguments.error(error))?;
        }
        Ok(ColumnarValue::Array(images.finish()))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for DecodeImage {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(IMAGE_SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run_blocking(self, args).await
    }
}
