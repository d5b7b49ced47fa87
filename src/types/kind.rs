//! What a column holds, as far as showing it goes, and the name of its type.

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::{EXTENSION_METADATA_KEY, EXTENSION_NAME_KEY, IMAGE_EXTENSION, SPACE_KEY, TENSOR_EXTENSION};

/// A fixed-size list of floats longer than this is shown as an embedding although nothing marks it as one.
const LONGEST_PLAIN_LIST: i32 = 16;

/// What a column holds, as far as printing it goes.
pub(super) enum Kind {
    /// `dimensions` is unknown for a variable-size list
    Embedding {
        item: DataType,
        dimensions: Option<i32>,
    },
    Tensor(ImageSize),
    /// the struct layout, every row with its own mode and size
    Image,
    Binary,
    Other,
}

impl Kind {
    /// Reads the type and the marks of a field.
    pub(super) fn of(field: &Field) -> Self {
        let marked = field.metadata().contains_key(SPACE_KEY);
        let extension = field.metadata().get(EXTENSION_NAME_KEY).map(String::as_str);
        match field.data_type() {
            DataType::FixedSizeList(item, n)
                if item.data_type().is_floating() && (marked || *n > LONGEST_PLAIN_LIST) =>
            {
                Self::Embedding {
                    item: item.data_type().clone(),
                    dimensions: Some(*n),
                }
            }
            DataType::List(item) | DataType::LargeList(item) if marked && item.data_type().is_floating() => {
                Self::Embedding {
                    item: item.data_type().clone(),
                    dimensions: None,
                }
            }
            DataType::FixedSizeList(item, _)
                if extension == Some(TENSOR_EXTENSION) && *item.data_type() == DataType::UInt8 =>
            {
                let size = field
                    .metadata()
                    .get(EXTENSION_METADATA_KEY)
                    .and_then(|json| tensor_size(json));
                size.map_or(Self::Other, Self::Tensor)
            }
            DataType::Struct(_) if extension == Some(IMAGE_EXTENSION) => Self::Image,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Binary,
            _ => Self::Other,
        }
    }
}

/// Reads `{"shape":[288,200,3]}`; `None` where that is not the shape of an image.
fn tensor_size(json: &str) -> Option<ImageSize> {
    let metadata: serde_json::Value = serde_json::from_str(json).ok()?;
    let shape = metadata.get("shape")?.as_array()?;
    let [height, width, channels] = shape.as_slice() else {
        return None;
    };
    let mode = match channels.as_u64()? {
        1 => "L",
        2 => "LA",
        3 => "RGB",
        4 => "RGBA",
        _ => return None,
    };
    Some(ImageSize {
        mode,
        width: width.as_u64()?,
        height: height.as_u64()?,
    })
}

/// The type of a column as the header shows it: `Embedding[Float32; 384]`, `Image[RGB; 288x288]`, `String`.
#[must_use]
pub fn type_name(field: &Field) -> String {
    match Kind::of(field) {
        Kind::Embedding {
            item,
            dimensions: Some(n),
        } => format!("Embedding[{item}; {n}]"),
        Kind::Embedding {
            item,
            dimensions: None,
        } => format!("Embedding[{item}]"),
        Kind::Tensor(ImageSize { mode, width, height }) => format!("Image[{mode}; {width}x{height}]"),
        Kind::Image => "Image".to_owned(),
        Kind::Binary | Kind::Other => plain_type_name(field.data_type()),
    }
}

/// Mode and size, in pixels, that every image of a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSize {
    /// `L`, `LA`, `RGB` or `RGBA`
    pub mode: &'static str,
    /// columns
    pub width: u64,
    /// rows
    pub height: u64,
}

/// Whether the field holds decoded images, each with its own mode and size.
#[must_use]
pub fn is_image(field: &Field) -> bool {
    matches!(Kind::of(field), Kind::Image)
}

/// The mode and size of the images of this field, where they are all the same: a tensor says so.
#[must_use]
pub fn image_size(field: &Field) -> Option<ImageSize> {
    match Kind::of(field) {
        Kind::Tensor(size) => Some(size),
        _ => None,
    }
}

/// Arrow's type names, without what only a program needs.
fn plain_type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "String".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "Binary".to_owned(),
        DataType::FixedSizeBinary(n) => format!("Binary[{n}]"),
        DataType::Date32 | DataType::Date64 => "Date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "Time".to_owned(),
        DataType::Duration(_) => "Duration".to_owned(),
        DataType::Interval(_) => "Interval".to_owned(),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second => "s",
                TimeUnit::Millisecond => "ms",
                TimeUnit::Microsecond => "us",
                TimeUnit::Nanosecond => "ns",
            };
            zone.as_ref().map_or_else(
                || format!("Timestamp[{unit}]"),
                |zone| format!("Timestamp[{unit}, {zone}]"),
            )
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("Decimal[{precision}, {scale}]"),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => format!("List[{}]", type_name(item)),
        DataType::FixedSizeList(item, n) => format!("List[{}; {n}]", type_name(item)),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{}: {}", field.name(), type_name(field)))
                .collect();
            format!("Struct[{}]", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("Map[{}, {}]", type_name(&fields[0]), type_name(&fields[1]))
            }
            _ => "Map".to_owned(),
        },
        DataType::Dictionary(_, value) => plain_type_name(value),
        DataType::RunEndEncoded(_, value) => type_name(value),
        DataType::Union(..) => "Union".to_owned(),
        other => other.to_string(),
    }
}
