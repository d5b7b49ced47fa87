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
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::future::try_join_all;
use futures::{FutureExt, Stream, StreamExt};

use super::call::{RunningCall, too_large};
use super::query::Query;
use super::slices::{Limits, Slices, size};

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
    finished: Finished,
    /// Registered with the memory pool; its slices reserve for themselves.
    memory: MemoryReservation,
    metrics: BaselineMetrics,
    failed: bool,
}

/// A task that makes the rows of a slice; what they take of the memory pool is theirs until they are handed on.
type InFlight = SpawnedTask<Result<(RecordBatch, MemoryReservation)>>;

/// What is known from slices that ended.
#[derive(Default)]
struct Finished {
    slices: u32,
    /// The most bytes that the results of a row have had, on average over a slice.
    result_bytes: usize,
}

impl CallStream {
    pub(super) fn new(
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        calls: Arc<[Arc<RunningCall>]>,
        max_rows: usize,
        query: Arc<Query>,
        memory: MemoryReservation,
        metrics: BaselineMetrics,
    ) -> Self {
        Self {
            input,
            input_ended: false,
            schema,
            calls,
            query,
            waiting: Slices::default(),
            in_flight: VecDeque::new(),
            max_rows,
            finished: Finished::default(),
            memory,
            metrics,
            failed: false,
        }
    }

    fn limits(&self) -> Limits {
        let first = (self.max_rows / FIRST_PART).max(1);
        let grown = first.saturating_mul(1 << self.finished.slices.min(20));
        let arguments: usize = self.calls.iter().map(|call| call.argument_bytes()).sum();
        Limits {
            rows: grown.min(self.max_rows),
            bytes: self.query.settings().slice_bytes,
            bytes_made: self.finished.result_bytes + arguments,
        }
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
                    Poll::Ready(None) => self.input_ended = true,
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
            let (rows, bytes) = (slice.num_rows(), size(slice.columns()));
            let bytes = bytes + rows * limits.bytes_made;
            let memory = self.memory.new_empty();
            match memory.try_grow(bytes) {
                Ok(()) => {
                    let slice = run(Arc::clone(&self.calls), slice, Arc::clone(&self.schema), memory);
                    self.in_flight.push_back(SpawnedTask::spawn(slice));
                    return Ok(true);
                }
                Err(error) if rows == 1 && self.in_flight.is_empty() => {
                    return Err(too_large(&names(&self.calls), rows, bytes, &error));
                }
                Err(_) => self.waiting.put_back(slice),
            }
            if !self.in_flight.is_empty() {
                return Ok(false);
            }
            limits.rows = rows / 2;
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
        self.finished.slices += 1;
        self.finished.result_bytes = self.finished.result_bytes.max(size(results) / batch.num_rows().max(1));
        Poll::Ready(Some(Ok(batch)))
    }
}

/// The columns of `slice` and those of the calls, which run at the same time; and the memory of both.
async fn run(
    calls: Arc<[Arc<RunningCall>]>,
    slice: RecordBatch,
    schema: SchemaRef,
    memory: MemoryReservation,
) -> Result<(RecordBatch, MemoryReservation)> {
    let results = try_join_all(calls.iter().map(|call| call.evaluate(&slice, &memory))).await?;
    let columns = slice.columns().iter().cloned().chain(results).collect();
    let batch = RecordBatch::try_new_with_options(
        schema,
        columns,
        &RecordBatchOptions::new().with_row_count(Some(slice.num_rows())),
    )?;
    let bytes = size(batch.columns());
    memory.try_resize(bytes).map_err(|error| too_large(&names(&calls), slice.num_rows(), bytes, &error))?;
    Ok((batch, memory))
}

fn names(calls: &[Arc<RunningCall>]) -> String {
    calls.iter().map(|call| call.function_name()).collect::<Vec<_>>().join(", ")
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
        }
        self.metrics.record_poll(rows)
    }
}

impl RecordBatchStream for CallStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
