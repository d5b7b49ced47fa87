//! The rows of one partition on their way through the calls.
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{Result, exec_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::future::try_join_all;
use futures::{FutureExt, Stream, StreamExt};

use super::memory::Memory;
use super::query::Query;
use super::running_call::RunningCall;
use super::size::size;
use super::slices::{Limits, Slices};

/// The first slices have this part of the rows that later ones may have, until it is known what a row takes: so the
/// first rows come early, and what stops after a few rows has not paid for many.
const FIRST_PART: usize = 32;

/// Keeps a number of slices in flight and returns them in the order of their rows. Dropped, it aborts them.
pub(super) struct CallStream {
    input: SendableRecordBatchStream,
    input_ended: bool,
    schema: SchemaRef,
    calls: Arc<[Arc<RunningCall>]>,
    /// What the calls share, held until the last partition ends.
    query: Arc<Query>,
    waiting: Slices,
    in_flight: VecDeque<InFlight>,
    /// The most rows of a slice.
    max_rows: usize,
    /// How many slices have ended.
    finished: u32,
    /// What the results of a row take: by their types, then by the last slice, or half of what it was before if that
    /// is more.
    result_bytes: usize,
    memory: Arc<Memory>,
    metrics: BaselineMetrics,
    failed: bool,
}

/// A task that makes the rows of a slice; what they take of the memory pool is theirs until they are handed on.
type InFlight = SpawnedTask<Result<(RecordBatch, MemoryReservation)>>;

impl CallStream {
    pub(super) fn new(
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        calls: Arc<[Arc<RunningCall>]>,
        max_rows: usize,
        query: Arc<Query>,
        memory: Arc<Memory>,
        metrics: BaselineMetrics,
    ) -> Self {
        let result_bytes = calls.iter().map(|call| call.result_bytes()).sum();
        Self {
            input,
            input_ended: false,
            schema,
            calls,
            query,
            waiting: Slices::default(),
            in_flight: VecDeque::new(),
            max_rows,
            finished: 0,
            result_bytes,
            memory,
            metrics,
            failed: false,
        }
    }

    fn limits(&self) -> Limits {
        let first = (self.max_rows / FIRST_PART).max(1);
        let grown = first.saturating_mul(1 << self.finished.min(20));
        let arguments: usize = self.calls.iter().map(|call| call.argument_bytes()).sum();
        Limits {
            rows: grown.min(self.max_rows),
            bytes: self.query.settings().slice_bytes,
            bytes_made: self.result_bytes + arguments,
        }
    }

    /// Lets the input go: what it holds is not needed while the last slices are computed.
    fn end_input(&mut self) {
        self.input_ended = true;
        self.input = Box::pin(EmptyRecordBatchStream::new(self.input.schema()));
    }

    /// Starts slices while there may be more in flight, and reads input for them.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<()> {
        while self.in_flight.len() < self.query.settings().slices_in_flight {
            let limits = self.limits();
            if self.waiting.is_full(limits) || (self.input_ended && !self.waiting.is_empty()) {
                if !self.start(limits)? {
                    return Ok(());
                }
            } else if self.input_ended {
                return Ok(());
            } else {
                match self.input.poll_next_unpin(context) {
                    Poll::Ready(Some(batch)) => self.waiting.push(batch?),
                    Poll::Ready(None) => self.end_input(),
                    // what is there already is enough if nothing else is done meanwhile
                    Poll::Pending if self.in_flight.is_empty() && !self.waiting.is_empty() => {
                        self.start(limits)?;
                    }
                    Poll::Pending => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Starts the next slice. False if its memory is not free before one in flight ends.
    fn start(&mut self, mut limits: Limits) -> Result<bool> {
        loop {
            let Some(slice) = self.waiting.take(limits)? else { return Ok(false) };
            let rows = slice.num_rows();
            // arguments are reserved when they are there
            let bytes = size(slice.columns()) + rows * self.result_bytes;
            let reservation = self.memory.reservation();
            if !self.memory.try_start(&reservation, bytes) {
                if !self.in_flight.is_empty() {
                    self.waiting.put_back(slice);
                    return Ok(false);
                }
                if let Some(results) = self.query.results() {
                    results.forget_all();
                }
                if !self.memory.try_start(&reservation, bytes) && rows > 1 {
                    self.waiting.put_back(slice);
                    limits.rows = rows / 2;
                    continue;
                }
            }
            let (calls, schema, memory) =
                (Arc::clone(&self.calls), Arc::clone(&self.schema), Arc::clone(&self.memory));
            let task = async move {
                // a single row goes on, sooner or later
                memory.grow(&reservation, rows, bytes - reservation.size()).await?;
                run(&calls, slice, schema, &memory, reservation).await
            };
            self.in_flight.push_back(SpawnedTask::spawn(task));
            return Ok(true);
        }
    }

    fn poll_rows(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        self.fill(context)?;
        let Some(first) = self.in_flight.front_mut() else {
            return if self.input_ended { Poll::Ready(None) } else { Poll::Pending };
        };
        let outcome = ready!(first.poll_unpin(context));
        self.in_flight.pop_front();
        // what the rows take is now the business of who asked for them
        let (batch, _) = match outcome {
            Ok(rows) => rows?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Poll::Ready(Some(exec_err!("the query was cancelled: its runtime shuts down"))),
        };
        let results = &batch.columns()[batch.num_columns() - self.calls.len()..];
        self.finished = self.finished.saturating_add(1);
        self.result_bytes = (size(results) / batch.num_rows().max(1)).max(self.result_bytes / 2);
        Poll::Ready(Some(Ok(batch)))
    }
}

/// The columns of `slice` and those of the calls, which run at the same time; and the memory of both.
async fn run(
    calls: &[Arc<RunningCall>],
    slice: RecordBatch,
    schema: SchemaRef,
    memory: &Memory,
    reservation: MemoryReservation,
) -> Result<(RecordBatch, MemoryReservation)> {
    let results = try_join_all(calls.iter().map(|call| call.evaluate(&slice, &reservation))).await?;
    let (rows, columns) = (slice.num_rows(), slice.columns().iter().cloned().chain(results).collect());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    let bytes = size(batch.columns());
    match bytes.checked_sub(reservation.size()) {
        Some(more) => memory.grow(&reservation, rows, more).await?,
        None => reservation.shrink(reservation.size() - bytes),
    }
    Ok((batch, reservation))
}

impl Stream for CallStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let rows = self.poll_rows(context);
        if let Poll::Ready(Some(Err(_))) = rows {
            self.failed = true;
            self.in_flight.clear();
            self.end_input();
        }
        self.metrics.record_poll(rows)
    }
}

impl RecordBatchStream for CallStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
