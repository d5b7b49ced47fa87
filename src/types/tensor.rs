//! A column of tensors of several shapes, Arrow's `arrow.variable_shape_tensor`: a struct (data: list of channels, shape:
//! `[height, width, channels]` as `FixedSizeList<Int32, 3>`).
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, ListArray, NullBufferBuilder, StructArray,
    UInt8Array, UInt16Array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};

use super::image::{aligned, channel_type};
use super::{EXTENSION_METADATA_KEY, EXTENSION_NAME_KEY};
use crate::error::{Error, Result, query_err};
use crate::image::{Depth, Image, Mode};

/// Arrow's name of the extension type.
const EXTENSION: &str = "arrow.variable_shape_tensor";

/// A nullable field of the pixels of images in `mode`.
#[must_use]
pub fn field(name: &str, mode: Mode) -> Field {
    let metadata = [
        (EXTENSION_NAME_KEY, EXTENSION),
        (EXTENSION_METADATA_KEY, r#"{"dim_names":["height","width","channels"]}"#),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Field::new(name, DataType::Struct(fields(mode)), true).with_metadata(HashMap::from(metadata))
}

fn item(mode: Mode) -> Arc<Field> {
    Arc::new(Field::new_list_field(channel_type(mode), false))
}

fn side() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Int32, false))
}

fn fields(mode: Mode) -> Fields {
    Fields::from(vec![
        Field::new("data", DataType::List(item(mode)), false),
        Field::new("shape", DataType::FixedSizeList(side(), 3), false),
    ])
}

/// The pixels of images in `mode`; a NULL is empty. An error if one has another mode, or all have more than 2 Gi
/// channels, which a list of Arrow cannot hold.
pub fn column<'a>(images: impl Iterator<Item = Result<Option<Image<'a>>>>, mode: Mode) -> Result<ArrayRef> {
    let (mut pixels, mut ends, mut shapes) = (Vec::new(), vec![0_i32], Vec::new());
    let mut valid = NullBufferBuilder::new(0);
    for image in images {
        let image = image?;
        valid.append(image.is_some());
        let shape = match &image {
            Some(image) if image.mode() == mode => {
                pixels.extend_from_slice(image.pixels());
                [image.height() as usize, image.width() as usize, mode.channels()]
            }
            Some(image) => {
                return query_err!("expected an image in mode {mode}, found one in {}", image.mode());
            }
            None => [0; 3],
        };
        for number in shape {
            shapes.push(i32::try_from(number).unwrap_or(i32::MAX));
        }
        ends.push(i32::try_from(pixels.len() / mode.depth().bytes()).map_err(|_| {
            Error::Query(
                "the images of a batch have more than 2147483647 channels in all: resize them".to_owned(),
            )
        })?);
    }
    let channels: ArrayRef = match mode.depth() {
        Depth::U8 => Arc::new(UInt8Array::from(pixels)),
        Depth::U16 => Arc::new(UInt16Array::new(aligned(&pixels).into(), None)),
        Depth::F32 => Arc::new(Float32Array::new(aligned(&pixels).into(), None)),
    };
    let data = ListArray::new(item(mode), OffsetBuffer::new(ScalarBuffer::from(ends)), channels, None);
    let shape = FixedSizeListArray::new(side(), 3, Arc::new(Int32Array::from(shapes)), None);
    Ok(Arc::new(StructArray::new(fields(mode), vec![Arc::new(data), Arc::new(shape)], valid.finish())))
}
