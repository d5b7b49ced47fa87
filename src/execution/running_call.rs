//! An async call over slices of rows, in one partition of a running query.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, internal_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::call::Call;
use super::keys::{Key, identity, keys};
use super::memory::Memory;
use super::query::Query;
use super::results::Results;
use super::size::{size, size_of_array};
use crate::inference::{RowMemory, Running, Usage};
use crate::pixels;

/// What an operator measures in one partition.
#[derive(Debug, Clone)]
pub(super) struct CallMetrics {
    /// Time on the processor: arguments, pixels, keys, columns put together.
    pub(super) compute: Time,
    /// Time that calls were waited for, those in flight at the same time added up.
    waiting: Time,
    distinct: Count,
    usage: Usage,
}

impl CallMetrics {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize, compute: Time) -> Self {
        Self {
            compute,
            waiting: MetricBuilder::new(metrics).subset_time("time_waiting", partition),
            distinct: MetricBuilder::new(metrics).counter("distinct_inputs", partition),
            usage: Usage::registered(metrics, partition),
        }
    }
}

/// A call in one partition of a running query.
#[derive(Debug)]
pub(super) struct RunningCall {
    call: Arc<Call>,
    /// The body of a function that waits for nothing.
    body: Option<Arc<ScalarUDF>>,
    /// See [`Call::description`].
    description: String,
    config: Arc<ConfigOptions>,
    running: Running,
    results: Option<Arc<Results>>,
    metrics: CallMetrics,
    memory: Arc<Memory>,
    /// What the arguments of a row take: the average of the last slice, or half of that of the one before if that is
    /// more, and so on.
    argument_bytes: AtomicUsize,
}

impl RunningCall {
    pub(super) fn new(
        call: Arc<Call>,
        body: Option<Arc<ScalarUDF>>,
        query: &Query,
        schema: &Schema,
        config: Arc<ConfigOptions>,
        memory: Arc<Memory>,
        metrics: CallMetrics,
    ) -> Self {
        Self {
            description: call.description(schema),
            running: Running::new(
                query.permits(&call.served_by()),
                query.pixels(),
                query.settings().max_concurrency,
                query.spend(),
                metrics.usage.clone(),
            ),
            results: query.results().filter(|_| call.can_be_shared(schema)),
            call,
            body,
            config,
            metrics,
            memory,
            argument_bytes: AtomicUsize::new(0),
        }
    }

    /// About what the arguments of a row take, as far as that is known.
    pub(super) fn argument_bytes(&self) -> usize {
        self.argument_bytes.load(Ordering::Relaxed)
    }

    /// What a result takes, where its type tells.
    pub(super) fn result_bytes(&self) -> usize {
        self.call.result_bytes()
    }

    /// The column of results, one for each row of `batch`.
    ///
    /// What the arguments take is reserved in `memory`. Where there is little of it they are made in halves, down to
    /// one row, which is always made unless it alone takes more than there is.
    pub(super) async fn evaluate(
        self: &Arc<Self>,
        batch: &RecordBatch,
        memory: &MemoryReservation,
    ) -> Result<ArrayRef> {
        if let Some(columns) = &self.call.pixels_of {
            return self.evaluate_pixels(batch, columns).await;
        }
        let rows = batch.num_rows();
        let args = self.arguments(batch)?;
        let bytes = self.note_size(&args, rows);
        if memory.try_grow(bytes).is_err() {
            if rows > 1 {
                drop(args);
                let (first, second) = (batch.slice(0, rows / 2), batch.slice(rows / 2, rows - rows / 2));
                let first = Box::pin(self.evaluate(&first, memory)).await?;
                let second = Box::pin(self.evaluate(&second, memory)).await?;
                return concat_all(&[first, second]);
            }
            self.memory.grow(memory, rows, bytes).await?;
        }
        let result = self.evaluate_arguments(args, batch).await;
        memory.shrink(bytes);
        result
    }

    async fn evaluate_arguments(
        self: &Arc<Self>,
        args: Vec<ColumnarValue>,
        batch: &RecordBatch,
    ) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        let varying: Vec<_> = args.iter().filter_map(as_array).collect();
        let constants = args.iter().filter_map(|arg| match arg {
            ColumnarValue::Scalar(value) => Some(value.to_array()),
            ColumnarValue::Array(_) => None,
        });
        let Some(results) = &self.results else { return self.invoke(args, rows).await };
        // which arguments are constant differs from slice to slice: a CASE may give a constant
        let places: String = args.iter().map(|arg| if as_array(arg).is_some() { 'v' } else { 'c' }).collect();
        let constants = constants.collect::<Result<Vec<_>>>()?;
        let keys = self.keys(&places, &constants, &varying, rows)?;
        self.share(results, &keys, |rows| {
            let this = Arc::clone(self);
            async move { this.invoke(take_args(args, &rows)?, rows.len()).await }
        })
        .await
    }

    async fn evaluate_pixels(self: &Arc<Self>, batch: &RecordBatch, columns: &[usize]) -> Result<ArrayRef> {
        let this = Arc::clone(self);
        let (Some(results), Some(constants)) = (&self.results, self.call.constants(batch)?) else {
            return this.compute_by_row(batch.clone()).await;
        };
        let read: Vec<_> = columns.iter().map(|index| Arc::clone(batch.column(*index))).collect();
        let keys = self.keys("", &constants, &read, batch.num_rows())?;
        let batch = batch.clone();
        self.share(results, &keys, |rows| async move { this.compute_by_row(take_rows(batch, &rows)?).await })
            .await
    }

    fn keys(
        &self,
        places: &str,
        constants: &[ArrayRef],
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<Key>> {
        let _timer = self.metrics.compute.timer();
        keys(&identity(&format!("{} {places}", self.description), constants)?, columns, rows)
    }

    /// The results of the inputs with these keys, of which `invoke` computes the new ones.
    async fn share<F>(
        &self,
        results: &Arc<Results>,
        keys: &[Key],
        invoke: impl FnOnce(UInt32Array) -> F,
    ) -> Result<ArrayRef>
    where
        F: Future<Output = Result<ArrayRef>> + Send + 'static,
    {
        let claim = results.claim(keys, |rows| invoke(UInt32Array::from(rows)));
        self.metrics.distinct.add(claim.new);
        let answers = try_join_all(claim.answers).await.map_err(DataFusionError::Shared)?;
        let _timer = self.metrics.compute.timer();
        if let ([answer], true) = (answers.as_slice(), claim.new == keys.len()) {
            return Ok(Arc::clone(answer));
        }
        let arrays: Vec<&dyn Array> = answers.iter().map(AsRef::as_ref).collect();
        Ok(interleave(&arrays, &claim.places)?)
    }

    /// Evaluates arguments made of pixels over `batch` and invokes the function.
    async fn compute_by_row(self: Arc<Self>, batch: RecordBatch) -> Result<ArrayRef> {
        if self.body.is_some() || self.call.returns_image {
            let results = by_row(&batch, |row| Arc::clone(&self).result_of_row(row));
            return concat_all(&results.try_collect::<Vec<_>>().await?);
        }
        let memory = self.memory.reservation();
        let args = self.arguments_by_row(&batch, &memory).await?;
        self.note_size(&args, batch.num_rows());
        self.invoke(args, batch.num_rows()).await
    }

    /// The bytes of the arguments that are not columns of the input, noted as what a row takes.
    fn note_size(&self, args: &[ColumnarValue], rows: usize) -> usize {
        let made = args.iter().zip(&self.call.args).filter(|(_, expr)| !expr.is::<Column>());
        let made: Vec<_> = made.filter_map(|(value, _)| as_array(value)).collect();
        let bytes = size(&made);
        self.argument_bytes.store((bytes / rows.max(1)).max(self.argument_bytes() / 2), Ordering::Relaxed);
        bytes
    }

    fn arguments(&self, batch: &RecordBatch) -> Result<Vec<ColumnarValue>> {
        let _timer = self.metrics.compute.timer();
        self.call.args.iter().map(|arg| arg.evaluate(batch)).collect()
    }

    /// What `work` makes of one row on a thread for pixels, and what the row takes, counted until that is dropped.
    async fn on_pixels<T: Send + 'static>(
        self: Arc<Self>,
        row: RecordBatch,
        work: impl FnOnce(&Self, &RecordBatch) -> Result<T> + Send + 'static,
    ) -> Result<(T, Arc<RowMemory>)> {
        let memory = self.memory.row();
        let running = self.running.with_memory(Arc::clone(&memory));
        Ok((running.on_pixels(move || work(&self, &row)).await?, memory))
    }

    /// The result of one row, whose arguments are let go before those of the next one are made.
    async fn result_of_row(self: Arc<Self>, row: RecordBatch) -> Result<ArrayRef> {
        let Some(body) = self.body.clone() else {
            let (args, _memory) = Arc::clone(&self).on_pixels(row, Self::arguments).await?;
            return self.invoke(args, 1).await;
        };
        let result = move |this: &Self, row: &RecordBatch| {
            let args = this.function_args(this.arguments(row)?, 1);
            let _timer = this.metrics.compute.timer();
            body.invoke_with_args(args)?.into_array(1)
        };
        Ok(self.on_pixels(row, result).await?.0)
    }

    /// The arguments, made row by row.
    async fn arguments_by_row(
        self: &Arc<Self>,
        batch: &RecordBatch,
        memory: &MemoryReservation,
    ) -> Result<Vec<ColumnarValue>> {
        let mut columns: Vec<Vec<ArrayRef>> = vec![vec![]; self.call.args.len()];
        let mut constants: Vec<Option<ScalarValue>> = vec![None; self.call.args.len()];
        let rows = by_row(batch, |row| Arc::clone(self).on_pixels(row, Self::arguments));
        futures::pin_mut!(rows);
        while let Some((args, counted)) = rows.try_next().await? {
            for (position, arg) in args.into_iter().enumerate() {
                match arg {
                    ColumnarValue::Scalar(value) if self.call.is_constant(position) => {
                        constants[position] = Some(value);
                    }
                    // an untaken branch of a CASE gives a scalar for this row only
                    arg => columns[position].push(arg.into_array(1)?),
                }
            }
            let bytes = columns.iter().filter_map(|rows| rows.last()).map(size_of_array).sum();
            drop(counted);
            self.memory.grow(memory, 1, bytes).await?;
        }
        let _timer = self.metrics.compute.timer();
        let values = constants.into_iter().zip(columns).map(|(constant, rows)| match constant {
            Some(value) => Ok(ColumnarValue::Scalar(value)),
            None => concat_all(&rows).map(ColumnarValue::Array),
        });
        values.collect()
    }

    fn function_args(&self, args: Vec<ColumnarValue>, number_rows: usize) -> ScalarFunctionArgs {
        ScalarFunctionArgs {
            args,
            arg_fields: self.call.arg_fields.clone(),
            number_rows,
            return_field: Arc::clone(&self.call.return_field),
            config_options: Arc::clone(&self.config),
        }
    }

    /// Invokes the function, and makes sure of an array of `rows`.
    async fn invoke(&self, args: Vec<ColumnarValue>, rows: usize) -> Result<ArrayRef> {
        let name = self.call.function.name();
        let Some(function) = self.call.function.as_async() else {
            return internal_err!("{name} is not async");
        };
        // constant arguments have one result
        let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let number_rows = if constant && !self.call.is_volatile() { 1 } else { rows };
        let args = self.function_args(args, number_rows);
        let waiting = self.metrics.waiting.clone();
        let result = {
            let _timer = waiting.timer();
            self.running.with_memory(self.memory.row()).scope(function.invoke_async_with_args(args)).await?
        };
        let array = result.into_array(number_rows)?;
        if array.len() != number_rows {
            return exec_err!("{name}: the function returned {} values for {number_rows} rows", array.len());
        }
        if number_rows == rows {
            return Ok(array);
        }
        ScalarValue::try_from_array(&array, 0)?.to_array_of_size(rows)
    }
}

/// What `work` makes of each row, in the order of the rows; a few rows at a time.
fn by_row<F: Future<Output = Result<T>>, T>(
    batch: &RecordBatch,
    work: impl Fn(RecordBatch) -> F,
) -> impl futures::Stream<Item = Result<T>> {
    let rows = (0..batch.num_rows()).map(move |row| work(batch.slice(row, 1)));
    stream::iter(rows).buffered(pixels::threads())
}

fn concat_all(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    Ok(concat(&arrays)?)
}

fn as_array(value: &ColumnarValue) -> Option<ArrayRef> {
    match value {
        ColumnarValue::Array(array) => Some(Arc::clone(array)),
        ColumnarValue::Scalar(_) => None,
    }
}

/// The arguments of some rows; themselves if these are all.
fn take_args(args: Vec<ColumnarValue>, rows: &UInt32Array) -> Result<Vec<ColumnarValue>> {
    let take_one = |arg| match arg {
        ColumnarValue::Array(array) if array.len() != rows.len() => {
            Ok(ColumnarValue::Array(take(&array, rows, None)?))
        }
        arg => Ok(arg),
    };
    args.into_iter().map(take_one).collect()
}

/// Some rows of a batch; itself if these are all.
fn take_rows(batch: RecordBatch, rows: &UInt32Array) -> Result<RecordBatch> {
    if batch.num_rows() == rows.len() {
        return Ok(batch);
    }
    let columns =
        batch.columns().iter().map(|column| Ok(take(column, rows, None)?)).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}
