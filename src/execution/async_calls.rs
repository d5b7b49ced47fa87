//! The operator [`AsyncCallsExec`].
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::async_scalar_function::AsyncFuncExpr;
use datafusion::physical_expr::equivalence::ProjectionMapping;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, FilterDescription, FilterPushdownPhase,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
};

use super::call::Call;
use super::memory::Memory;
use super::narrow::narrow;
use super::query::Queries;
use super::running_call::{CallMetrics, RunningCall};
use super::stream::CallStream;

/// Appends the results of async calls to the rows of its input: the columns of the input, then one for each call.
///
/// - Rows keep their order and their number. Partitions stay as they are: more of them would not make calls faster.
/// - Input is cut into slices of at most `semantic.slice_rows` rows (fewer where a function asks for fewer) and about
///   `semantic.slice_bytes` bytes of input, arguments and results. `semantic.slices_in_flight` of them are computed at
///   the same time in each partition, every one in a task of its own. The first slices are small. Input is read
///   when a slice has room for it, so what is above and what is below work at the same time.
/// - Equal inputs of a call are computed once in a query, over all its operators and partitions, as long as the
///   results take no more than `semantic.cache_bytes`. Not for volatile functions.
/// - Memory: the slices in flight and those results, both taken from the memory pool; and the images that
///   are decoded, one row's for each core. Where the pool is short, slices are made smaller and fewer, and the
///   results are forgotten; one row at a time always goes on, unless it takes more than the whole pool.
/// - Dropping the stream aborts the tasks; the work of one row on a thread for pixels may end unobserved.
#[derive(Debug)]
pub struct AsyncCallsExec {
    calls: Vec<Arc<Call>>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    queries: Arc<Queries>,
    metrics: ExecutionPlanMetricsSet,
}

impl AsyncCallsExec {
    /// Of the expressions that DataFusion's planner made for its own operator over `input`. The operators of a plan
    /// share `queries`.
    pub(crate) fn try_new(
        exprs: impl IntoIterator<Item = Arc<AsyncFuncExpr>>,
        input: Arc<dyn ExecutionPlan>,
        queries: Arc<Queries>,
    ) -> Result<Self> {
        let schema = input.schema();
        let calls = exprs.into_iter().map(|expr| Ok(Arc::new(Call::try_new(expr, &schema)?)));
        let calls = calls.collect::<Result<Vec<_>>>()?;
        let properties = Arc::new(properties(&calls, &input)?);
        Ok(Self { calls, input, properties, queries, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// How many rows the input has, as far as statistics tell.
    pub(super) fn estimated_rows(&self) -> Precision<usize> {
        let statistics = StatisticsContext::new().compute(self.input.as_ref(), &StatisticsArgs::new());
        statistics.map_or(Precision::Absent, |statistics| statistics.num_rows)
    }

    pub(super) fn number_of_calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn calls(&self) -> String {
        self.calls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

fn properties(calls: &[Arc<Call>], input: &Arc<dyn ExecutionPlan>) -> Result<PlanProperties> {
    let schema = input.schema();
    let of_calls = calls.iter().map(|call| call.expr().return_field(&schema)).collect::<Result<Vec<_>>>()?;
    let fields: Vec<_> = schema.fields().iter().cloned().chain(of_calls).collect();
    let output: SchemaRef = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    // the columns of the input keep their places, and with them its orderings hold
    let passed = schema.fields().iter().enumerate().map(|(index, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
        (column, field.name().clone())
    });
    let mapping = ProjectionMapping::try_new(passed, &schema)?;
    Ok(PlanProperties::new(
        input.equivalence_properties().project(&mapping, output),
        input.output_partitioning().clone(),
        input.pipeline_behavior(),
        input.boundedness(),
    ))
}

impl DisplayAs for AsyncCallsExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = match self.estimated_rows() {
            Precision::Exact(rows) => rows.to_string(),
            Precision::Inexact(rows) => format!("about {rows}"),
            Precision::Absent => "unknown".to_owned(),
        };
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "AsyncCallsExec: calls=[{}], rows={rows}", self.calls())
            }
            DisplayFormatType::TreeRender => {
                for call in &self.calls {
                    writeln!(f, "{call}")?;
                }
                writeln!(f, "rows={rows}")
            }
        }
    }
}

impl ExecutionPlan for AsyncCallsExec {
    fn name(&self) -> &'static str {
        "AsyncCallsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for call in &self.calls {
            let expr: Arc<dyn PhysicalExpr> = Arc::<AsyncFuncExpr>::clone(call.expr());
            if f(&expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("AsyncCallsExec has one input");
        };
        let exprs = self.calls.iter().map(|call| Arc::clone(call.expr()));
        Ok(Arc::new(Self::try_new(exprs, input, Arc::clone(&self.queries))?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let query = self.queries.of(&context);
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let metrics = CallMetrics::new(&self.metrics, partition, baseline.elapsed_compute().clone());
        let (schema, config) = (self.input.schema(), context.session_config().options());
        let functions: Vec<_> = self.calls.iter().map(|call| call.function.name()).collect();
        let memory = Arc::new(Memory::new(&context, partition, functions.join(", ")));
        let calls = self.calls.iter().map(|call| {
            let (call, config, memory) = (Arc::clone(call), Arc::clone(config), Arc::clone(&memory));
            let body = self.queries.body(call.function.name());
            Arc::new(RunningCall::new(call, body, &query, &schema, config, memory, metrics.clone()))
        });
        let max_rows = self.calls.iter().filter_map(|call| call.max_rows());
        let max_rows = max_rows.fold(query.settings().slice_rows, usize::min);
        let (calls, schema) = (calls.collect(), self.schema());
        let stream = CallStream::new(input, schema, calls, max_rows, query, memory, baseline);
        Ok(Box::pin(stream))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let [input] = inputs else { return internal_err!("AsyncCallsExec has one input") };
        let mut statistics = input.as_ref().clone();
        statistics.total_byte_size = Precision::Absent;
        statistics.column_statistics.extend(self.calls.iter().map(|_| ColumnStatistics::new_unknown()));
        Ok(Arc::new(statistics))
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let exprs = self.calls.iter().map(|call| Arc::clone(call.expr()));
        let Some(narrowed) = narrow(exprs, &self.input, projection.expr())? else { return Ok(None) };
        let operator = Self::try_new(narrowed.calls, narrowed.input, Arc::clone(&self.queries))?;
        let schema = projection.schema();
        let above =
            ProjectionExec::try_new_with_schema_metadata(narrowed.above, Arc::new(operator), &schema)?;
        Ok(Some(Arc::new(above)))
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        // A predicate over columns of the input holds for its rows as they are. DataFusion finds them by name, which
        // of two columns of one name can be the wrong one.
        let schema = self.input.schema();
        let found = schema.fields().iter().enumerate();
        let found = found.filter(|(index, field)| schema.index_of(field.name()).ok() == Some(*index));
        let indices = found.map(|(index, _)| index).collect();
        let child =
            ChildFilterDescription::from_child_with_allowed_indices(&parent_filters, indices, &self.input)?;
        Ok(FilterDescription::new().with_child(child))
    }
}
