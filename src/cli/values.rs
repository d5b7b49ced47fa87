//! A result for programs: csv, tsv, json and newline-delimited json, with full values.
//!
//! An embedding is an array of numbers that read back as the same floats, binary data is hexadecimal, and an image
//! is an object with its mode and size: its pixels are left out, `COPY ... TO 'x.parquet'` writes them.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StringBuilder, StructArray, UInt32Array,
};
use arrow::csv;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited, make_encoder};
use arrow::json::{EncoderOptions, WriterBuilder};
use datafusion::common::Result;

use super::output::Output;
use super::print::{Printed, Rows};
use crate::image::Image;
use crate::types::image::{ImageColumn, ImageType};

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
        let Some(image_type) = ImageType::of(field) else {
            return Ok((Arc::clone(field), Arc::clone(array)));
        };
        let failed = |error: crate::Error| ArrowError::InvalidArgumentError(error.to_string());
        let images = ImageColumn::new(array, image_type).map_err(failed)?;
        let rows = 0..array.len();
        let images = rows.map(|row| images.image(row)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let widths: UInt32Array = images.iter().map(|image| image.as_ref().map(Image::width)).collect();
        let heights: UInt32Array = images.iter().map(|image| image.as_ref().map(Image::height)).collect();
        let modes: StringArray =
            images.iter().map(|image| image.as_ref().map(|image| image.mode().name())).collect();
        let fields = Fields::from(vec![
            Field::new("mode", DataType::Utf8, true),
            Field::new("width", DataType::UInt32, true),
            Field::new("height", DataType::UInt32, true),
        ]);
        let parts: Vec<ArrayRef> = vec![Arc::new(modes), Arc::new(widths), Arc::new(heights)];
        let struct_array = StructArray::try_new(fields, parts, array.nulls().cloned())?;
        let field = Field::new(field.name(), struct_array.data_type().clone(), true);
        Ok((Arc::new(field), Arc::new(struct_array) as ArrayRef))
    })
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
    let (fields, arrays): (Vec<_>, Vec<_>) =
        columns.map(|(field, array)| map(field, array)).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    // the number of rows is known even where there are no columns
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}
