//! How a cell prints in a table: an embedding as a sparkline, an image as its mode and size, binary data cut
//! short. Files and pipes get full values instead (`cli::values`).

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, types::Float64Type};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow::util::display::{
    ArrayFormatter, ArrayFormatterFactory, DisplayIndex, FormatOptions, FormatResult,
};

use super::image::ImageColumn;
pub(crate) use super::kind::Kind;
pub use super::kind::type_name;
pub use super::sparkline::{means, sparkline};

/// Binary values up to this many bytes print whole.
const LONGEST_PLAIN_BINARY: usize = 16;

/// Bytes shown of a longer binary value: what the signature of most file formats needs.
const BINARY_HEAD: usize = 8;

/// Formats embeddings, images and binary data for people; leaves every other type to Arrow.
///
/// A NULL prints as the `null` text of the options.
#[derive(Debug, Clone, Copy)]
pub struct Cells;

impl ArrayFormatterFactory for Cells {
    fn create_array_formatter<'a>(
        &self,
        array: &'a dyn Array,
        options: &FormatOptions<'a>,
        field: Option<&'a Field>,
    ) -> Result<Option<ArrayFormatter<'a>>, ArrowError> {
        let kind = match field {
            // of a dictionary, say, the values come with the field of the whole
            Some(field) if field.data_type() == array.data_type() => Kind::of(field),
            _ => Kind::of(&Field::new("", array.data_type().clone(), true)),
        };
        let null = options.null();
        let cell: Box<dyn DisplayIndex + 'a> = match kind {
            Kind::Embedding { .. } => Box::new(SparklineCell { array, null }),
            Kind::Image(image_type) => match ImageColumn::new(array, image_type) {
                Ok(images) => Box::new(ImageCell { images, null }),
                Err(_) => return Ok(None),
            },
            Kind::Binary => Box::new(BinaryCell { array, null }),
            Kind::Other => return Ok(None),
        };
        Ok(Some(ArrayFormatter::new(cell, options.safe())))
    }
}

/// The formatter of one column: ours where the type has a form of its own, else Arrow's.
pub fn formatter<'a>(
    array: &'a dyn Array,
    field: &'a Field,
    options: &FormatOptions<'a>,
) -> Result<ArrayFormatter<'a>, ArrowError> {
    match Cells.create_array_formatter(array, options, Some(field))? {
        Some(formatter) => Ok(formatter),
        None => ArrayFormatter::try_new(array, options),
    }
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

struct SparklineCell<'a> {
    array: &'a dyn Array,
    null: &'a str,
}

impl DisplayIndex for SparklineCell<'_> {
    fn write(&self, idx: usize, f: &mut dyn Write) -> FormatResult {
        match vector(self.array, idx)? {
            Some(values) => Ok(f.write_str(&sparkline(&values))?),
            None => Ok(f.write_str(self.null)?),
        }
    }
}

/// The items of a vector in a list of any kind, NaN for a NULL; `None` where the vector is NULL.
pub fn vector(array: &dyn Array, row: usize) -> Result<Option<Vec<f64>>, ArrowError> {
    if array.is_null(row) {
        return Ok(None);
    }
    let vector: ArrayRef = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        _ => array.as_fixed_size_list().value(row),
    };
    let vector = cast(&vector, &DataType::Float64)?;
    let values = vector.as_primitive::<Float64Type>().iter();
    Ok(Some(values.map(|value| value.unwrap_or(f64::NAN)).collect()))
}

/// A value of binary data of any kind; `None` where it is NULL.
#[must_use]
pub fn bytes(array: &dyn Array, row: usize) -> Option<&[u8]> {
    array.is_valid(row).then(|| match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        _ => array.as_fixed_size_binary().value(row),
    })
}

struct ImageCell<'a> {
    images: ImageColumn<'a>,
    null: &'a str,
}

impl DisplayIndex for ImageCell<'_> {
    fn write(&self, idx: usize, f: &mut dyn Write) -> FormatResult {
        match self.images.image(idx) {
            Ok(Some(image)) => {
                Ok(write!(f, "<Image {} {}x{}>", image.mode(), image.width(), image.height())?)
            }
            Ok(None) => Ok(f.write_str(self.null)?),
            Err(error) => Err(ArrowError::InvalidArgumentError(error.to_string()).into()),
        }
    }
}

struct BinaryCell<'a> {
    array: &'a dyn Array,
    null: &'a str,
}

impl DisplayIndex for BinaryCell<'_> {
    fn write(&self, idx: usize, f: &mut dyn Write) -> FormatResult {
        let Some(bytes) = bytes(self.array, idx) else {
            return Ok(f.write_str(self.null)?);
        };
        let shown = if bytes.len() > LONGEST_PLAIN_BINARY { BINARY_HEAD } else { bytes.len() };
        f.write_str("x'")?;
        for byte in &bytes[..shown] {
            write!(f, "{byte:02x}")?;
        }
        if shown < bytes.len() {
            return Ok(write!(f, "…' ({} bytes)", grouped(bytes.len()))?);
        }
        Ok(f.write_str("'")?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, FixedSizeListArray, Float32Array, LargeBinaryArray, ListArray, StringArray, StructArray,
        UInt8Array, UInt32Array,
    };
    use arrow::datatypes::{Float32Type, TimeUnit};

    use super::super::{
        EXTENSION_METADATA_KEY, EXTENSION_NAME_KEY, IMAGE_EXTENSION, SPACE_KEY, TENSOR_EXTENSION,
    };
    use super::*;

    fn cell(array: &dyn Array, field: &Field, row: usize) -> String {
        let options = FormatOptions::new().with_null("NULL").with_formatter_factory(Some(&Cells));
        formatter(array, field, &options).unwrap().value(row).to_string()
    }

    fn marked(field: Field, entries: &[(&str, &str)]) -> Field {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        field.with_metadata(entries.collect::<HashMap<_, _>>())
    }

    fn vectors(n: i32) -> FixedSizeListArray {
        let ramp = (0..n).map(|i| Some(f32::from(i16::try_from(i).unwrap()))).collect::<Vec<_>>();
        FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>([Some(ramp), None], n)
    }

    #[test]
    fn a_long_vector_is_a_sparkline_of_bucket_means() {
        let array = vectors(384);
        let field = Field::new("e", array.data_type().clone(), true);
        assert_eq!(cell(&array, &field, 0), "▁▁▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆▇▇▇██");
        assert_eq!(cell(&array, &field, 1), "NULL");
        assert_eq!(type_name(&field), "Embedding[Float32; 384]");
    }

    #[test]
    fn a_short_vector_is_a_sparkline_only_where_it_is_marked() {
        let array = vectors(3);
        let field = Field::new("e", array.data_type().clone(), true);
        assert_eq!(cell(&array, &field, 0), "[0.0, 1.0, 2.0]");
        assert_eq!(type_name(&field), "List[Float32; 3]");
        let field = marked(field, &[(SPACE_KEY, "tiny")]);
        assert_eq!(cell(&array, &field, 0), "▁▅█");
        assert_eq!(type_name(&field), "Embedding[Float32; 3]");
    }

    #[test]
    fn a_variable_size_list_is_an_embedding_where_it_is_marked() {
        let array = ListArray::from_iter_primitive::<Float32Type, _, _>([Some([Some(1.0), Some(0.0)])]);
        let field = marked(Field::new("e", array.data_type().clone(), true), &[(SPACE_KEY, "s")]);
        assert_eq!(cell(&array, &field, 0), "█▁");
        assert_eq!(type_name(&field), "Embedding[Float32]");
    }

    #[test]
    fn an_embedding_inside_a_struct_is_a_sparkline_too() {
        let vectors = vectors(24);
        let item = Arc::new(Field::new("e", vectors.data_type().clone(), true));
        let array = StructArray::from(vec![(item, Arc::new(vectors) as ArrayRef)]);
        let field = Field::new("s", array.data_type().clone(), true);
        assert_eq!(cell(&array, &field, 0), "{e: ▁▁▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆▇▇▇██}");
        assert_eq!(type_name(&field), "Struct[e: Embedding[Float32; 24]]");
    }

    #[test]
    fn an_image_prints_its_mode_and_size() {
        let column = |name: &str, array: ArrayRef| {
            (Arc::new(Field::new(name, array.data_type().clone(), true)), array)
        };
        let array = StructArray::from(vec![
            column("data", Arc::new(LargeBinaryArray::from_vec(vec![b"abcdef"]))),
            column("height", Arc::new(UInt32Array::from(vec![1]))),
            column("width", Arc::new(UInt32Array::from(vec![2]))),
            column("channels", Arc::new(UInt8Array::from(vec![3]))),
            column("mode", Arc::new(StringArray::from(vec!["RGB"]))),
        ]);
        let field = marked(
            Field::new("i", array.data_type().clone(), true),
            &[(EXTENSION_NAME_KEY, IMAGE_EXTENSION)],
        );
        assert_eq!(cell(&array, &field, 0), "<Image RGB 2x1>");
        assert_eq!(type_name(&field), "Image");
    }

    #[test]
    fn a_tensor_of_three_axes_is_an_image() {
        let item = Arc::new(Field::new_list_field(DataType::UInt8, true));
        let array = FixedSizeListArray::new(item, 24, Arc::new(UInt8Array::from(vec![0; 24])), None);
        let field = marked(
            Field::new("i", array.data_type().clone(), true),
            &[(EXTENSION_NAME_KEY, TENSOR_EXTENSION), (EXTENSION_METADATA_KEY, r#"{"shape":[2,4,3]}"#)],
        );
        assert_eq!(cell(&array, &field, 0), "<Image RGB 4x2>");
        assert_eq!(type_name(&field), "Image[RGB; 4x2]");
    }

    #[test]
    fn binary_is_cut_short() {
        let long = [&[0xff, 0xd8, 0xff, 0xe0, 0, 0x10, b'J', b'F'][..], &[0; 2000]].concat();
        let array = BinaryArray::from_opt_vec(vec![Some(b"\x00\xffab"), Some(&long), None]);
        let field = Field::new("b", DataType::Binary, true);
        assert_eq!(cell(&array, &field, 0), "x'00ff6162'");
        assert_eq!(cell(&array, &field, 1), "x'ffd8ffe000104a46…' (2,008 bytes)");
        assert_eq!(cell(&array, &field, 2), "NULL");
    }

    #[test]
    fn other_cells_are_left_to_arrow() {
        let array = Float32Array::from(vec![Some(0.1), None]);
        let field = Field::new("x", DataType::Float32, true);
        assert_eq!((cell(&array, &field, 0), cell(&array, &field, 1)), ("0.1".to_owned(), "NULL".to_owned()));
        assert_eq!(type_name(&field), "Float32");
    }

    #[test]
    fn type_names_are_short() {
        let name = |data_type: DataType| type_name(&Field::new("", data_type, true));
        assert_eq!(name(DataType::Utf8View), "String");
        assert_eq!(name(DataType::Timestamp(TimeUnit::Nanosecond, None)), "Timestamp[ns]");
        assert_eq!(name(DataType::Decimal128(10, 2)), "Decimal[10, 2]");
        assert_eq!(name(DataType::new_list(DataType::LargeUtf8, true)), "List[String]");
        assert_eq!(name(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))), "String");
        assert_eq!(name(DataType::Boolean), "Boolean");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
