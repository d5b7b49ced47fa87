//! Lets a cross join leave out pairs that a limit above it would cut.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinSide, JoinType, Result, ScalarValue};
use datafusion::logical_expr::{Operator, ScalarUDF};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::{collect_columns, split_conjunction};
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::config::SemanticOptions;
use crate::execution::{Distance, NearestJoinExec, Of, WantedPairs};
use crate::vector::Metric;

/// The rule `semantic.nearest_join`: a join of vectors, of whose pairs only the nearest are wanted, becomes a
/// [`NearestJoinExec`]. Only the join changes: it leaves pairs out, and what is above it decides as before. A search
/// for the rows that are nearest to a constant is a join with one row.
///
/// The join is a cross join, or an inner one whose condition is no equality. The nearest are wanted by
/// - `ORDER BY distance(a, b) ... LIMIT k`;
/// - `ROW_NUMBER() OVER (PARTITION BY columns of one side ORDER BY distance(a, b) ...) <= k`, also in `QUALIFY`;
/// - `SELECT columns of one side, min(distance(a, b)) ... GROUP BY columns of one side`;
/// - `SELECT DISTINCT ON (columns of one side) ... ORDER BY these, distance(a, b)`;
/// - `WHERE distance(a, b) < a constant`.
///
/// It is one of the first physical rules: those after it move the inputs of a join and add operators in between.
#[derive(Debug)]
pub(super) struct NearestJoin(pub(super) MetricOf);

/// So many rows are worth holding in memory, rather than a side whose rows nobody has counted.
const FEW_ROWS: usize = 1 << 16;

/// The metric that a function computes for two vectors, if it does: a name says nothing, a user can have a function of
/// the same name.
pub type MetricOf = fn(&ScalarUDF) -> Option<Metric>;

impl NearestJoin {
    pub(super) const NAME: &'static str = "semantic.nearest_join";
}

impl PhysicalOptimizerRule for NearestJoin {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let enabled = config.extensions.get::<SemanticOptions>().is_none_or(|o| o.settings().nearest_join);
        if !enabled {
            return Ok(plan);
        }
        let nearest = plan.transform_down(|node| match wanted(&node) {
            Some((input, wanted)) => match prune(&input, &wanted, self.0)? {
                Some(pruned) => replace(node, &input, &pruned).map(Transformed::yes),
                None => Ok(Transformed::no(node)),
            },
            None => Ok(Transformed::no(node)),
        })?;
        let near = nearest.data.transform_down(|node| match prune_within(&node, self.0)? {
            Some(pruned) => Ok(Transformed::yes(pruned)),
            None => Ok(Transformed::no(node)),
        })?;
        Ok(near.data)
    }
}

/// Which rows of a node's input are wanted.
struct Wanted {
    /// Those with the first of its values.
    key: Arc<dyn PhysicalExpr>,
    options: SortOptions,
    /// So many of them...
    k: usize,
    /// ... for each value of these.
    of_each: Vec<Arc<dyn PhysicalExpr>>,
}

/// The input of which `node` wants only some rows, and which.
fn wanted(node: &Arc<dyn ExecutionPlan>) -> Option<(Arc<dyn ExecutionPlan>, Wanted)> {
    if let Some(sort) = node.downcast_ref::<SortExec>() {
        let first = sort.expr().first();
        let wanted = Wanted {
            key: Arc::clone(&first.expr),
            options: first.options,
            k: sort.fetch()?,
            of_each: vec![],
        };
        return Some((Arc::clone(sort.input()), wanted));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        return wanted_by_row_number(filter);
    }
    wanted_by_aggregate(node.downcast_ref::<AggregateExec>()?)
}

/// The smallest of each group, by `min(distance)`; or its first row, by `DISTINCT ON`.
fn wanted_by_aggregate(aggregate: &AggregateExec) -> Option<(Arc<dyn ExecutionPlan>, Wanted)> {
    let groups = aggregate.group_expr();
    let unfiltered = aggregate.filter_expr().iter().all(Option::is_none);
    if !unfiltered || !groups.is_single() || groups.is_empty() {
        return None;
    }
    let of_each: Vec<_> = groups.expr().iter().map(|(expr, _)| Arc::clone(expr)).collect();
    let [function, others @ ..] = aggregate.aggr_expr() else { return None };
    let (key, options) = match (function.fun().name(), function.expressions().as_slice()) {
        ("min", [key]) if others.is_empty() => {
            (Arc::clone(key), SortOptions { descending: false, nulls_first: false })
        }
        ("first_value", _) => {
            let order = function.order_bys();
            let same = |other: &Arc<AggregateFunctionExpr>| {
                other.fun().name() == "first_value" && other.order_bys() == order
            };
            let plain = aggregate.aggr_expr().iter().all(|one| !one.ignore_nulls() && !one.is_distinct());
            if !plain || !others.iter().all(same) {
                return None;
            }
            // in a group, what it is grouped by is the same
            let first = order.iter().find(|key| !of_each.contains(&key.expr))?;
            (Arc::clone(&first.expr), first.options)
        }
        _ => return None,
    };
    Some((Arc::clone(aggregate.input()), Wanted { key, options, k: 1, of_each }))
}

/// `row_number() <= k` above the window that computes it, and nothing else.
fn wanted_by_row_number(filter: &FilterExec) -> Option<(Arc<dyn ExecutionPlan>, Wanted)> {
    let mut below = Arc::clone(filter.input());
    let mut conjuncts: Vec<Arc<dyn PhysicalExpr>> =
        split_conjunction(filter.predicate()).into_iter().cloned().collect();
    while let Some(projection) = below.downcast_ref::<ProjectionExec>() {
        conjuncts = conjuncts.iter().map(|expr| through(expr, projection)).collect::<Option<_>>()?;
        below = Arc::clone(projection.input());
    }
    let (windows, input) = if let Some(window) = below.downcast_ref::<BoundedWindowAggExec>() {
        (window.window_expr(), window.input())
    } else {
        let window = below.downcast_ref::<WindowAggExec>()?;
        (window.window_expr(), window.input())
    };
    let [window] = windows else { return None };
    let is_row_number = window
        .as_any()
        .downcast_ref::<StandardWindowExpr>()
        .is_some_and(|window| window.get_standard_func_expr().name().starts_with("row_number("));
    let number = input.schema().fields().len();
    let k = conjuncts.iter().filter_map(|conjunct| most(conjunct, number)).min()?;
    let first = window.order_by().first()?;
    let wanted = Wanted {
        key: Arc::clone(&first.expr),
        options: first.options,
        k,
        of_each: window.partition_by().to_vec(),
    };
    is_row_number.then(|| (Arc::clone(input), wanted))
}

/// The most that column `index` is where `conjunct` holds.
fn most(conjunct: &Arc<dyn PhysicalExpr>, index: usize) -> Option<usize> {
    let comparison = conjunct.downcast_ref::<BinaryExpr>()?;
    let is_number = |expr: &Arc<dyn PhysicalExpr>| {
        expr.downcast_ref::<Column>().is_some_and(|column| column.index() == index)
    };
    let (limit, operator) = if is_number(comparison.left()) {
        (comparison.right(), *comparison.op())
    } else if is_number(comparison.right()) {
        (comparison.left(), comparison.op().swap()?)
    } else {
        return None;
    };
    let limit = limit.downcast_ref::<Literal>()?.value().cast_to(&DataType::UInt64).ok()?;
    let ScalarValue::UInt64(Some(limit)) = limit else { return None };
    match operator {
        Operator::LtEq | Operator::Eq => usize::try_from(limit).ok(),
        Operator::Lt => usize::try_from(limit.saturating_sub(1)).ok(),
        _ => None,
    }
}

/// `expr` over the input of `projection`.
fn through(expr: &Arc<dyn PhysicalExpr>, projection: &ProjectionExec) -> Option<Arc<dyn PhysicalExpr>> {
    let mut volatile = false;
    let below = Arc::clone(expr).transform_up(|expr| match expr.downcast_ref::<Column>() {
        Some(column) => {
            let source = &projection.expr()[column.index()].expr;
            volatile |= source.is_volatile_node();
            Ok(Transformed::yes(Arc::clone(source)))
        }
        None => Ok(Transformed::no(expr)),
    });
    below.ok().filter(|_| !volatile).map(|below| below.data)
}

/// `input` with its join pruned, if there is one below nothing but projections; its columns stay.
fn prune(
    input: &Arc<dyn ExecutionPlan>,
    wanted: &Wanted,
    metric_of: MetricOf,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = input.downcast_ref::<ProjectionExec>() {
        let of_each = wanted.of_each.iter().map(|expr| through(expr, projection)).collect::<Option<Vec<_>>>();
        let (Some(key), Some(of_each)) = (through(&wanted.key, projection), of_each) else { return Ok(None) };
        let below = prune(projection.input(), &Wanted { key, of_each, ..*wanted }, metric_of)?;
        return below.map(|below| with_child(Arc::clone(input), below)).transpose();
    }
    let Some(join) = Join::of(input) else { return prune_rows(input, wanted, metric_of) };
    let Some(distance) = join.distance(&wanted.key, metric_of) else { return Ok(None) };
    if distance.metric.larger_is_nearer() != wanted.options.descending {
        return Ok(None);
    }
    let Some(of) = join.whose(&wanted.of_each) else { return Ok(None) };
    let wanted = WantedPairs {
        k: Some(wanted.k),
        of,
        within: join.within(&wanted.key, metric_of),
        undefined_is_nearest: wanted.options.nulls_first,
    };
    join.prune(distance, wanted).map(Some)
}

/// A join with a condition on a distance without the pairs that it excludes.
fn prune_within(
    plan: &Arc<dyn ExecutionPlan>,
    metric_of: MetricOf,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(join) = Join::of(plan) else { return Ok(None) };
    for conjunct in &join.conjuncts {
        for key in distances(conjunct) {
            let (Some(distance), Some(within)) =
                (join.distance(&key, metric_of), join.within(&key, metric_of))
            else {
                continue;
            };
            let wanted =
                WantedPairs { k: None, of: Of::All, within: Some(within), undefined_is_nearest: false };
            return join.prune(distance, wanted).map(Some);
        }
    }
    Ok(None)
}

/// Both sides of a comparison.
fn distances(conjunct: &Arc<dyn PhysicalExpr>) -> Vec<Arc<dyn PhysicalExpr>> {
    let comparison = conjunct.downcast_ref::<BinaryExpr>();
    comparison
        .map_or(vec![], |comparison| vec![Arc::clone(comparison.left()), Arc::clone(comparison.right())])
}

/// The rows of `input` that are nearest to a constant: a join of that one row with all of them.
fn prune_rows(
    input: &Arc<dyn ExecutionPlan>,
    wanted: &Wanted,
    metric_of: MetricOf,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((metric, [a, b])) = call(&wanted.key, metric_of) else { return Ok(None) };
    let (constant, vectors) = if is_constant(&a) { (a, b) } else { (b, a) };
    let is_nearest = metric.larger_is_nearer() == wanted.options.descending;
    if !is_nearest || !wanted.of_each.is_empty() || !is_constant(&constant) || is_constant(&vectors) {
        return Ok(None);
    }
    let alias = "nearest_to".to_owned();
    let row = Arc::new(PlaceholderRowExec::new(Arc::new(Schema::empty())));
    let constant = ProjectionExec::try_new([ProjectionExpr { expr: constant, alias: alias.clone() }], row)?;
    let distance = Distance { metric, left: Arc::new(Column::new(&alias, 0)), right: vectors };
    let wanted = WantedPairs {
        k: Some(wanted.k),
        of: Of::All,
        within: None,
        undefined_is_nearest: wanted.options.nulls_first,
    };
    let joined = NearestJoinExec::new(Arc::new(constant), Arc::clone(input), distance, wanted, None);
    let columns = joined.schema().fields().len();
    select(Arc::new(joined), 1..columns).map(Some)
}

fn is_constant(expr: &Arc<dyn PhysicalExpr>) -> bool {
    collect_columns(expr).is_empty() && !is_volatile(expr)
}

/// An inner join whose condition, if it has one, is checked pair by pair.
struct Join {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    condition: Option<JoinFilter>,
    /// Those of the condition, over the columns of the join.
    conjuncts: Vec<Arc<dyn PhysicalExpr>>,
}

impl Join {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
            let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
            return Some(Self { left, right, condition: None, conjuncts: vec![] });
        }
        let join = plan.downcast_ref::<NestedLoopJoinExec>()?;
        if *join.join_type() != JoinType::Inner || join.contains_projection() {
            return None;
        }
        let lefts = join.left().schema().fields().len();
        let condition = join.filter().cloned();
        let conjuncts = condition.iter().flat_map(|condition| {
            let conjuncts = split_conjunction(condition.expression()).into_iter();
            conjuncts.filter_map(|conjunct| {
                let over_join = Arc::clone(conjunct).transform_up(|expr| {
                    let Some(column) = expr.downcast_ref::<Column>() else {
                        return Ok(Transformed::no(expr));
                    };
                    let source = &condition.column_indices()[column.index()];
                    let index =
                        if source.side == JoinSide::Left { source.index } else { lefts + source.index };
                    let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), index));
                    Ok(Transformed::yes(column))
                });
                over_join.ok().map(|over_join| over_join.data)
            })
        });
        let conjuncts = conjuncts.collect();
        Some(Self { left: Arc::clone(join.left()), right: Arc::clone(join.right()), condition, conjuncts })
    }

    fn lefts(&self) -> usize {
        self.left.schema().fields().len()
    }

    /// The side whose columns `expr` is over; `None` if it is over both, or none.
    fn side_of(&self, exprs: &[Arc<dyn PhysicalExpr>]) -> Option<JoinSide> {
        let columns: Vec<_> = exprs.iter().flat_map(collect_columns).collect();
        if columns.is_empty() {
            None
        } else if columns.iter().all(|column| column.index() < self.lefts()) {
            Some(JoinSide::Left)
        } else if columns.iter().all(|column| column.index() >= self.lefts()) {
            Some(JoinSide::Right)
        } else {
            None
        }
    }

    /// Whose nearest are wanted, if these are wanted of each value of `of_each`; `None` if these are of both sides.
    fn whose(&self, of_each: &[Arc<dyn PhysicalExpr>]) -> Option<Of> {
        match self.side_of(of_each) {
            Some(JoinSide::Left) => Some(Of::EachLeft),
            Some(_) => Some(Of::EachRight),
            None if of_each.iter().all(|expr| collect_columns(expr).is_empty()) => Some(Of::All),
            None => None,
        }
    }

    /// `key` as a distance between a vector of each side.
    fn distance(&self, key: &Arc<dyn PhysicalExpr>, metric_of: MetricOf) -> Option<Distance> {
        let (metric, [a, b]) = call(key, metric_of)?;
        let sides = [&a, &b].map(|side| self.side_of(std::slice::from_ref(side)));
        let (left, right) = match sides {
            [Some(JoinSide::Left), Some(JoinSide::Right)] => (a, b),
            [Some(JoinSide::Right), Some(JoinSide::Left)] => (b, a),
            _ => return None,
        };
        let (schema, lefts) = (self.right.schema(), self.lefts());
        let right = right.transform_up(|expr| match expr.downcast_ref::<Column>() {
            Some(column) => {
                let index = column.index() - lefts;
                let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(index).name(), index));
                Ok(Transformed::yes(column))
            }
            None => Ok(Transformed::no(expr)),
        });
        Some(Distance { metric, left, right: right.ok()?.data })
    }

    /// The value of `key` beyond which the condition does not hold.
    fn within(&self, key: &Arc<dyn PhysicalExpr>, metric_of: MetricOf) -> Option<f64> {
        let (metric, _) = call(key, metric_of)?;
        let limits = self.conjuncts.iter().filter_map(|conjunct| {
            let comparison = conjunct.downcast_ref::<BinaryExpr>()?;
            let (limit, operator) = if comparison.left() == key {
                (comparison.right(), *comparison.op())
            } else if comparison.right() == key {
                (comparison.left(), comparison.op().swap()?)
            } else {
                return None;
            };
            let nearer = match metric.larger_is_nearer() {
                true => [Operator::Gt, Operator::GtEq, Operator::Eq],
                false => [Operator::Lt, Operator::LtEq, Operator::Eq],
            };
            let limit = limit.downcast_ref::<Literal>()?.value().cast_to(&DataType::Float64).ok()?;
            let ScalarValue::Float64(Some(limit)) = limit else { return None };
            (nearer.contains(&operator) && !limit.is_nan()).then_some(limit)
        });
        limits.reduce(if metric.larger_is_nearer() { f64::max } else { f64::min })
    }

    /// The join with the pairs that are wanted, and perhaps others; the side with fewer rows is held in memory.
    fn prune(self, distance: Distance, wanted: WantedPairs) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = |side: &Arc<dyn ExecutionPlan>| {
            let statistics = StatisticsContext::new().compute(side.as_ref(), &StatisticsArgs::new()).ok()?;
            statistics.num_rows.get_value().copied()
        };
        // where nothing is known, the side whose nearest are wanted: they get nearer from batch to batch
        let swap = match (rows(&self.left), rows(&self.right)) {
            (Some(left), Some(right)) => right < left,
            (None, Some(right)) => right <= FEW_ROWS,
            (Some(left), None) => left > FEW_ROWS && wanted.of == Of::EachRight,
            (None, None) => wanted.of == Of::EachRight,
        };
        if !swap {
            let Self { left, right, condition, .. } = self;
            return Ok(Arc::new(NearestJoinExec::new(left, right, distance, wanted, condition)));
        }
        let distance = Distance { left: distance.right, right: distance.left, ..distance };
        let of = match wanted.of {
            Of::EachLeft => Of::EachRight,
            Of::EachRight => Of::EachLeft,
            Of::All => Of::All,
        };
        let condition = self.condition.as_ref().map(JoinFilter::swap);
        let (lefts, rights) = (self.lefts(), self.right.schema().fields().len());
        let wanted = WantedPairs { of, ..wanted };
        let join = NearestJoinExec::new(self.right, self.left, distance, wanted, condition);
        select(Arc::new(join), (rights..rights + lefts).chain(0..rights))
    }
}

/// A function of ours that computes a metric, and its arguments.
fn call(key: &Arc<dyn PhysicalExpr>, metric_of: MetricOf) -> Option<(Metric, [Arc<dyn PhysicalExpr>; 2])> {
    let call = key.downcast_ref::<ScalarFunctionExpr>()?;
    let metric = metric_of(call.fun())?;
    let arguments = call.args().to_vec().try_into().ok()?;
    (!is_volatile(key)).then_some((metric, arguments))
}

/// These columns of `input`.
fn select(
    input: Arc<dyn ExecutionPlan>,
    columns: impl IntoIterator<Item = usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let columns = columns.into_iter().map(|index| {
        let name = schema.field(index).name();
        ProjectionExpr { expr: Arc::new(Column::new(name, index)), alias: name.clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(columns, input)?))
}

/// `node` with `pruned` in the place of `input`, which is below it and perhaps below projections and a window.
fn replace(
    node: Arc<dyn ExecutionPlan>,
    input: &Arc<dyn ExecutionPlan>,
    pruned: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if Arc::ptr_eq(&node, input) {
        return Ok(Arc::clone(pruned));
    }
    let child = Arc::clone(node.children()[0]);
    with_child(node, replace(child, input, pruned)?)
}

fn with_child(node: Arc<dyn ExecutionPlan>, child: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    node.replace_children(vec![child], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}
