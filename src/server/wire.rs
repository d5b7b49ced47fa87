//! Results as every client reads them.
//!
//! Arrow's string and binary views are younger than many clients: pyarrow's compute functions and the JDBC driver do not
//! know them all. They are sent as strings and binaries; dictionaries as their values. Embeddings stay fixed-size lists,
//! and extension types keep their metadata.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::execution::size;

/// About the most bytes of a message; a single row may be larger.
pub(super) const MESSAGE_BYTES: usize = 2 << 20;

/// The schema of a result as it is sent. Each column may have NULLs: plans are not always right about that.
pub(super) fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> =
        schema.fields().iter().map(|field| wire_field(field).with_nullable(true)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn wire_field(field: &FieldRef) -> Field {
    field.as_ref().clone().with_data_type(wire_type(field.data_type()))
}

fn wire_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| Arc::new(wire_field(field));
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => wire_type(values),
        DataType::List(field) | DataType::ListView(field) => DataType::List(inner(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(inner(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(inner(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect::<Fields>()),
        other => other.clone(),
    }
}

/// The rows of a batch as they are sent, in parts of about [`MESSAGE_BYTES`]: nothing is copied but what has to be
/// converted, a part at a time.
pub(super) fn wire_batches(
    batch: RecordBatch,
    schema: SchemaRef,
) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send {
    let rows = batch.num_rows();
    let part = part_rows(&batch);
    (0..rows).step_by(part).map(move |start| {
        let slice = batch.slice(start, part.min(rows - start));
        let columns = slice.columns().iter().zip(schema.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast(column, field.data_type())
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(slice.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
    })
}

fn part_rows(batch: &RecordBatch) -> usize {
    let bytes = size(batch.columns());
    let parts = bytes.div_ceil(MESSAGE_BYTES).max(1);
    (batch.num_rows() / parts).max(1)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, AsArray, BinaryViewArray, DictionaryArray, FixedSizeListArray, Float32Array, StringViewArray,
        StructArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn views_and_dictionaries_become_what_every_client_reads() {
        let words: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        let views = StringViewArray::from(vec![Some("a long string that is not inline"), None, Some("x")]);
        let field = Arc::new(Field::new("item", DataType::Float32, true));
        let vectors = FixedSizeListArray::new(field, 2, Arc::new(Float32Array::from(vec![1.0; 6])), None);
        let pixels = BinaryViewArray::from(vec![b"1".as_ref(), b"2", b"3"]);
        let image = StructArray::from(vec![(
            Arc::new(Field::new("data", DataType::BinaryView, true)),
            Arc::new(pixels) as ArrayRef,
        )]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(words), Arc::new(views), Arc::new(vectors), Arc::new(image)];
        let metadata = [("ARROW:extension:name".to_owned(), "x".to_owned())];
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new("c", column.data_type().clone(), false))
            .map(|field| field.with_metadata(metadata.clone().into()))
            .collect();
        let schema = wire_schema(&Schema::new(fields.clone()));
        let fields_sent: Vec<String> =
            schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(fields_sent[..2], ["Utf8", "Utf8"]);
        assert!(fields_sent[2].starts_with("FixedSizeList(2 x"), "{fields_sent:?}");
        assert!(fields_sent[3].contains("Binary") && !fields_sent[3].contains("View"), "{fields_sent:?}");
        assert_eq!(schema.field(3).metadata().get("ARROW:extension:name").map(String::as_str), Some("x"));

        // the plan said that there are no NULLs, and was wrong
        let lenient: Vec<Field> = fields.into_iter().map(|field| field.with_nullable(true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(lenient)), columns).unwrap();
        let sent: Vec<_> = wire_batches(batch, schema).collect::<Result<_, _>>().unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].column(0).as_string::<i32>().value(2), "a");
        assert!(sent[0].column(1).is_null(1));
    }

    #[test]
    fn large_batches_are_sent_in_parts_and_a_large_row_as_it_is() {
        let large = "x".repeat(3 << 20);
        let views = StringViewArray::from(vec![large.as_str(), "a", "b", large.as_str()]);
        let batch = RecordBatch::try_from_iter([("t", Arc::new(views) as ArrayRef)]).unwrap();
        let schema = wire_schema(&batch.schema());
        let sent: Vec<_> = wire_batches(batch, schema).collect::<Result<_, _>>().unwrap();
        let lengths: Vec<usize> = sent.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(lengths.iter().sum::<usize>(), 4);
        assert!(lengths.len() > 1, "{lengths:?}");
    }
}
