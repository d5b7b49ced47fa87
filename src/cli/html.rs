//! A result for a browser: one page that needs nothing else, however many results are in it.
//!
//! Images are thumbnails in `data:` URIs, embeddings are drawn as SVG, columns sort by a click on their name. Nothing is
//! loaded from anywhere: the page's own policy forbids it.

use std::fmt::Write as _;
use std::io::Write;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, DurationFormat, FormatOptions};
use datafusion::common::Result;

use super::output::Output;
use super::print::{Printed, Rows};
use super::settings::Settings;
use super::thumbnails::{Pictures, data_uri};
use crate::types::display::{Cells, Kind, formatter, means, type_name, vector};

/// The longer side of a thumbnail in pixels: some 5 KB as JPEG.
const THUMBNAIL: u32 = 160;

/// The bars of a vector, and the height of the highest.
const BARS: usize = 96;
const BAR_HEIGHT: f64 = 24.0;

/// The end tags of body and html may be left out, so that any number of results can follow.
const HEAD: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; ",
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n",
    "<meta name=\"viewport\" content=\"width=device-width\">\n<title>semsql</title>\n<style>\n",
    include_str!("page.css"),
    "</style>\n<script>\n",
    include_str!("page.js"),
    "</script>\n</head>\n<body>\n"
);

/// Writes a table as its rows arrive; the first of an output after the head of the page.
pub async fn print(mut rows: Rows, settings: &Settings, out: &mut Output) -> Result<Printed> {
    if !out.has_head {
        out.write_all(HEAD.as_bytes())?;
        out.has_head = true;
    }
    out.write_all(header(&rows.schema()).as_bytes())?;
    while let Some(batch) = rows.next().await? {
        write_rows(&batch, &settings.null, out)?;
        out.flush()?;
    }
    writeln!(out, "</tbody></table></div>")?;
    rows.count_rest().await
}

/// What stands below a table.
pub fn write_count(count: &str, out: &mut Output) -> std::io::Result<()> {
    writeln!(out, "<p class=\"count\">{}</p>", escaped(count))
}

fn header(schema: &Schema) -> String {
    let mut text = "<div class=\"result\"><table><thead><tr>".to_owned();
    for field in schema.fields() {
        let class = if field.data_type().is_numeric() { " class=\"number\"" } else { "" };
        let (name, kind) = (escaped(field.name()), escaped(&type_name(field)));
        // writing to a string cannot fail
        let _ = write!(
            text,
            "<th{class} aria-sort=\"none\"><button>{name}<span class=\"type\">{kind}</span></button></th>"
        );
    }
    text.push_str("</tr></thead><tbody>\n");
    text
}

/// How the cells of a column are shown.
struct Column<'a> {
    texts: ArrayFormatter<'a>,
    array: &'a dyn Array,
    is_number: bool,
    is_vector: bool,
    pictures: Option<Pictures<'a>>,
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array, field: &'a Field, options: &FormatOptions<'a>) -> Result<Self, ArrowError> {
        Ok(Self {
            texts: formatter(array, field, options)?,
            array,
            is_number: array.data_type().is_numeric(),
            is_vector: matches!(Kind::of(field), Kind::Embedding { .. }),
            pictures: Pictures::of(array, field),
        })
    }

    fn write(&self, row: usize, null: &str, cell: &mut String) -> Result<(), ArrowError> {
        let text = self.texts.value(row).try_to_string()?;
        // a NULL inside a dictionary is one too, and prints as nothing else does
        if self.array.is_null(row) || self.array.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
            let _ = write!(cell, "<td class=\"null\">{}</td>", escaped(null));
            return Ok(());
        }
        if self.is_vector
            && let Some(values) = vector(self.array, row)?
        {
            let _ = write!(cell, "<td>{}</td>", bars(&values));
            return Ok(());
        }
        let image = self.pictures.as_ref().and_then(|pictures| pictures.thumbnail(row, THUMBNAIL, THUMBNAIL));
        if let Some(image) = image {
            let (width, height) = (image.width(), image.height());
            if let Ok(uri) = data_uri(image) {
                let text = escaped(&text);
                let _ = write!(
                    cell,
                    "<td><img src=\"{uri}\" width=\"{width}\" height=\"{height}\" alt=\"{text}\" title=\"{text}\"></td>"
                );
                return Ok(());
            }
        }
        let class = if self.is_number { " class=\"number\"" } else { "" };
        let _ = write!(cell, "<td{class}>{}</td>", escaped(&text));
        Ok(())
    }
}

fn write_rows(batch: &RecordBatch, null: &str, out: &mut Output) -> Result<()> {
    let options = FormatOptions::new()
        .with_null(null)
        .with_duration_format(DurationFormat::Pretty)
        .with_formatter_factory(Some(&Cells));
    let schema = batch.schema_ref();
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns
        .map(|(array, field)| Column::new(array.as_ref(), field, &options))
        .collect::<Result<Vec<_>, ArrowError>>()?;
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        text.clear();
        text.push_str("<tr>");
        for column in &columns {
            column.write(row, null, &mut text)?;
        }
        text.push_str("</tr>\n");
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// A vector as a drawing: the means of its parts, up and down from zero.
fn bars(values: &[f64]) -> String {
    let means = means(values, BARS);
    let largest = means.iter().flatten().fold(0.0_f64, |largest, mean| largest.max(mean.abs()));
    let middle = BAR_HEIGHT / 2.0;
    let mut path = String::new();
    for (x, mean) in means.iter().enumerate() {
        if let Some(mean) = mean.filter(|_| largest > 0.0) {
            let _ = write!(path, "M{x}.5 {middle}v{:.1}", -mean / largest * middle);
        }
    }
    format!(
        "<svg viewBox=\"0 0 {} {BAR_HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\"><title>{} dimensions</title><path d=\"{path}\"/></svg>",
        means.len(),
        values.len()
    )
}

/// Text that is only text: no tag, no attribute, and no control character but line breaks and tabs.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(character),
            control if control.is_control() => safe.extend(control.escape_default()),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_only_text() {
        assert_eq!(
            escaped("<script>alert('x')</script> & \"é\"\n\u{1b}"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;é&quot;\n\\u{1b}"
        );
    }

    #[test]
    fn a_vector_is_drawn_from_zero() {
        let drawing = bars(&[1.0, -0.5, f64::NAN, 0.0]);
        assert!(drawing.contains("M0.5 12v-12.0M1.5 12v6.0M3.5 12v-0.0"), "{drawing}");
        assert!(drawing.contains("viewBox=\"0 0 4 24\"") && drawing.contains("4 dimensions"), "{drawing}");
        assert!(bars(&[0.0; 8]).contains("d=\"\""));
    }
}
