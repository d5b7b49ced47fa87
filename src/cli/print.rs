//! From a stream of batches to standard output.

use std::io::{self, BufWriter, Write};

use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::arguments::Format;
use super::{table, values};

/// Standard output, buffered, which remembers that it failed.
///
/// Arrow's writers turn an I/O error into text; whether the reader went away must be known nevertheless.
pub struct Output {
    writer: BufWriter<Box<dyn Write + Send>>,
    failure: Option<io::ErrorKind>,
}

impl Output {
    /// Buffers `writer`.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self { writer: BufWriter::new(writer), failure: None }
    }

    /// Whether the reader went away, as in `semsql ... | head`: no reason to complain, but to stop.
    pub fn is_closed(&self) -> bool {
        self.failure == Some(io::ErrorKind::BrokenPipe)
    }

    fn remember<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(e) = &result {
            self.failure = Some(e.kind());
        }
        result
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.writer.write(bytes);
        self.remember(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.writer.flush();
        self.remember(result)
    }
}

/// How many rows a result had, and how many of them were printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Printed {
    /// printed
    pub shown: usize,
    /// in the result
    pub total: usize,
}

/// Prints a result as it arrives, at most `limit` rows of it.
///
/// A table counts the rows that it does not show; the other formats end the query at the limit.
pub async fn print(
    stream: SendableRecordBatchStream,
    format: Format,
    limit: Option<usize>,
    out: &mut Output,
) -> Result<Printed> {
    let limit = limit.unwrap_or(usize::MAX);
    let printed = match format {
        Format::Table => table::print(stream, limit, table::terminal_width(), out).await?,
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

    /// What was handed out is all that there is, as far as is known.
    pub fn printed(&self) -> Printed {
        Printed { shown: self.taken, total: self.taken }
    }
}
