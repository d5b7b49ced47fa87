//! The keys of tables: there are none, but clients ask.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::error::Result;

/// The columns of the answer to `CommandGetPrimaryKeys`.
const PRIMARY: [(&str, DataType, bool); 6] = [
    ("catalog_name", DataType::Utf8, true),
    ("db_schema_name", DataType::Utf8, true),
    ("table_name", DataType::Utf8, false),
    ("column_name", DataType::Utf8, false),
    ("key_name", DataType::Utf8, true),
    ("key_sequence", DataType::Int32, false),
];

/// Those of the answers about foreign keys.
const FOREIGN: [(&str, DataType, bool); 13] = [
    ("pk_catalog_name", DataType::Utf8, true),
    ("pk_db_schema_name", DataType::Utf8, true),
    ("pk_table_name", DataType::Utf8, false),
    ("pk_column_name", DataType::Utf8, false),
    ("fk_catalog_name", DataType::Utf8, true),
    ("fk_db_schema_name", DataType::Utf8, true),
    ("fk_table_name", DataType::Utf8, false),
    ("fk_column_name", DataType::Utf8, false),
    ("key_sequence", DataType::Int32, false),
    ("fk_key_name", DataType::Utf8, true),
    ("pk_key_name", DataType::Utf8, true),
    ("update_rule", DataType::UInt8, false),
    ("delete_rule", DataType::UInt8, false),
];

#[expect(clippy::unnecessary_wraps, reason = "as the other answers about the catalog")]
pub(super) fn primary() -> Result<RecordBatch> {
    Ok(none(&PRIMARY))
}

#[expect(clippy::unnecessary_wraps, reason = "as the other answers about the catalog")]
pub(super) fn foreign() -> Result<RecordBatch> {
    Ok(none(&FOREIGN))
}

fn none(columns: &[(&str, DataType, bool)]) -> RecordBatch {
    let fields = columns.iter().map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable));
    RecordBatch::new_empty(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}
