//! A result for programs: csv, tsv, json and newline-delimited json, with full values.
//!
//! An embedding is an array of numbers that read back as the same floats, binary data is hexadecimal, and an image
//! is an object with its mode and size: its pixels are left out, `COPY ... TO 'x.parquet'` writes them.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder, StructArray,
    UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::csv;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited, make_encoder};
use arrow::json::{EncoderOptions, WriterBuilder};
use datafusion::common::Result;

use super::print::{Output, Printed, Rows};
use crate::types::display::{ImageSize, image_size, is_image};

/// Writes a header, also above an empty result. A NULL is an empty field.
pub async fn print_csv(mut rows: Rows, delimiter: u8, out: &mut Output) -> Result<Printed> {
    let mut writer = csv::WriterBuilder::new().with_delimiter(delimiter).build(out);
    writer.write(&with_texts(&RecordBatch::new_empty(rows.schema()))?)?;
    while let Some(batch) = rows.next().await? {
        writer.write(&with_texts(&batch)?)?;
    }
    Ok(rows.printed())
}

/// Writes one array of objects, `[]` for an empty result.
pub async fn print_json(rows: Rows, out: &mut Output) -> Result<Printed> {
    let printed = print_objects::<JsonArray>(rows, out).await?;
    writeln!(out)?;
    Ok(printed)
}

/// Writes one object per line.
pub async fn print_ndjson(rows: Rows, out: &mut Output) -> Result<Printed> {
    print_objects::<LineDelimited>(rows, out).await
}

async fn print_objects<F: JsonFormat>(mut rows: Rows, out: &mut Output) -> Result<Printed> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, F>(out);
    while let Some(batch) = rows.next().await? {
        writer.write(&with_distinct_names(&without_pixels(&batch)?)?)?;
        writer.get_mut().flush()?;
    }
    writer.finish()?;
    Ok(rows.printed())
}

/// Nested columns as JSON, which is what a field of a csv file can hold.
fn with_texts(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    map_columns(&without_pixels(batch)?, |field, array| {
        if !array.data_type().is_nested() {
            return Ok((Arc::clone(field), Arc::clone(array)));
        }
        let options = EncoderOptions::default().with_explicit_nulls(true);
        let mut encoder = make_encoder(field, array, &options)?;
        let mut texts = StringBuilder::new();
        let mut json = Vec::new();
        for row in 0..array.len() {
            if encoder.is_null(row) {
                texts.append_null();
            } else {
                json.clear();
                encoder.encode(row, &mut json);
                texts.append_value(String::from_utf8_lossy(&json));
            }
        }
        let texts: ArrayRef = Arc::new(texts.finish());
        Ok((Arc::new(Field::new(field.name(), DataType::Utf8, true)), texts))
    })
}

/// Images as structs of mode, width and height.
fn without_pixels(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    map_columns(batch, |field, array| {
        let image = if is_image(field) {
            own_size(array.as_struct())?
        } else if let Some(size) = image_size(field) {
            common_size(size, array)?
        } else {
            return Ok((Arc::clone(field), Arc::clone(array)));
        };
        let field = Field::new(field.name(), image.data_type().clone(), true);
        Ok((Arc::new(field), Arc::new(image) as ArrayRef))
    })
}

/// Of images that each have their own mode and size.
fn own_size(images: &StructArray) -> Result<StructArray, ArrowError> {
    let mut parts = Vec::new();
    for name in ["mode", "width", "height"] {
        let Some(part) = images.column_by_name(name) else {
            return Err(ArrowError::SchemaError(format!(
                "image column has no field {name}"
            )));
        };
        parts.push((name, Arc::clone(part)));
    }
    struct_of(parts, images.nulls().cloned())
}

/// Of images that all have the same.
fn common_size(size: ImageSize, images: &ArrayRef) -> Result<StructArray, ArrowError> {
    let rows = images.len();
    let parts: Vec<(&str, ArrayRef)> = vec![
        ("mode", Arc::new(StringArray::from(vec![size.mode; rows]))),
        ("width", Arc::new(UInt64Array::from(vec![size.width; rows]))),
        ("height", Arc::new(UInt64Array::from(vec![size.height; rows]))),
    ];
    struct_of(parts, images.nulls().cloned())
}

fn struct_of(parts: Vec<(&str, ArrayRef)>, nulls: Option<NullBuffer>) -> Result<StructArray, ArrowError> {
    let fields: Fields = parts
        .iter()
        .map(|(name, part)| Field::new(*name, part.data_type().clone(), true))
        .collect();
    StructArray::try_new(fields, parts.into_iter().map(|(_, part)| part).collect(), nulls)
}

/// An object has no two keys of one name: of `id`, `id` the second becomes `id_2`.
fn with_distinct_names(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut taken: Vec<String> = Vec::new();
    map_columns(batch, |field, array| {
        let mut name = field.name().clone();
        let mut number = 1;
        while taken.contains(&name) {
            number += 1;
            name = format!("{}_{number}", field.name());
        }
        taken.push(name.clone());
        let field = if name == *field.name() {
            Arc::clone(field)
        } else {
            Arc::new(field.as_ref().clone().with_name(name))
        };
        Ok((field, Arc::clone(array)))
    })
}

fn map_columns(
    batch: &RecordBatch,
    mut map: impl FnMut(&FieldRef, &ArrayRef) -> Result<(FieldRef, ArrayRef), ArrowError>,
) -> Result<RecordBatch, ArrowError> {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns());
    let (fields, arrays): (Vec<_>, Vec<_>) = columns
        .map(|(field, array)| map(field, array))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .unzip();
    // the number of rows is known even where there are no columns
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}
