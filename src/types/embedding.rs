//! An embedding: `FixedSizeList<Float32, dimensions>`, or `List<Float32>`, with the name of its space in the field's metadata.
use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::{MODEL_KEY, NORMALIZED_KEY, SPACE_KEY};

/// What makes vectors comparable: who made them, how long they are, and whether they are normalised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmbeddingSpace {
    name: String,
    dimensions: Option<usize>,
    normalized: bool,
}

impl EmbeddingSpace {
    /// `name` is the identity of the text encoder: variants of a model share it, and an image encoder may name the
    /// text encoder whose space it was made for. `normalized` promises vectors of length 1.
    #[must_use]
    pub fn new(name: impl Into<String>, dimensions: usize, normalized: bool) -> Self {
        Self { name: name.into(), dimensions: Some(dimensions), normalized }
    }

    /// A space of which nobody says how long its vectors are before there is one; nothing promises that they are
    /// normalised.
    #[must_use]
    pub fn of_any_dimensions(name: impl Into<String>) -> Self {
        Self { name: name.into(), dimensions: None, normalized: false }
    }

    /// The identity of the encoder, for example `sentence-transformers/all-MiniLM-L6-v2`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of its vectors, where it is known.
    #[must_use]
    pub fn dimensions(&self) -> Option<usize> {
        self.dimensions
    }

    /// True if every vector has length 1.
    #[must_use]
    pub fn is_normalized(&self) -> bool {
        self.normalized
    }

    /// The type of a column of its embeddings: `FixedSizeList`, or `List` where their length is not known. The vectors' items are declared nullable, as `SQL` casts and list
    /// functions expect, and are never NULL.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        match self.dimensions {
            Some(dimensions) => DataType::FixedSizeList(item, i32::try_from(dimensions).unwrap_or(i32::MAX)),
            None => DataType::List(item),
        }
    }

    /// A nullable field for embeddings of this space that were made by `model` (`provider/model`).
    #[must_use]
    pub fn field(&self, name: &str, model: &str) -> Field {
        Field::new(name, self.data_type(), true).with_metadata(HashMap::from([
            (SPACE_KEY.to_owned(), self.name.clone()),
            (MODEL_KEY.to_owned(), model.to_owned()),
            (NORMALIZED_KEY.to_owned(), self.normalized.to_string()),
        ]))
    }
}

/// The metadata of vectors that were computed from those of `field` and live in the same space; `normalized` promises
/// that they have length 1. None where the space is unknown.
#[must_use]
pub fn space_metadata(field: &Field, normalized: bool) -> HashMap<String, String> {
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| key == SPACE_KEY || key == MODEL_KEY);
    if metadata.contains_key(SPACE_KEY) {
        metadata.insert(NORMALIZED_KEY.to_owned(), normalized.to_string());
    }
    metadata
}

/// The space that a field declares; `None` means unknown: metadata gets lost in casts and subqueries.
#[must_use]
pub fn space_name(field: &Field) -> Option<&str> {
    field.metadata().get(SPACE_KEY).map(String::as_str)
}
