//! A column of images, in one of two layouts.
//!
//! - Any size and mode: a struct (data: `LargeBinary`, height: `UInt32`, width: `UInt32`, channels: `UInt16`,
//!   mode: `Utf8`) under the extension type `semantic.image`; a NULL image is a NULL struct. Pixels are row by row,
//!   channels together, each of 8 or 16 bits or a float as the mode says, in the byte order of the machine.
//! - One size and mode, known at plan time: `FixedSizeList` of `UInt8`, `UInt16` or `Float32` under
//!   `arrow.fixed_shape_tensor` with the shape `[height, width, channels]`.
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, LargeBinaryArray, NullBufferBuilder,
    StringBuilder, StructArray, UInt8Array, UInt16Array, UInt16Builder, UInt32Array, UInt32Builder,
};
use arrow::buffer::{Buffer, MutableBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, UInt8Type, UInt16Type, UInt32Type};

use super::{EXTENSION_METADATA_KEY, EXTENSION_NAME_KEY, IMAGE_EXTENSION, MODE_KEY, TENSOR_EXTENSION};
use crate::error::{Result, data_err, query_err};
use crate::image::{Depth, Image, Mode};

/// The layout of a column of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageType {
    /// Any sizes; the mode of all images if it is known.
    Any(Option<Mode>),
    /// All images of one width, height and mode.
    Fixed(u32, u32, Mode),
}

impl ImageType {
    /// The image type that a field declares; `None` if it is no image.
    #[must_use]
    pub fn of(field: &Field) -> Option<Self> {
        let metadata = field.metadata();
        match (metadata.get(EXTENSION_NAME_KEY)?.as_str(), field.data_type()) {
            (IMAGE_EXTENSION, DataType::Struct(_)) => {
                Some(Self::Any(metadata.get(MODE_KEY).and_then(|mode| mode.parse().ok())))
            }
            (TENSOR_EXTENSION, DataType::FixedSizeList(item, _)) => {
                let depth = match item.data_type() {
                    DataType::UInt8 => Depth::U8,
                    DataType::UInt16 => Depth::U16,
                    DataType::Float32 => Depth::F32,
                    _ => return None,
                };
                let [height, width, channels] = parse_shape(metadata.get(EXTENSION_METADATA_KEY)?)?;
                Some(Self::Fixed(width, height, Mode::of(channels as usize, depth)?))
            }
            _ => None,
        }
    }

    /// The image type of a column whose metadata got lost, by its Arrow type alone.
    #[must_use]
    pub fn of_storage(data_type: &DataType) -> Option<Self> {
        let DataType::Struct(fields) = data_type else { return None };
        let [data, height, width, channels, mode] = fields.as_ref() else { return None };
        let same = [data, height, width, channels, mode].iter().zip(&struct_fields()).all(|(field, ours)| {
            field.name() == ours.name()
                && match ours.data_type() {
                    DataType::LargeBinary => is_binary(field.data_type()),
                    DataType::Utf8 => is_string(field.data_type()),
                    exact => field.data_type() == exact,
                }
        });
        same.then_some(Self::Any(None))
    }

    /// The mode of all images, if it is known.
    #[must_use]
    pub fn mode(self) -> Option<Mode> {
        match self {
            Self::Any(mode) => mode,
            Self::Fixed(_, _, mode) => Some(mode),
        }
    }

    /// The Arrow type.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Any(_) => DataType::Struct(struct_fields()),
            Self::Fixed(width, height, mode) => {
                DataType::FixedSizeList(Arc::new(tensor_item(mode)), tensor_size(width, height, mode))
            }
        }
    }

    /// A nullable field with the extension type.
    #[must_use]
    pub fn field(self, name: &str) -> Field {
        let metadata = match self {
            Self::Any(mode) => {
                let mut metadata =
                    HashMap::from([(EXTENSION_NAME_KEY.to_owned(), IMAGE_EXTENSION.to_owned())]);
                metadata.extend(mode.map(|mode| (MODE_KEY.to_owned(), mode.name().to_owned())));
                metadata
            }
            Self::Fixed(width, height, mode) => HashMap::from([
                (EXTENSION_NAME_KEY.to_owned(), TENSOR_EXTENSION.to_owned()),
                (
                    EXTENSION_METADATA_KEY.to_owned(),
                    format!(
                        r#"{{"shape":[{height},{width},{}],"dim_names":["height","width","channels"]}}"#,
                        mode.channels()
                    ),
                ),
            ]),
        };
        Field::new(name, self.data_type(), true).with_metadata(metadata)
    }
}

/// A tensor's shape `[height, width, channels]`.
fn parse_shape(metadata: &str) -> Option<[u32; 3]> {
    #[derive(serde::Deserialize)]
    struct Tensor {
        shape: [u32; 3],
        permutation: Option<[usize; 3]>,
    }
    let tensor: Tensor = serde_json::from_str(metadata).ok()?;
    if tensor.permutation.is_some_and(|order| order != [0, 1, 2]) {
        return None;
    }
    Some(tensor.shape)
}

/// Nullable, though no channel is NULL: `PyArrow` finds no tensor in a Parquet file whose items are not.
fn tensor_item(mode: Mode) -> Field {
    Field::new_list_field(channel_type(mode), true)
}

/// The Arrow type of a channel.
pub(super) fn channel_type(mode: Mode) -> DataType {
    match mode.depth() {
        Depth::U8 => DataType::UInt8,
        Depth::U16 => DataType::UInt16,
        Depth::F32 => DataType::Float32,
    }
}

/// Channels of an image; the most that Arrow can hold in a fixed-size list are 2 Gi.
fn tensor_size(width: u32, height: u32, mode: Mode) -> i32 {
    i32::try_from(u64::from(width) * u64::from(height) * mode.channels() as u64).unwrap_or(i32::MAX)
}

fn struct_fields() -> Fields {
    Fields::from(vec![
        Field::new("data", DataType::LargeBinary, true),
        Field::new("height", DataType::UInt32, true),
        Field::new("width", DataType::UInt32, true),
        Field::new("channels", DataType::UInt16, true),
        Field::new("mode", DataType::Utf8, true),
    ])
}

/// The images of a column, read in place.
#[derive(Debug)]
pub struct ImageColumn<'a>(Layout<'a>);

#[derive(Debug)]
enum Layout<'a> {
    Any {
        /// The whole column, for its NULLs.
        rows: &'a StructArray,
        /// Binary of any kind: what is read back from a file can have changed its layout.
        data: &'a dyn Array,
        height: &'a UInt32Array,
        width: &'a UInt32Array,
        /// Strings of any kind.
        mode: &'a dyn Array,
    },
    Fixed(&'a FixedSizeListArray, u32, u32, Mode),
}

impl<'a> ImageColumn<'a> {
    /// A view of `array` as images of `image_type`; an error if the array has another layout.
    pub fn new(array: &'a dyn Array, image_type: ImageType) -> Result<Self> {
        let layout = match image_type {
            ImageType::Any(_) => array.as_struct_opt().and_then(|rows| {
                Some(Layout::Any {
                    rows,
                    data: rows.column_by_name("data").filter(|data| is_binary(data.data_type()))?,
                    height: rows.column_by_name("height")?.as_primitive_opt::<UInt32Type>()?,
                    width: rows.column_by_name("width")?.as_primitive_opt::<UInt32Type>()?,
                    mode: rows.column_by_name("mode").filter(|mode| is_string(mode.data_type()))?,
                })
            }),
            ImageType::Fixed(width, height, mode) => array
                .as_fixed_size_list_opt()
                .filter(|tensors| {
                    tensors.value_length() == tensor_size(width, height, mode)
                        && tensors.values().data_type() == tensor_item(mode).data_type()
                })
                .map(|tensors| Layout::Fixed(tensors, width, height, mode)),
        };
        match layout {
            Some(layout) => Ok(Self(layout)),
            None => query_err!("expected images as {}, found {}", image_type.data_type(), array.data_type()),
        }
    }

    /// The image of a row, its pixels borrowed; `None` if it is NULL, an error if its parts contradict each other.
    pub fn image(&self, row: usize) -> Result<Option<Image<'a>>> {
        match self.0 {
            Layout::Any { rows, data, height, width, mode } => {
                let parts: [&dyn Array; 5] = [rows, data, height, width, mode];
                if parts.iter().any(|part| part.is_null(row)) {
                    return Ok(None);
                }
                let mode = string(mode, row);
                let Ok(mode) = mode.parse() else {
                    return data_err!("unknown image mode '{mode}'");
                };
                Image::new(width.value(row), height.value(row), mode, binary(data, row)).map(Some)
            }
            Layout::Fixed(tensors, width, height, mode) => {
                if tensors.is_null(row) {
                    return Ok(None);
                }
                let channels = tensors.values();
                let channels: &'a [u8] = match mode.depth() {
                    Depth::U8 => channels.as_primitive::<UInt8Type>().values().inner(),
                    Depth::U16 => channels.as_primitive::<UInt16Type>().values().inner(),
                    Depth::F32 => channels.as_primitive::<Float32Type>().values().inner(),
                };
                let size = usize::try_from(tensors.value_length()).unwrap_or_default() * mode.depth().bytes();
                // Arrow's own offset is an i32
                let start = row * size;
                Image::new(width, height, mode, &channels[start..start + size]).map(Some)
            }
        }
    }
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn binary(array: &dyn Array, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        _ => array.as_binary_view().value(row),
    }
}

fn is_string(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn string(array: &dyn Array, row: usize) -> &str {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        _ => array.as_string_view().value(row),
    }
}

/// Builds a column of images of one [`ImageType`].
#[derive(Debug)]
pub struct ImageBuilder {
    valid: NullBufferBuilder,
    /// All pixels of all rows.
    pixels: Vec<u8>,
    values: Values,
}

/// What there is beside the pixels.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for a column")]
enum Values {
    /// A NULL image is NULL in each.
    Any {
        /// Where the pixels of each row end.
        ends: Vec<i64>,
        height: UInt32Builder,
        width: UInt32Builder,
        channels: UInt16Builder,
        mode: StringBuilder,
    },
    /// Width, height and mode of each; the pixels of a NULL are zeros.
    Fixed(u32, u32, Mode),
}

impl ImageBuilder {
    /// A builder for about `rows` images.
    #[must_use]
    pub fn new(image_type: ImageType, rows: usize) -> Self {
        let values = match image_type {
            ImageType::Any(_) => Values::Any {
                ends: Vec::with_capacity(rows),
                height: UInt32Builder::with_capacity(rows),
                width: UInt32Builder::with_capacity(rows),
                channels: UInt16Builder::with_capacity(rows),
                mode: StringBuilder::new(),
            },
            ImageType::Fixed(width, height, mode) => Values::Fixed(width, height, mode),
        };
        Self { valid: NullBufferBuilder::new(rows), pixels: Vec::new(), values }
    }

    /// Appends an image or a NULL; an error if a fixed column gets another size or mode. The pixels of the first image
    /// are not copied if it owns them.
    pub fn append(&mut self, image: Option<Image<'_>>) -> Result<()> {
        self.valid.append(image.is_some());
        match &mut self.values {
            Values::Any { ends, height, width, channels, mode } => {
                height.append_option(image.as_ref().map(Image::height));
                width.append_option(image.as_ref().map(Image::width));
                let image_mode = image.as_ref().map(Image::mode);
                channels.append_option(image_mode.and_then(|mode| u16::try_from(mode.channels()).ok()));
                mode.append_option(image_mode.map(Mode::name));
                if let Some(image) = image {
                    append_pixels(&mut self.pixels, image.into_cow());
                }
                ends.push(i64::try_from(self.pixels.len()).unwrap_or(i64::MAX));
            }
            Values::Fixed(width, height, mode) => match image {
                Some(image) if (image.width(), image.height(), image.mode()) == (*width, *height, *mode) => {
                    append_pixels(&mut self.pixels, image.into_cow());
                }
                Some(image) => {
                    return query_err!(
                        "expected an image of {width}x{height} in mode {mode}, found {}x{} in mode {}",
                        image.width(),
                        image.height(),
                        image.mode()
                    );
                }
                None => {
                    let size = *width as usize * *height as usize * mode.bytes();
                    self.pixels.resize(self.pixels.len() + size, 0);
                }
            },
        }
        Ok(())
    }

    /// The column.
    #[must_use]
    pub fn finish(mut self) -> ArrayRef {
        let nulls = self.valid.finish();
        match self.values {
            Values::Any { ends, mut height, mut width, mut channels, mut mode } => {
                let ends = std::iter::once(0).chain(ends).collect::<Vec<_>>();
                let data = LargeBinaryArray::new(
                    OffsetBuffer::new(ScalarBuffer::from(ends)),
                    Buffer::from_vec(self.pixels),
                    nulls.clone(),
                );
                let columns: Vec<ArrayRef> = vec![
                    Arc::new(data),
                    Arc::new(height.finish()),
                    Arc::new(width.finish()),
                    Arc::new(channels.finish()),
                    Arc::new(mode.finish()),
                ];
                Arc::new(StructArray::new(struct_fields(), columns, nulls))
            }
            Values::Fixed(width, height, mode) => {
                let channels: ArrayRef = match mode.depth() {
                    Depth::U8 => Arc::new(UInt8Array::from(self.pixels)),
                    Depth::U16 => Arc::new(UInt16Array::new(aligned(&self.pixels).into(), None)),
                    Depth::F32 => Arc::new(Float32Array::new(aligned(&self.pixels).into(), None)),
                };
                let size = tensor_size(width, height, mode);
                Arc::new(FixedSizeListArray::new(Arc::new(tensor_item(mode)), size, channels, nulls))
            }
        }
    }
}

fn append_pixels(all: &mut Vec<u8>, pixels: Cow<'_, [u8]>) {
    match pixels {
        Cow::Owned(pixels) if all.is_empty() => *all = pixels,
        pixels => all.extend_from_slice(&pixels),
    }
}

/// A copy at an address that any number may have.
pub(super) fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_give_back_what_they_were_given() {
        let types = Mode::ALL.into_iter().flat_map(|mode| {
            [ImageType::Any(None), ImageType::Any(Some(mode)), ImageType::Fixed(2, 1, mode)]
                .map(|image_type| (mode, image_type))
        });
        for (mode, image_type) in types {
            let pixels = (0..2 * mode.bytes()).map(|byte| u8::try_from(byte).unwrap()).collect::<Vec<_>>();
            let image = Image::new(2, 1, mode, pixels).unwrap();
            let mut builder = ImageBuilder::new(image_type, 3);
            for row in [Some(image.clone()), None, Some(image.borrowed())] {
                builder.append(row).unwrap();
            }
            let array = builder.finish();
            assert_eq!(array.data_type(), &image_type.data_type());
            assert_eq!(ImageType::of(&image_type.field("image")), Some(image_type));
            // a slice, so that offsets count
            let array = array.slice(1, 2);
            let column = ImageColumn::new(&array, image_type).unwrap();
            assert_eq!(column.image(0).unwrap(), None);
            assert_eq!(column.image(1).unwrap().as_ref(), Some(&image));
        }
    }

    #[test]
    fn a_fixed_column_refuses_another_size() {
        let mut builder = ImageBuilder::new(ImageType::Fixed(2, 2, Mode::L), 1);
        let image = Image::new(1, 1, Mode::L, vec![1]).unwrap();
        assert!(
            builder
                .append(Some(image))
                .unwrap_err()
                .to_string()
                .contains("2x2 in mode L, found 1x1 in mode L")
        );
    }

    #[test]
    fn contradictions_are_errors() {
        let mut builder = ImageBuilder::new(ImageType::Any(None), 1);
        builder.append(Some(Image::new(1, 1, Mode::L, vec![1]).unwrap())).unwrap();
        let array = builder.finish();
        let rows = array.as_struct();
        let mut columns = rows.columns().to_vec();
        columns[1] = Arc::new(UInt32Array::from(vec![9]));
        let lying = StructArray::new(rows.fields().clone(), columns, None);
        let column = ImageColumn::new(&lying, ImageType::Any(None)).unwrap();
        assert!(column.image(0).unwrap_err().to_string().contains("1x9"));
    }
}
