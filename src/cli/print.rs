//! From a stream of batches to the output, in the format that was asked for.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::arguments::Format;
use super::output::Output;
use super::settings::Settings;
use super::{html, table, values};

/// How many rows a result had, and how many of them were printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Printed {
    /// printed
    pub shown: usize,
    /// in the result
    pub total: usize,
}

/// Prints a result as it arrives, at most as many rows as the settings say.
///
/// A table and a page count the rows that they do not show; the other formats end the query at the limit.
pub async fn print(
    stream: SendableRecordBatchStream,
    settings: &Settings,
    out: &mut Output,
) -> Result<Printed> {
    let limit = settings.row_limit();
    let printed = match settings.format {
        Format::Table => table::print(stream, settings, out).await?,
        Format::Html => html::print(Rows::new(stream, limit), settings, out).await?,
        Format::Csv => values::print_csv(Rows::new(stream, limit), b',', out).await?,
        Format::Tsv => values::print_csv(Rows::new(stream, limit), b'\t', out).await?,
        Format::Json => values::print_json(Rows::new(stream, limit), out).await?,
        Format::Ndjson => values::print_ndjson(Rows::new(stream, limit), out).await?,
    };
    out.flush()?;
    Ok(printed)
}

/// The first rows of a stream. A batch is handed out in slices, so that text made of it stays small.
pub struct Rows {
    stream: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
    left: usize,
    taken: usize,
}

impl Rows {
    /// Rows of text that are in memory at once: a thousand embeddings are some 10 MB.
    const SLICE: usize = 1024;

    fn new(stream: SendableRecordBatchStream, limit: usize) -> Self {
        Self { stream, batch: None, left: limit, taken: 0 }
    }

    /// The schema of every batch.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// The next rows, never none of them.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 {
            let batch = match self.batch.take() {
                Some(batch) => batch,
                None => match self.stream.next().await {
                    Some(batch) => batch?,
                    None => return Ok(None),
                },
            };
            let length = batch.num_rows().min(Self::SLICE).min(self.left);
            if length < batch.num_rows() {
                self.batch = Some(batch.slice(length, batch.num_rows() - length));
            }
            if length > 0 {
                self.left -= length;
                self.taken += length;
                return Ok(Some(batch.slice(0, length)));
            }
        }
        Ok(None)
    }

    /// Reads the rows behind the limit, only to count them.
    pub async fn count_rest(mut self) -> Result<Printed> {
        let mut total = self.taken + self.batch.take().map_or(0, |batch| batch.num_rows());
        while let Some(batch) = self.stream.next().await {
            total += batch?.num_rows();
        }
        Ok(Printed { shown: self.taken, total })
    }

    /// What was handed out is all that there is, as far as is known.
    pub fn printed(&self) -> Printed {
        Printed { shown: self.taken, total: self.taken }
    }
}
