//! A result as a table for people: cells on one line, cut to fit, numbers to the right, NULL visible.

use std::borrow::Cow;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::util::display::{DurationFormat, FormatOptions};
use comfy_table::modifiers::UTF8_ROUND_CORNERS;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, Width};
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::output::Output;
use super::pictures::{self, Picture, Protocol};
use super::print::Printed;
use super::settings::Settings;
use super::terminal;
use super::thumbnails::Pictures;
use crate::types::display::{Cells, formatter, type_name};

/// The widest cell where there is no terminal to fit.
const WIDEST_CELL: usize = 60;

/// A column is not made narrower than this to fit a terminal: the table gets wider than the terminal instead.
const NARROWEST_COLUMN: usize = 8;

/// Holds the first rows, for their widths, and counts the rest.
pub async fn print(
    mut stream: SendableRecordBatchStream,
    settings: &Settings,
    out: &mut Output,
) -> Result<Printed> {
    let schema = stream.schema();
    let width = terminal::size().filter(|_| out.is_terminal()).map(|size| size.columns);
    let shown = Shown {
        null: &settings.null,
        widest: width.unwrap_or(WIDEST_CELL),
        pictures: settings.pictures.filter(|_| width.is_some()),
    };
    let limit = settings.row_limit();
    let mut rows = Vec::new();
    let mut total = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        total += batch.num_rows();
        let wanted = batch.num_rows().min(limit - rows.len());
        if wanted > 0 {
            shown.add_rows(&batch.slice(0, wanted), &mut rows)?;
        }
    }
    write_table(&schema, &rows, width, out)?;
    Ok(Printed { shown: rows.len(), total })
}

/// Prints plans, which are texts of many lines, not cells: `EXPLAIN` has two columns, what is explained and how.
pub async fn print_explanation(mut stream: SendableRecordBatchStream, out: &mut Output) -> Result<Printed> {
    let schema = stream.schema();
    let mut total = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let options = FormatOptions::new();
        let kinds = formatter(batch.column(0), schema.field(0), &options)?;
        let plans = formatter(batch.column(1), schema.field(1), &options)?;
        for row in 0..batch.num_rows() {
            writeln!(out, "{}:", visible(&kinds.value(row).to_string()))?;
            for line in plans.value(row).to_string().lines() {
                writeln!(out, "  {}", visible(line))?;
            }
        }
        total += batch.num_rows();
    }
    Ok(Printed { shown: total, total })
}

/// One cell of a row.
struct Content {
    text: String,
    /// stands below the text
    picture: Option<Picture>,
}

/// How cells are shown.
struct Shown<'a> {
    null: &'a str,
    /// the most characters of a cell
    widest: usize,
    pictures: Option<Protocol>,
}

impl Shown<'_> {
    fn add_rows(&self, batch: &RecordBatch, rows: &mut Vec<Vec<Content>>) -> Result<(), ArrowError> {
        let options = FormatOptions::new()
            .with_null(self.null)
            .with_duration_format(DurationFormat::Pretty)
            .with_formatter_factory(Some(&Cells));
        let schema = batch.schema_ref();
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns
            .map(|(array, field)| {
                let pictures = self.pictures.and_then(|_| Pictures::of(array.as_ref(), field));
                Ok((formatter(array.as_ref(), field, &options)?, pictures))
            })
            .collect::<Result<Vec<_>, ArrowError>>()?;
        for row in 0..batch.num_rows() {
            let mut cells = Vec::with_capacity(columns.len());
            for (formatter, pictures) in &columns {
                let text = formatter.value(row).try_to_string()?;
                let text = cut(&visible(&text), self.widest).into_owned();
                let picture = pictures.as_ref().and_then(|pictures| self.picture(pictures, row));
                cells.push(Content { text, picture });
            }
            rows.push(cells);
        }
        Ok(())
    }

    fn picture(&self, pictures: &Pictures<'_>, row: usize) -> Option<Picture> {
        let (width, height) = pictures::largest();
        let image = pictures.thumbnail(row, width, height)?;
        self.pictures?.picture(&image).ok()
    }
}

/// The table, and then on top of it, row by row while it is on the screen, the pictures.
fn write_table(
    schema: &Schema,
    rows: &[Vec<Content>],
    width: Option<usize>,
    out: &mut Output,
) -> std::io::Result<()> {
    let (table, widths) = draw(schema, rows, width);
    let table = table.to_string();
    let mut lines = table.lines();
    let copy = |count: usize, lines: &mut std::str::Lines<'_>, out: &mut Output| {
        lines.take(count).try_for_each(|line| writeln!(out, "{line}"))
    };
    // a border, names, types, a border
    copy(4, &mut lines, out)?;
    for row in rows {
        let has_pictures = row.iter().any(|cell| cell.picture.is_some());
        copy(if has_pictures { 1 + pictures::ROWS } else { 1 }, &mut lines, out)?;
        let mut column = 3;
        for (cell, width) in row.iter().zip(&widths) {
            if let Some(picture) = &cell.picture {
                // saves the cursor, goes to below the text of the cell, and comes back
                write!(out, "\x1b7\x1b[{}A\x1b[{column}G{}\x1b8", pictures::ROWS, picture.escape)?;
            }
            column += width + 3;
        }
    }
    copy(usize::MAX, &mut lines, out)
}

/// The table and the widths of its columns.
fn draw(schema: &Schema, rows: &[Vec<Content>], width: Option<usize>) -> (Table, Vec<usize>) {
    let heads: Vec<(String, String)> = schema
        .fields()
        .iter()
        .map(|field| (visible(field.name()).into_owned(), visible(&type_name(field)).into_owned()))
        .collect();
    let mut widths: Vec<usize> = heads.iter().map(|(name, kind)| name.width().max(kind.width())).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            let picture = cell.picture.as_ref().map_or(0, |picture| picture.columns);
            *width = (*width).max(cell.text.width()).max(picture);
        }
    }
    fit(&mut widths, width);

    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).apply_modifier(UTF8_ROUND_CORNERS);
    let head = |((name, kind), width): (&(String, String), &usize)| {
        Cell::new(format!("{}\n{}", cut(name, *width), cut(kind, *width)))
    };
    table.set_header(heads.iter().zip(&widths).map(head));
    for row in rows {
        table.add_row(row.iter().zip(&widths).map(|(cell, width)| {
            let room = if cell.picture.is_some() { "\n ".repeat(pictures::ROWS) } else { String::new() };
            Cell::new(format!("{}{room}", cut(&cell.text, *width)))
        }));
    }
    for ((column, field), width) in table.column_iter_mut().zip(schema.fields()).zip(&widths) {
        if field.data_type().is_numeric() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        // a cell that was cut in front of a wide character is narrower
        let width = u16::try_from(width + 2).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
    }
    (table, widths)
}

/// Narrows the widest columns until the table fits `width`.
fn fit(widths: &mut [usize], width: Option<usize>) {
    let Some(width) = width else {
        return narrow(widths, WIDEST_CELL);
    };
    // a space on either side of a cell and a line between cells
    let room = width.saturating_sub(3 * widths.len() + 1);
    let taken = |widest: usize| widths.iter().map(|width| *width.min(&widest)).sum::<usize>();
    let mut widest = widths.iter().copied().max().unwrap_or_default();
    while widest > NARROWEST_COLUMN && taken(widest) > room {
        widest -= 1;
    }
    narrow(widths, widest);
}

fn narrow(widths: &mut [usize], widest: usize) {
    for width in widths {
        *width = (*width).min(widest);
    }
}

/// Control characters, escaped: a cell is one line, and its text must not steer the terminal.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// At most `width` columns of `text`, the last one `…` where something is missing.
pub fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.len() <= width || text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut left = width.saturating_sub(1);
    let end = text.char_indices().find(|(_, character)| {
        let taken = character.width().unwrap_or_default();
        let full = taken > left;
        left = left.saturating_sub(taken);
        full
    });
    Cow::Owned(format!("{}…", &text[..end.map_or(text.len(), |(end, _)| end)]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn drawn(width: Option<usize>, texts: &[Option<&str>]) -> String {
        let numbers =
            (0..texts.len()).map(|row| (row % 2 == 0).then_some(10_i64.pow(u32::try_from(row).unwrap())));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(numbers.collect::<Int64Array>()) as ArrayRef, true),
            ("text", Arc::new(StringArray::from(texts.to_vec())) as ArrayRef, true),
        ])
        .unwrap();
        let mut rows = Vec::new();
        let shown = Shown { null: "NULL", widest: width.unwrap_or(WIDEST_CELL), pictures: None };
        shown.add_rows(&batch, &mut rows).unwrap();
        draw(batch.schema_ref(), &rows, width).0.to_string()
    }

    #[test]
    fn a_table_has_names_types_and_visible_nulls() {
        let expected = "\
╭───────┬────────╮
│     n ┆ text   │
│ Int64 ┆ String │
╞═══════╪════════╡
│     1 ┆ a      │
│  NULL ┆ NULL   │
│   100 ┆ 日本   │
╰───────┴────────╯";
        assert_eq!(drawn(None, &[Some("a"), None, Some("日本")]), expected);
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let expected = "\
╭───────┬────────────╮
│     n ┆ text       │
│ Int64 ┆ String     │
╞═══════╪════════════╡
│     1 ┆ Daft is a… │
╰───────┴────────────╯";
        assert_eq!(drawn(Some(22), &[Some("Daft is a distributed dataframe")]), expected);
    }

    #[test]
    fn without_a_terminal_long_cells_are_cut() {
        let text = "x".repeat(100);
        let table = drawn(None, &[Some(&text)]);
        assert!(table.contains(&format!("┆ {}… │", "x".repeat(59))), "{table}");
    }

    #[test]
    fn a_cell_is_one_line_and_steers_no_terminal() {
        assert_eq!(visible("a\nb\t\u{1b}[31m"), "a\\nb\\t\\u{1b}[31m");
    }

    #[test]
    fn wide_characters_are_cut_by_their_width() {
        assert_eq!(cut("日本語です", 10), "日本語です");
        assert_eq!(cut("日本語です", 9), "日本語で…");
        assert_eq!(cut("日本語です", 8), "日本語…");
        assert_eq!(cut("abc", 0), "…");
    }

    #[test]
    fn the_widest_columns_give_way_first() {
        let fitted = |mut widths: Vec<usize>, width| {
            fit(&mut widths, Some(width));
            widths
        };
        assert_eq!(fitted(vec![5, 100, 20], 60), [5, 25, 20]);
        assert_eq!(fitted(vec![5, 100, 80], 60), [5, 22, 22]);
        assert_eq!(fitted(vec![100; 10], 60), [8; 10]);
    }
}
