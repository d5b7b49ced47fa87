//! `image_format(bytes)`
use std::sync::Arc;

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::described;
use super::images::{bytes, expect_file};
use crate::image::Format;

const NAME: &str = "image_format";
const PARAMETERS: &[&str] = &["bytes"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The format of an image file by its first bytes: 'png', 'jpeg', 'tiff', 'webp', 'gif', 'bmp' or 'ico'; NULL for anything else. Nothing is decoded.",
    syntax_example = "image_format(bytes)",
    sql_example = "SELECT path, image_format(download(path)) FROM glob('photos/*')",
    argument(name = "bytes", description = "The bytes of a file, or at least its first 16.")
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ImageFormat {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::synchronous(ImageFormat { signature: signature(PARAMETERS, 1) })
}

impl ScalarUDFImpl for ImageFormat {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        expect_file(NAME, arguments.field(0))?;
        Ok(Arc::new(Field::new(NAME, DataType::Utf8, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let formats = bytes(&array)?.into_iter().map(|file| Some(Format::of(file?)?.name()));
        Ok(ColumnarValue::Array(Arc::new(formats.collect::<StringArray>())))
    }
}
