//! `image_info(bytes [, on_error])`
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray, StructArray, UInt8Array, UInt32Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::arguments::{Arguments, signature};
use super::described;
use super::images::{bytes, expect_file, or_null};
use super::{Function, FunctionContext};
use crate::image::{DecodeOptions, Header, ImageFile, Limits};

const NAME: &str = "image_info";
const PARAMETERS: &[&str] = &["bytes", "on_error"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "What the header of an image file says, as a struct: format, width, height, mode, channels, orientation (of EXIF, 1 to 8). Width, height and mode are those that decode_image would give, of images of any size. No pixel is decoded. NULL gives NULL.",
    syntax_example = "image_info(bytes [, on_error])",
    sql_example = "SELECT path, image_info(download(path))['width'] FROM glob('photos/*')",
    argument(name = "bytes", description = "The bytes of an image file."),
    argument(
        name = "on_error",
        description = "'raise' fails the query at a file that is no image, 'null' makes it NULL. Default: the option semantic.on_error."
    )
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ImageInfo {
    signature: Signature,
    context: Arc<FunctionContext>,
}

pub(super) fn function(context: &Arc<FunctionContext>) -> Function {
    Function::synchronous(ImageInfo { signature: signature(PARAMETERS, 1), context: Arc::clone(context) })
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("format", DataType::Utf8, true),
        Field::new("width", DataType::UInt32, true),
        Field::new("height", DataType::UInt32, true),
        Field::new("mode", DataType::Utf8, true),
        Field::new("channels", DataType::UInt32, true),
        Field::new("orientation", DataType::UInt8, true),
    ])
}

impl ScalarUDFImpl for ImageInfo {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        expect_file(NAME, arguments.field(0))?;
        arguments.on_error(1, &self.context.settings())?;
        Ok(Arc::new(Field::new(NAME, DataType::Struct(fields()), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let settings = self.context.settings_of(&args.config_options);
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let on_error = arguments.on_error(1, &settings)?;
        // nothing is decoded: an image of any size can be asked for it
        let options = DecodeOptions {
            limits: Limits { side: u32::MAX, pixels: u64::MAX, bytes: u64::MAX },
            ..settings.images
        };
        let array = args.args[0].to_array(args.number_rows)?;
        let header =
            |file: &[u8]| or_null(ImageFile::open(file, &options).map(|file| Some(*file.header())), on_error);
        let headers = bytes(&array)?.into_iter().map(|file| file.map_or(Ok(None), header));
        let headers = headers.collect::<Result<Vec<_>, _>>().map_err(|error| arguments.error(error))?;
        let text = |value: fn(&Header) -> &'static str| -> ArrayRef {
            Arc::new(headers.iter().map(|header| header.as_ref().map(value)).collect::<StringArray>())
        };
        let number = |value: fn(&Header) -> u32| -> ArrayRef {
            Arc::new(headers.iter().map(|header| header.as_ref().map(value)).collect::<UInt32Array>())
        };
        let orientations = headers.iter().map(|header| header.as_ref().map(|header| header.orientation));
        let columns: Vec<ArrayRef> = vec![
            text(|header| header.format.name()),
            number(|header| header.width),
            number(|header| header.height),
            text(|header| header.mode.name()),
            number(|header| u32::try_from(header.mode.channels()).unwrap_or_default()),
            Arc::new(orientations.collect::<UInt8Array>()),
        ];
        let valid = headers.iter().map(Option::is_some).collect::<NullBuffer>();
        Ok(ColumnarValue::Array(Arc::new(StructArray::new(fields(), columns, Some(valid)))))
    }
}
