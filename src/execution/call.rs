//! One async call of the operator, over one slice of rows.
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, interleave, take, take_record_batch};
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryReservation};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, Volatility};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::async_scalar_function::AsyncFuncExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};
use futures::future::try_join_all;
use tokio::sync::Semaphore;

use super::keys::{Identity, Key, has_keys, identity, keys};
use super::query::Query;
use super::results::Results;
use super::slices::size;
use crate::blocking::compute;
use crate::inference::{Running, Usage};
use crate::types::MODEL_KEY;
use crate::types::image::ImageType;

/// One for each core: who makes pixels holds one, so that the decoded images of a process are as many as its cores,
/// whatever the partitions and slices in flight.
static CORES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// A call as it is planned.
#[derive(Debug)]
pub(super) struct Call {
    expr: Arc<AsyncFuncExpr>,
    function: ScalarUDF,
    args: Vec<Arc<dyn PhysicalExpr>>,
    arg_fields: Vec<FieldRef>,
    return_field: FieldRef,
    /// If functions in the arguments make pixels: the columns that the arguments read.
    pixels_of: Option<Vec<usize>>,
    returns_image: bool,
}

impl Call {
    pub(super) fn try_new(expr: Arc<AsyncFuncExpr>, schema: &Schema) -> Result<Self> {
        let Some(function) = expr.func.downcast_ref::<ScalarFunctionExpr>() else {
            return internal_err!("expected a scalar function, found {}", expr.func);
        };
        let args = function.args().to_vec();
        let arg_fields = args.iter().map(|arg| arg.return_field(schema)).collect::<Result<Vec<_>>>()?;
        let pixels_of = args.iter().any(|arg| makes_pixels(arg, schema)).then(|| {
            let mut columns: Vec<_> =
                args.iter().flat_map(collect_columns).map(|column| column.index()).collect();
            columns.sort_unstable();
            columns.dedup();
            columns
        });
        let (function, return_field) = (function.fun().clone(), function.return_field(schema)?);
        let returns_image = ImageType::of(&return_field).is_some();
        Ok(Self { expr, function, args, arg_fields, return_field, pixels_of, returns_image })
    }

    pub(super) fn expr(&self) -> &Arc<AsyncFuncExpr> {
        &self.expr
    }

    /// The most rows that the function wants at a time.
    pub(super) fn max_rows(&self) -> Option<usize> {
        self.function.as_async()?.ideal_batch_size().filter(|rows| *rows > 0)
    }

    /// `(types) -> type` of the call, which tells it from other calls of the same functions.
    fn signature(&self) -> String {
        let types: Vec<_> = self.arg_fields.iter().map(|field| field.data_type().to_string()).collect();
        format!("{}({}) -> {}", self.function.name(), types.join(", "), self.return_field.data_type())
    }

    fn is_volatile(&self) -> bool {
        self.function.signature().volatility == Volatility::Volatile
    }

    /// Whether the results of equal inputs are equal, and inputs can be told apart.
    fn can_be_shared(&self, schema: &Schema) -> bool {
        !self.is_volatile()
            && match &self.pixels_of {
                Some(columns) => {
                    self.args.iter().all(|arg| !any_node(arg, |node| node.is_volatile_node()))
                        && has_keys(columns.iter().map(|index| schema.field(*index).data_type()))
                }
                None => has_keys(self.arg_fields.iter().map(|field| field.data_type())),
            }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} AS {}", self.expr.func, self.expr.name())?;
        match self.return_field.metadata().get(MODEL_KEY) {
            Some(model) => write!(f, " WITH {model}"),
            None => Ok(()),
        }
    }
}

/// Whether a function inside `expr` returns images.
fn makes_pixels(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    any_node(expr, |node| {
        let function = node.downcast_ref::<ScalarFunctionExpr>();
        function.is_some_and(|function| {
            function.return_field(schema).is_ok_and(|field| ImageType::of(&field).is_some())
        })
    })
}

fn any_node(expr: &Arc<dyn PhysicalExpr>, mut test: impl FnMut(&Arc<dyn PhysicalExpr>) -> bool) -> bool {
    let mut found = false;
    // the closure never fails
    let _ = expr.apply(|node| {
        found |= test(node);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

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
    config: Arc<ConfigOptions>,
    running: Running,
    results: Option<Arc<Results>>,
    metrics: CallMetrics,
    /// The most bytes that a row's arguments have had.
    argument_bytes: AtomicUsize,
    /// All of the memory pool.
    memory_limit: usize,
}

impl RunningCall {
    pub(super) fn new(
        call: Arc<Call>,
        query: &Query,
        schema: &Schema,
        context: &TaskContext,
        metrics: CallMetrics,
    ) -> Self {
        let running = Running::new(query.permits(&call.signature()), metrics.usage.clone());
        let results = query.results().filter(|_| call.can_be_shared(schema));
        let memory_limit = match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => usize::MAX,
        };
        let config = Arc::clone(context.session_config().options());
        Self { call, config, running, results, metrics, argument_bytes: AtomicUsize::new(0), memory_limit }
    }

    pub(super) fn function_name(&self) -> &str {
        self.call.function.name()
    }

    /// The most bytes that a row's arguments have had until now.
    pub(super) fn argument_bytes(&self) -> usize {
        self.argument_bytes.load(Ordering::Relaxed)
    }

    /// The column of results, one for each row of `batch`.
    ///
    /// What the arguments take is reserved in `memory`. Where there is little of it they are made in halves, down to
    /// one row, which is always made unless it alone takes more than there is. Not reserved are arguments made of
    /// pixels: of these, the sizes that were seen make later slices smaller.
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
        match memory.try_grow(bytes) {
            Ok(()) => {}
            Err(_) if rows > 1 => {
                drop(args);
                let (first, second) = (batch.slice(0, rows / 2), batch.slice(rows / 2, rows - rows / 2));
                let first = Box::pin(self.evaluate(&first, memory)).await?;
                let second = Box::pin(self.evaluate(&second, memory)).await?;
                return concat_all(&[first, second]);
            }
            Err(error) if bytes > self.memory_limit => {
                return Err(too_large(self.call.function.name(), rows, bytes, &error));
            }
            // to wait for the other slices, which may wait for this one, could be for ever
            Err(_) => memory.grow(bytes),
        }
        let result = self.evaluate_arguments(args, rows).await;
        memory.shrink(bytes);
        result
    }

    async fn evaluate_arguments(self: &Arc<Self>, args: Vec<ColumnarValue>, rows: usize) -> Result<ArrayRef> {
        let Some(results) = &self.results else { return self.invoke(args, rows).await };
        let identity = identity(&format!("{} {}", self.call.signature(), constants(&args)));
        let varying: Vec<_> = args.iter().filter_map(as_array).collect();
        let keys = self.keys(&identity, &varying, rows)?;
        self.share(results, &keys, |rows| {
            let this = Arc::clone(self);
            async move { this.invoke(take_args(args, &rows)?, rows.len()).await }
        })
        .await
    }

    async fn evaluate_pixels(self: &Arc<Self>, batch: &RecordBatch, columns: &[usize]) -> Result<ArrayRef> {
        let Some(results) = &self.results else {
            return Arc::clone(self).compute_by_row(batch.clone()).await;
        };
        let read: Vec<_> = columns.iter().map(|index| Arc::clone(batch.column(*index))).collect();
        let identity = identity(&format!("{} {}", self.call.signature(), self.call.expr.func));
        let keys = self.keys(&identity, &read, batch.num_rows())?;
        self.share(results, &keys, |rows| {
            let (this, batch) = (Arc::clone(self), take_record_batch(batch, &rows));
            async move { this.compute_by_row(batch?).await }
        })
        .await
    }

    fn keys(&self, identity: &Identity, columns: &[ArrayRef], rows: usize) -> Result<Vec<Key>> {
        let _timer = self.metrics.compute.timer();
        keys(identity, columns, rows)
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
        if self.call.returns_image {
            return self.images_by_row(&batch).await;
        }
        let args = self.arguments_by_row(&batch).await?;
        self.note_size(&args, batch.num_rows());
        self.invoke(args, batch.num_rows()).await
    }

    /// The bytes of the arguments that are not columns of the input, noted as what a row takes.
    fn note_size(&self, args: &[ColumnarValue], rows: usize) -> usize {
        let made = args.iter().zip(&self.call.args).filter(|(_, expr)| !expr.is::<Column>());
        let made: Vec<_> = made.filter_map(|(value, _)| as_array(value)).collect();
        let bytes = size(&made);
        self.argument_bytes.fetch_max(bytes / rows.max(1), Ordering::Relaxed);
        bytes
    }

    fn arguments(&self, batch: &RecordBatch) -> Result<Vec<ColumnarValue>> {
        let _timer = self.metrics.compute.timer();
        self.call.args.iter().map(|arg| arg.evaluate(batch)).collect()
    }

    /// The arguments, of which those for one row are made at a time: the images that an image is made of are let go
    /// before the next row's are decoded, and what is cancelled ends between two rows.
    async fn arguments_by_row(&self, batch: &RecordBatch) -> Result<Vec<ColumnarValue>> {
        let mut rows: Vec<Vec<ColumnarValue>> = vec![];
        for row in 0..batch.num_rows() {
            // the semaphore is never closed
            let _permit = CORES.acquire().await;
            rows.push(compute(|| self.running.enter(|| self.arguments(&batch.slice(row, 1))))?);
        }
        let _timer = self.metrics.compute.timer();
        let column = |arg: usize| match &rows[0][arg] {
            constant @ ColumnarValue::Scalar(_) => Ok(constant.clone()),
            ColumnarValue::Array(_) => {
                let arrays: Vec<_> = rows.iter().filter_map(|row| as_array(&row[arg])).collect();
                Ok(ColumnarValue::Array(concat_all(&arrays)?))
            }
        };
        (0..self.call.args.len()).map(column).collect()
    }

    /// Images of images, one row at a time for the same reasons.
    async fn images_by_row(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let mut images = vec![];
        for row in 0..batch.num_rows() {
            // the semaphore is never closed
            let _permit = CORES.acquire().await;
            let args = compute(|| self.running.enter(|| self.arguments(&batch.slice(row, 1))))?;
            images.push(self.invoke(args, 1).await?);
        }
        concat_all(&images)
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
        let args = ScalarFunctionArgs {
            args,
            arg_fields: self.call.arg_fields.clone(),
            number_rows,
            return_field: Arc::clone(&self.call.return_field),
            config_options: Arc::clone(&self.config),
        };
        let waiting = self.metrics.waiting.clone();
        let result = {
            let _timer = waiting.timer();
            self.running.clone().scope(function.invoke_async_with_args(args)).await?
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

/// A slice that the memory pool has no room for.
pub(super) fn too_large(calls: &str, rows: usize, bytes: usize, error: &DataFusionError) -> DataFusionError {
    let (taken, cure) = match rows {
        1 => ("1 row takes".to_owned(), "lower semantic.slices_in_flight"),
        _ => (format!("{rows} rows take"), "lower semantic.slice_bytes or semantic.slices_in_flight"),
    };
    DataFusionError::ResourcesExhausted(format!(
        "{calls}: {taken} {bytes} bytes, more than the memory limit leaves; {cure}, or raise \
         datafusion.runtime.memory_limit ({})",
        error.find_root().message()
    ))
}

/// The constant arguments, in words that tell them apart.
fn constants(args: &[ColumnarValue]) -> String {
    let words = args.iter().map(|arg| match arg {
        ColumnarValue::Scalar(value) => format!("{value:?}"),
        ColumnarValue::Array(_) => "column".to_owned(),
    });
    words.collect::<Vec<_>>().join(", ")
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
