//! What the functions that read one property of decoded images have in common: all but their names and texts.
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, StringArray, UInt32Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};

use super::arguments::{Arguments, signature};
use super::images::{decoded, planned_images};
use crate::image::Image;

const PARAMETERS: &[&str] = &["image"];

/// A property of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Property {
    Width,
    Height,
    Channels,
    Mode,
}

/// A function that gives a property of images: a `UInt32`, or the name of the mode.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ImageAttribute {
    name: &'static str,
    property: Property,
    documentation: Option<Documentation>,
    signature: Signature,
}

impl ImageAttribute {
    pub(super) fn new(name: &'static str, property: Property, documentation: Option<&Documentation>) -> Self {
        let documentation = documentation.cloned();
        Self { name, property, documentation, signature: signature(PARAMETERS, 1) }
    }
}

impl ScalarUDFImpl for ImageAttribute {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.property {
            Property::Mode => DataType::Utf8,
            _ => DataType::UInt32,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        planned_images(self.name, &Arguments::planned(self.name, PARAMETERS, 1, &args)?)?;
        Ok(Arc::new(Field::new(self.name, self.return_type(&[])?, true)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.documentation.as_ref()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(self.name, PARAMETERS, &args);
        let array = args.args[0].to_array(args.number_rows)?;
        let images = decoded(&array, arguments.field(0)).map_err(|error| arguments.error(error))?;
        let images = (0..array.len()).map(|row| match &images {
            Some(images) => images.image(row).map_err(|error| arguments.error(error)),
            None => Ok(None),
        });
        let number = |image: Image<'_>| match self.property {
            Property::Width => image.width(),
            Property::Height => image.height(),
            _ => u32::try_from(image.mode().channels()).unwrap_or_default(),
        };
        let column: ArrayRef = match self.property {
            Property::Mode => {
                let modes = images.map(|image| Ok(image?.map(|image| image.mode().name())));
                Arc::new(modes.collect::<Result<StringArray>>()?)
            }
            _ => Arc::new(images.map(|image| Ok(image?.map(number))).collect::<Result<UInt32Array>>()?),
        };
        Ok(ColumnarValue::Array(column))
    }
}
