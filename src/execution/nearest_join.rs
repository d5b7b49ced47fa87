//! The operator [`NearestJoinExec`].
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Float32Type, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::joins::CrossJoinExec;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, PhysicalExpr,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::memory::limit;
use super::size::size;
use crate::vector::{Metric, Nearest, Wanted};

/// Two columns of vectors, of two sides of a join, by whose distance rows are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Distance {
    pub(crate) metric: Metric,
    /// The column of vectors on the left side.
    pub(crate) left: usize,
    /// The column of vectors on the right side.
    pub(crate) right: usize,
    pub(crate) dimensions: usize,
}

/// A cross join without the pairs that cannot be among the `k` nearest of a row of the left side.
///
/// What is above it orders the pairs and cuts them, as it would those of a cross join; it gets all that it can keep,
/// with all that are as near as the last of them, in the order in which a cross join gives them. So the answer is the
/// same, and it is found in a fraction of the pairs. Most of those are excluded by a matrix product whose error is
/// known; for the others the distance is computed as the SQL function does.
///
/// The left side is held in memory, which comes from the pool; of the right side, one batch. Partitions are those of
/// the right side, and each of them finds the nearest of its own rows.
#[derive(Debug, Clone)]
pub struct NearestJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    distance: Distance,
    k: usize,
    undefined_is_nearest: bool,
    collected: Arc<OnceCell<Arc<Collected>>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The left side.
#[derive(Debug)]
struct Collected {
    batch: RecordBatch,
    wanted: Arc<Wanted>,
    _memory: MemoryReservation,
}

impl NearestJoinExec {
    pub(crate) fn new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        distance: Distance,
        k: usize,
        undefined_is_nearest: bool,
    ) -> Self {
        let properties =
            CrossJoinExec::new(Arc::clone(&left), Arc::clone(&right)).properties().as_ref().clone();
        let properties = properties.with_emission_type(right.properties().emission_type);
        Self {
            left,
            right,
            distance,
            k,
            undefined_is_nearest,
            collected: Arc::default(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    async fn collect(self: Arc<Self>, context: Arc<TaskContext>) -> Result<Arc<Collected>> {
        let schema = self.left.schema();
        let memory = MemoryConsumer::new("NearestJoinExec").register(context.memory_pool());
        let mut stream = self.left.execute(0, Arc::clone(&context))?;
        let mut batches = vec![];
        while let Some(batch) = stream.try_next().await? {
            let bytes =
                size(batch.columns()) + batch.num_rows() * Wanted::bytes_per_vector(self.distance.dimensions);
            memory.try_grow(bytes).map_err(|error| {
                DataFusionError::ResourcesExhausted(format!(
                    "the left side of a CROSS JOIN takes more than is left of the memory limit of {}: put the table \
                     with fewer rows on the left, or raise datafusion.runtime.memory_limit ({})",
                    limit(context.memory_pool()),
                    error.find_root().message()
                ))
            })?;
            batches.push(batch);
        }
        let batch = concat_batches(&schema, &batches)?;
        let Vectors { items, is_valid } =
            vectors(batch.column(self.distance.left), self.distance.dimensions)?;
        let valid = (0..batch.num_rows()).map(is_valid).collect();
        let Distance { metric, dimensions, .. } = self.distance;
        let wanted = Arc::new(Wanted::new(metric, items, dimensions, valid, self.undefined_is_nearest));
        Ok(Arc::new(Collected { batch, wanted, _memory: memory }))
    }
}

/// A column of vectors.
struct Vectors<'a, F> {
    /// Those of all rows, one behind the other; of a NULL whatever numbers.
    items: &'a [f32],
    is_valid: F,
}

/// A vector with a NULL in it is NULL.
fn vectors(column: &ArrayRef, dimensions: usize) -> Result<Vectors<'_, impl Fn(usize) -> bool>> {
    let Some(list) = column.as_fixed_size_list_opt() else {
        return internal_err!("expected vectors, found {}", column.data_type());
    };
    let items = list.values().as_primitive::<Float32Type>();
    let is_valid = move |row: usize| {
        list.is_valid(row)
            && items.nulls().is_none_or(|nulls| nulls.slice(row * dimensions, dimensions).null_count() == 0)
    };
    Ok(Vectors { items: items.values(), is_valid })
}

/// The pairs of one right batch.
fn pairs(
    nearest: &mut Nearest,
    vectors: &Vectors<'_, impl Fn(usize) -> bool>,
    rows: std::ops::Range<usize>,
    dimensions: usize,
    found: &mut Vec<(u32, u32)>,
) {
    let items = &vectors.items[rows.start * dimensions..rows.end * dimensions];
    nearest.push(
        items,
        rows.len(),
        |row| (vectors.is_valid)(rows.start + row),
        #[expect(clippy::cast_possible_truncation, reason = "rows of batches")]
        |vector, row| found.push((vector as u32, (rows.start + row) as u32)),
    );
}

impl DisplayAs for NearestJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Distance { metric, left, right, dimensions } = self.distance;
        write!(
            f,
            "NearestJoinExec: k={}, metric={metric:?}, vectors=[{}@{left}, {}@{right}], dimensions={dimensions}, \
             block_rows={}",
            self.k,
            self.left.schema().field(left).name(),
            self.right.schema().field(right).name(),
            Nearest::block_rows(),
        )
    }
}

impl ExecutionPlan for NearestJoinExec {
    fn name(&self) -> &'static str {
        "NearestJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![
            Distribution::SinglePartition,
            Distribution::UnspecifiedDistribution,
        ])
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(right), Some(left), true) = (children.pop(), children.pop(), children.is_empty()) else {
            return internal_err!("NearestJoinExec has two inputs");
        };
        Ok(Arc::new(Self::new(left, right, self.distance.clone(), self.k, self.undefined_is_nearest)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let this = Arc::new(self.clone());
        let right = self.right.execute(partition, Arc::clone(&context))?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let pruned = MetricBuilder::new(&self.metrics).counter("pruned_pairs", partition);
        let pairs = Pairs { this, context, right, joined: None, metrics, pruned };
        let stream = futures::stream::try_unfold(pairs, |mut pairs| async move {
            Ok(pairs.next().await?.map(|batch| (batch, pairs)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The pairs of one partition.
struct Pairs {
    this: Arc<NearestJoinExec>,
    context: Arc<TaskContext>,
    right: SendableRecordBatchStream,
    /// The left side and what is known of its nearest, once the left side is there.
    joined: Option<(Arc<Collected>, Nearest)>,
    metrics: BaselineMetrics,
    pruned: Count,
}

impl Pairs {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.joined.is_none() {
            let (this, context) = (Arc::clone(&self.this), Arc::clone(&self.context));
            let collected = self.this.collected.get_or_try_init(|| this.collect(context)).await?;
            let nearest = Nearest::new(Arc::clone(&collected.wanted), self.this.k);
            self.joined = Some((Arc::clone(collected), nearest));
        }
        let Some((left, nearest)) = &mut self.joined else { return internal_err!("the left side is there") };
        let distance = &self.this.distance;
        while let Some(right) = self.right.next().await.transpose()? {
            if left.batch.num_rows().saturating_mul(right.num_rows()) == 0 {
                continue;
            }
            let mut found = vec![];
            for start in (0..right.num_rows()).step_by(Nearest::block_rows()) {
                // other tasks of this thread come in between, and what is cancelled ends
                tokio::task::consume_budget().await;
                let _timer = self.metrics.elapsed_compute().timer();
                let vectors = vectors(right.column(distance.right), distance.dimensions)?;
                let end = right.num_rows().min(start + Nearest::block_rows());
                pairs(nearest, &vectors, start..end, distance.dimensions, &mut found);
            }
            self.pruned.add(left.batch.num_rows() * right.num_rows() - found.len());
            if found.is_empty() {
                continue;
            }
            let _timer = self.metrics.elapsed_compute().timer();
            // as a cross join orders them
            found.sort_unstable();
            let batch = joined(&left.batch, &right, &found, &self.this.schema())?;
            self.metrics.record_output(batch.num_rows());
            return Ok(Some(batch));
        }
        Ok(None)
    }
}

/// The rows of pairs.
fn joined(
    left: &RecordBatch,
    right: &RecordBatch,
    pairs: &[(u32, u32)],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let rows_of_left: UInt32Array = pairs.iter().map(|(left, _)| *left).collect();
    let rows_of_right: UInt32Array = pairs.iter().map(|(_, right)| *right).collect();
    let of_left = left.columns().iter().map(|column| take(column, &rows_of_left, None));
    let of_right = right.columns().iter().map(|column| take(column, &rows_of_right, None));
    let columns = of_left.chain(of_right).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(pairs.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The dimensions of a column of vectors that the operator can compare.
pub(crate) fn dimensions(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeList(item, dimensions) if item.data_type() == &DataType::Float32 => {
            usize::try_from(*dimensions).ok().filter(|dimensions| *dimensions > 0)
        }
        _ => None,
    }
}
