//! The operator [`NearestJoinExec`].
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, prep_null_mask_filter, take};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, JoinSide, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::joins::CrossJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::memory::limit;
use super::size::size;
use crate::types::vectors::{Vectors, with_dense_numbers};
use crate::vector::{Keep, Metric, Nearest, Pair, Wanted};

/// The distance between a vector of each side of a join.
#[derive(Debug, Clone)]
pub(crate) struct Distance {
    pub(crate) metric: Metric,
    /// Over the left side.
    pub(crate) left: Arc<dyn PhysicalExpr>,
    /// Over the right side.
    pub(crate) right: Arc<dyn PhysicalExpr>,
}

/// Whose nearest are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Right rows of each left row.
    EachLeft,
    /// Left rows of each right row.
    EachRight,
    /// All pairs.
    All,
}

/// Which pairs of a join are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct WantedPairs {
    /// The nearest, so many; all if `None`.
    pub(crate) k: Option<usize>,
    pub(crate) of: Of,
    /// Only those whose distance is not beyond this.
    pub(crate) within: Option<f64>,
    /// Whether an undefined distance comes before all others.
    pub(crate) undefined_is_nearest: bool,
}

/// An inner join without the pairs that cannot be among the nearest.
///
/// What is above it orders the pairs and cuts them, as it would those of any join; it gets all that it can keep,
/// with all that are as near as the last of them, as a rule in the order in which a cross join gives them. So the answer
/// is the same (also of `min` over distances, but for groups with a NaN, which DataFusion's forgets what came before), and it is found in a fraction of the pairs. Most of those are excluded by a matrix product whose error is
/// known; for the others the condition of the join is checked, and the distance is computed as the SQL function does.
///
/// The left side is held in memory, which comes from the pool, as does that for the found pairs; of the right side, one
/// batch. Partitions are those of
/// the right side, and each of them finds the nearest of its own rows.
#[derive(Debug, Clone)]
pub struct NearestJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    distance: Distance,
    wanted: WantedPairs,
    condition: Option<JoinFilter>,
    /// Once for all partitions, also if it fails.
    collected: Arc<OnceCell<Result<Arc<Collected>, Arc<DataFusionError>>>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The left side.
#[derive(Debug)]
struct Collected {
    batch: RecordBatch,
    vectors: Vectors,
    /// The length of most vectors; `None` if there is none of any length: then nothing can be left out.
    dimensions: Option<usize>,
    /// The vectors, if the nearest of each of them are wanted, or of all.
    wanted: Option<Arc<Wanted>>,
    memory: MemoryReservation,
}

impl NearestJoinExec {
    pub(crate) fn new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        distance: Distance,
        wanted: WantedPairs,
        condition: Option<JoinFilter>,
    ) -> Self {
        let properties =
            CrossJoinExec::new(Arc::clone(&left), Arc::clone(&right)).properties().as_ref().clone();
        // an endless left side would never be there
        let properties = match left.boundedness().is_unbounded() {
            true => properties,
            false => properties.with_emission_type(right.properties().emission_type),
        };
        Self {
            left,
            right,
            distance,
            wanted,
            condition,
            collected: Arc::default(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    async fn collect(self: Arc<Self>, context: Arc<TaskContext>) -> Result<Arc<Collected>> {
        let memory = MemoryConsumer::new("NearestJoinExec").register(context.memory_pool());
        let grow = |bytes| {
            memory.try_grow(bytes).map_err(|error| {
                DataFusionError::ResourcesExhausted(format!(
                    "one side of a join of vectors takes more than is left of the memory limit of {}: join with fewer \
                     rows at a time, or raise datafusion.runtime.memory_limit ({})",
                    limit(context.memory_pool()),
                    error.find_root().message()
                ))
            })
        };
        let mut stream = self.left.execute(0, Arc::clone(&context))?;
        let mut batches = vec![];
        while let Some(batch) = stream.try_next().await? {
            grow(size(batch.columns()))?;
            batches.push(batch);
        }
        let batch = match batches.as_slice() {
            [batch] => batch.clone(),
            batches => {
                let bytes = memory.size();
                grow(bytes)?;
                let batch = concat_batches(&self.left.schema(), batches)?;
                memory.shrink(bytes);
                batch
            }
        };
        drop(batches);
        let (vectors, rows) = (vectors(&self.distance.left, &batch)?, 0..batch.num_rows());
        let of_right = Vectors::dimensions_of(&self.distance.right.data_type(&self.right.schema())?);
        let of_left = || rows.clone().find_map(|row| Some(vectors.range(row)?.len()));
        let dimensions = of_right.or_else(of_left).filter(|dimensions| *dimensions > 0);
        let wanted = match (dimensions, self.wanted.of) {
            (None, _) | (_, Of::EachRight) => None,
            (Some(dimensions), _) => {
                grow(rows.len() * Wanted::bytes_per_vector(dimensions))?;
                Some(Arc::new(wanted(self.distance.metric, &vectors, rows, dimensions)))
            }
        };
        Ok(Arc::new(Collected { batch, vectors, dimensions, wanted, memory }))
    }
}

/// The vectors that an expression gives for the rows of a batch.
fn vectors(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<Vectors> {
    Ok(Vectors::new(&expr.evaluate(batch)?.into_array(batch.num_rows())?)?)
}

fn wanted(metric: Metric, vectors: &Vectors, rows: Range<usize>, dimensions: usize) -> Wanted {
    let slots = vectors.slots(rows.clone(), dimensions);
    with_dense_numbers!(vectors, rows.clone(), dimensions, items => {
        Wanted::new(metric, items, dimensions, slots)
    })
}

/// Compares a block of rows with a block of the vectors of `nearest`.
fn push(
    nearest: &mut Nearest,
    block: usize,
    vectors: &Vectors,
    rows: Range<usize>,
    dimensions: usize,
    pass: impl FnMut(&mut Vec<Pair>) -> Result<()>,
    found: &mut Vec<Pair>,
) -> Result<()> {
    let slots = vectors.slots(rows.clone(), dimensions);
    with_dense_numbers!(vectors, rows.clone(), dimensions, items => nearest.push(block, items, &slots, pass, found))
}

/// `of` cut into parts of at most `length`.
fn parts(of: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    of.clone().step_by(length).map(move |start| start..of.end.min(start + length))
}

impl DisplayAs for NearestJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Distance { metric, left, right } = &self.distance;
        write!(f, "NearestJoinExec: ")?;
        if let Some(k) = self.wanted.k {
            let of = match self.wanted.of {
                Of::EachLeft => "each left row",
                Of::EachRight => "each right row",
                Of::All => "all pairs",
            };
            write!(f, "k={k} of {of}, ")?;
        }
        if let Some(within) = self.wanted.within {
            write!(f, "within={within}, ")?;
        }
        let (vectors, rows) = (Nearest::block_vectors(), Nearest::block_rows());
        write!(f, "metric={metric:?}, vectors=[{left}, {right}], block={vectors}x{rows}")?;
        match &self.condition {
            Some(condition) => write!(f, ", filter={}", condition.expression()),
            None => Ok(()),
        }
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
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let condition = self.condition.as_ref().map(JoinFilter::expression);
        for expr in [&self.distance.left, &self.distance.right].into_iter().chain(condition) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(right), Some(left), true) = (children.pop(), children.pop(), children.is_empty()) else {
            return internal_err!("NearestJoinExec has two inputs");
        };
        let (distance, condition) = (self.distance.clone(), self.condition.clone());
        Ok(Arc::new(Self::new(left, right, distance, self.wanted, condition)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let this = Arc::new(self.clone());
        let right = self.right.execute(partition, Arc::clone(&context))?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let pruned = MetricBuilder::new(&self.metrics).counter("pruned_pairs", partition);
        let pairs = Pairs { this, context, right, joined: None, batch: None, metrics, pruned };
        let stream = futures::stream::try_unfold(pairs, |mut pairs| async move {
            Ok(pairs.next().await?.map(|batch| (batch, pairs)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// So many found pairs are handed on before more are looked for in the same batch.
const MOST_FOUND: usize = 1 << 20;

/// The pairs of one partition.
struct Pairs {
    this: Arc<NearestJoinExec>,
    context: Arc<TaskContext>,
    right: SendableRecordBatchStream,
    /// Once the left side is there.
    joined: Option<Joined>,
    batch: Option<RightBatch>,
    metrics: BaselineMetrics,
    pruned: Count,
}

/// The left side, and what is known of its nearest.
struct Joined {
    left: Arc<Collected>,
    nearest: Option<Nearest>,
    /// For what `nearest` keeps.
    memory: MemoryReservation,
}

/// A batch of the right side.
struct RightBatch {
    batch: RecordBatch,
    vectors: Vectors,
    /// The first of its rows that was not compared with all left rows...
    next: usize,
    /// ... but with these blocks of them.
    block: usize,
    /// Numbers of left and right rows that were found and not handed on.
    found: std::vec::IntoIter<(u32, u32)>,
}

impl Pairs {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.joined.is_none() {
            let (this, context) = (Arc::clone(&self.this), Arc::clone(&self.context));
            let collect = async || this.collect(context).await.map_err(Arc::new);
            let left = match self.this.collected.get_or_init(collect).await {
                Ok(left) => Arc::clone(left),
                Err(error) => return Err(DataFusionError::Shared(Arc::clone(error))),
            };
            let nearest = left.wanted.as_ref().map(|wanted| self.this.nearest(wanted));
            self.joined = Some(Joined { memory: left.memory.new_empty(), left, nearest });
        }
        let Some(joined) = &mut self.joined else { return internal_err!("the left side is there") };
        let lefts = joined.left.batch.num_rows();
        if lefts == 0 {
            return Ok(None);
        }
        let this = &self.this;
        loop {
            if let Some(right) = &mut self.batch {
                if right.found.len() > 0 {
                    let _timer = self.metrics.elapsed_compute().timer();
                    let rows = self.context.session_config().batch_size();
                    let pairs: Vec<_> = right.found.by_ref().take(rows).collect();
                    let batch = joined_rows(&joined.left.batch, &right.batch, &pairs, &this.schema())?;
                    self.metrics.record_output(batch.num_rows());
                    return Ok(Some(batch));
                }
                let (mut found, mut compared) = (vec![], 0);
                while right.next < right.batch.num_rows() && found.len() < MOST_FOUND {
                    compared +=
                        this.search(joined, right, self.metrics.elapsed_compute(), &mut found).await?;
                }
                if compared > 0 {
                    self.pruned.add(compared - found.len());
                    // as a cross join orders them, if these are all pairs of the batch
                    found.sort_unstable();
                    right.found = found.into_iter();
                    continue;
                }
            }
            let Some(batch) = self.right.next().await.transpose()? else { return Ok(None) };
            let vectors = vectors(&this.distance.right, &batch)?;
            self.batch = Some(RightBatch { batch, vectors, next: 0, block: 0, found: vec![].into_iter() });
        }
    }
}

impl NearestJoinExec {
    fn nearest(&self, wanted: &Arc<Wanted>) -> Nearest {
        let WantedPairs { k, of, within, undefined_is_nearest } = self.wanted;
        Nearest::new(Arc::clone(wanted), Keep { k, of_all: of == Of::All, within, undefined_is_nearest })
    }

    /// Compares the next block of right rows with the next block of left rows, or, if the nearest of each right row are
    /// wanted, with all of them; gives the number of pairs that were compared.
    ///
    /// Other tasks of the thread come in between blocks, and what is cancelled ends.
    async fn search(
        &self,
        joined: &mut Joined,
        right: &mut RightBatch,
        time: &Time,
        found: &mut Vec<(u32, u32)>,
    ) -> Result<usize> {
        let (left, all) = (&joined.left, 0..joined.left.batch.num_rows());
        let mut pairs = vec![];
        let rest = right.next..right.batch.num_rows();
        match (&mut joined.nearest, left.dimensions) {
            (Some(nearest), Some(dimensions)) => {
                tokio::task::consume_budget().await;
                let _timer = time.timer();
                let rows = parts(rest, Nearest::block_rows()).next().unwrap_or_default();
                let lefts = parts(all, Nearest::block_vectors()).nth(right.block).unwrap_or_default();
                let pass = |pairs: &mut Vec<Pair>| {
                    self.pass(pairs, &left.batch, &right.batch, |pair| (pair.vector, rows.start + pair.row))
                };
                push(nearest, right.block, &right.vectors, rows.clone(), dimensions, pass, &mut pairs)?;
                found.extend(pairs.iter().map(|pair| numbers(pair.vector, rows.start + pair.row)));
                joined.memory.try_resize(nearest.bytes() + size_of_val(found.as_slice()))?;
                right.block += 1;
                if right.block == nearest.blocks() {
                    (right.block, right.next) = (0, rows.end);
                }
                Ok(rows.len() * lefts.len())
            }
            (None, Some(dimensions)) => {
                let rows = parts(rest, Nearest::block_vectors()).next().unwrap_or_default();
                let wanted = Arc::new(wanted(self.distance.metric, &right.vectors, rows.clone(), dimensions));
                let mut nearest = self.nearest(&wanted);
                for lefts in parts(all.clone(), Nearest::block_rows()) {
                    tokio::task::consume_budget().await;
                    let _timer = time.timer();
                    let first = pairs.len();
                    let pass = |pairs: &mut Vec<Pair>| {
                        self.pass(pairs, &left.batch, &right.batch, |pair| {
                            (lefts.start + pair.row, rows.start + pair.vector)
                        })
                    };
                    push(&mut nearest, 0, &left.vectors, lefts.clone(), dimensions, pass, &mut pairs)?;
                    pairs[first..].iter_mut().for_each(|pair| pair.row += lefts.start);
                    if pairs.len() > MOST_FOUND {
                        pairs.retain(|pair| nearest.is_kept(pair));
                    }
                    joined.memory.try_resize(nearest.bytes() + size_of_val(pairs.as_slice()))?;
                }
                pairs.retain(|pair| nearest.is_kept(pair));
                found.extend(pairs.iter().map(|pair| numbers(pair.row, rows.start + pair.vector)));
                right.next = rows.end;
                Ok(rows.len() * all.len())
            }
            (_, None) => {
                tokio::task::consume_budget().await;
                let row = right.next;
                let mut pairs = all.clone().map(|left| Pair::new(left, row)).collect();
                self.pass(&mut pairs, &left.batch, &right.batch, |pair| (pair.vector, pair.row))?;
                found.extend(pairs.iter().map(|pair| numbers(pair.vector, pair.row)));
                right.next += 1;
                Ok(all.len())
            }
        }
    }

    /// Drops the pairs for which the condition does not hold; `numbers_of` gives the left and the right row of one.
    fn pass(
        &self,
        pairs: &mut Vec<Pair>,
        left: &RecordBatch,
        right: &RecordBatch,
        numbers_of: impl Fn(&Pair) -> (usize, usize),
    ) -> Result<()> {
        let (Some(condition), false) = (&self.condition, pairs.is_empty()) else { return Ok(()) };
        let numbers: Vec<_> =
            pairs.iter().map(&numbers_of).map(|(left, right)| numbers(left, right)).collect();
        let mut held = Vec::with_capacity(pairs.len());
        for part in numbers.chunks(PAIRS_OF_CONDITION) {
            let (lefts, rights) = columns_of(part);
            let columns = condition.column_indices().iter().map(|column| match column.side {
                JoinSide::Left => take(left.column(column.index), &lefts, None),
                _ => take(right.column(column.index), &rights, None),
            });
            let columns = columns.collect::<Result<_, _>>()?;
            let rows = batch_of(condition.schema(), columns, part.len())?;
            let holds = condition.expression().evaluate(&rows)?.into_array(part.len())?;
            let Some(holds) = holds.as_boolean_opt() else {
                return internal_err!("the condition of a join is true or false");
            };
            // what is unknown does not hold
            let holds = if holds.null_count() > 0 { prep_null_mask_filter(holds) } else { holds.clone() };
            held.extend(holds.values().iter());
        }
        let mut held = held.into_iter();
        pairs.retain(|_| held.next().unwrap_or(false));
        Ok(())
    }
}

/// So many pairs are put together to check the condition of a join.
const PAIRS_OF_CONDITION: usize = 4096;

#[expect(clippy::cast_possible_truncation, reason = "rows of batches")]
fn numbers(left: usize, right: usize) -> (u32, u32) {
    (left as u32, right as u32)
}

fn columns_of(pairs: &[(u32, u32)]) -> (UInt32Array, UInt32Array) {
    (pairs.iter().map(|(left, _)| *left).collect(), pairs.iter().map(|(_, right)| *right).collect())
}

/// The rows of pairs.
fn joined_rows(
    left: &RecordBatch,
    right: &RecordBatch,
    pairs: &[(u32, u32)],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let (lefts, rights) = columns_of(pairs);
    let of_left = left.columns().iter().map(|column| take(column, &lefts, None));
    let of_right = right.columns().iter().map(|column| take(column, &rights, None));
    batch_of(schema, of_left.chain(of_right).collect::<Result<_, _>>()?, pairs.len())
}

fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
