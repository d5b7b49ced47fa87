//! What a column holds, as far as showing it goes, and the name of its type.

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::SPACE_KEY;
use super::image::ImageType;

/// A fixed-size list of floats longer than this is shown as an embedding although nothing marks it as one.
const LONGEST_PLAIN_LIST: i32 = 16;

/// What a column holds, as far as printing it goes.
pub(crate) enum Kind {
    /// `dimensions` is unknown for a variable-size list
    Embedding {
        item: DataType,
        dimensions: Option<i32>,
    },
    Image(ImageType),
    Binary,
    Other,
}

impl Kind {
    /// Reads the type and the marks of a field.
    pub(crate) fn of(field: &Field) -> Self {
        let marked = field.metadata().contains_key(SPACE_KEY);
        if let Some(image_type) = ImageType::of(field) {
            return Self::Image(image_type);
        }
        match field.data_type() {
            DataType::FixedSizeList(item, n)
                if item.data_type().is_floating() && (marked || *n > LONGEST_PLAIN_LIST) =>
            {
                Self::Embedding { item: item.data_type().clone(), dimensions: Some(*n) }
            }
            DataType::List(item) | DataType::LargeList(item) if marked && item.data_type().is_floating() => {
                Self::Embedding { item: item.data_type().clone(), dimensions: None }
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Binary,
            _ => Self::Other,
        }
    }
}

/// The type of a column as the header shows it: `Embedding[Float32; 384]`, `Image[RGB; 288x288]`, `String`.
#[must_use]
pub fn type_name(field: &Field) -> String {
    match Kind::of(field) {
        Kind::Embedding { item, dimensions: Some(n) } => format!("Embedding[{item}; {n}]"),
        Kind::Embedding { item, dimensions: None } => format!("Embedding[{item}]"),
        Kind::Image(ImageType::Fixed(width, height, mode)) => format!("Image[{mode}; {width}x{height}]"),
        Kind::Image(ImageType::Any(Some(mode))) => format!("Image[{mode}]"),
        Kind::Image(ImageType::Any(None)) => "Image".to_owned(),
        Kind::Binary | Kind::Other => plain_type_name(field.data_type()),
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
            zone.as_ref()
                .map_or_else(|| format!("Timestamp[{unit}]"), |zone| format!("Timestamp[{unit}, {zone}]"))
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
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{}: {}", field.name(), type_name(field))).collect();
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
