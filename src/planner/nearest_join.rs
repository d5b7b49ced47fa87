//! Lets a cross join leave out pairs that a limit above it would cut.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinSide, Result, ScalarValue};
use datafusion::logical_expr::{Operator, ScalarUDF};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::{collect_columns, split_conjunction};
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::CrossJoinExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::config::SemanticOptions;
use crate::execution::{Distance, NearestJoinExec, dimensions};
use crate::vector::Metric;

/// The rule `semantic.nearest_join`: a cross join of vectors, of whose pairs only the nearest are wanted, becomes a
/// [`NearestJoinExec`]. Only the join changes: it leaves pairs out, and what is above it decides as before.
///
/// The nearest are wanted by
/// - `ORDER BY distance(a, b) ... LIMIT k`;
/// - `ROW_NUMBER() OVER (PARTITION BY columns of one side ORDER BY distance(a, b) ...) <= k`, also in `QUALIFY`;
/// - `SELECT columns of one side, min(distance(a, b)) ... GROUP BY columns of one side`;
/// - `SELECT DISTINCT ON (columns of one side) ... ORDER BY these, distance(a, b)`.
///
/// It is one of the first physical rules: those after it move the inputs of a join and add operators in between.
#[derive(Debug)]
pub(super) struct NearestJoin(pub(super) MetricOf);

/// The most rows, as far as statistics tell, whose nearest are kept at the same time.
const MOST_QUERIES: usize = 1 << 16;

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
        let rewritten = plan.transform_down(|node| match wanted(&node) {
            Some((input, wanted)) => match prune(&input, &wanted, self.0)? {
                Some(pruned) => replace(node, &input, &pruned).map(Transformed::yes),
                None => Ok(Transformed::no(node)),
            },
            None => Ok(Transformed::no(node)),
        })?;
        Ok(rewritten.data)
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
    let limit = limit.downcast_ref::<Literal>()?.value().cast_to(&arrow::datatypes::DataType::UInt64).ok()?;
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

/// `input` with its cross join pruned, if there is one below nothing but projections; its columns stay.
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
    let Some(join) = input.downcast_ref::<CrossJoinExec>() else { return Ok(None) };
    let Some(distance) = distance(&wanted.key, join, metric_of) else { return Ok(None) };
    let Some(side) = side_of_queries(join, &wanted.of_each) else { return Ok(None) };
    if distance.metric.larger_is_nearer() != wanted.options.descending {
        return Ok(None);
    }
    let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
    let nulls_first = wanted.options.nulls_first;
    Ok(Some(match side {
        JoinSide::Left => Arc::new(NearestJoinExec::new(left, right, distance, wanted.k, nulls_first)),
        _ => {
            let swapped = Distance { left: distance.right, right: distance.left, ..distance };
            let nearest = NearestJoinExec::new(right, left, swapped, wanted.k, nulls_first);
            swap_back(Arc::new(nearest), join)?
        }
    }))
}

/// The side of `join` of whose rows the nearest are kept, and which is held in memory: that of the columns `of_each`, or
/// if there are none the one with fewer rows. None if these are columns of both sides, or if there are many rows.
fn side_of_queries(join: &CrossJoinExec, of_each: &[Arc<dyn PhysicalExpr>]) -> Option<JoinSide> {
    let rows = |side: &Arc<dyn ExecutionPlan>| {
        let statistics = StatisticsContext::new().compute(side.as_ref(), &StatisticsArgs::new()).ok()?;
        statistics.num_rows.get_value().copied()
    };
    let lefts = join.left().schema().fields().len();
    let columns: Vec<_> = of_each.iter().flat_map(collect_columns).collect();
    let (left, right) = (rows(join.left()), rows(join.right()));
    let (side, rows) = if columns.is_empty() {
        // what is not known may be anything
        if right.is_some_and(|right| left.is_none_or(|left| right < left)) {
            (JoinSide::Right, right)
        } else {
            (JoinSide::Left, left)
        }
    } else if columns.iter().all(|column| column.index() < lefts) {
        (JoinSide::Left, left)
    } else if columns.iter().all(|column| column.index() >= lefts) {
        (JoinSide::Right, right)
    } else {
        return None;
    };
    rows.is_none_or(|rows| rows <= MOST_QUERIES).then_some(side)
}

/// The columns of `nearest`, whose sides are those of `join` the other way round, as `join` has them.
fn swap_back(nearest: Arc<dyn ExecutionPlan>, join: &CrossJoinExec) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = nearest.schema();
    let rights = join.right().schema().fields().len();
    let columns = (rights..schema.fields().len()).chain(0..rights).map(|index| {
        let name = schema.field(index).name();
        ProjectionExpr { expr: Arc::new(Column::new(name, index)), alias: name.clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(columns, nearest)?))
}

/// `key` as a distance between a column of each side of `join`.
fn distance(key: &Arc<dyn PhysicalExpr>, join: &CrossJoinExec, metric_of: MetricOf) -> Option<Distance> {
    let call = key.downcast_ref::<ScalarFunctionExpr>()?;
    let metric = metric_of(call.fun())?;
    let [a, b] = call.args() else { return None };
    let (a, b) = (a.downcast_ref::<Column>()?.index(), b.downcast_ref::<Column>()?.index());
    let (of_left, of_right) = (join.left().schema(), join.right().schema());
    let lefts = of_left.fields().len();
    let (left, right) = if a < b { (a, b) } else { (b, a) };
    if left >= lefts || right < lefts {
        return None;
    }
    let right = right - lefts;
    let dimensions_of_left = dimensions(of_left.field(left).data_type())?;
    let same = dimensions(of_right.field(right).data_type()) == Some(dimensions_of_left);
    same.then_some(Distance { metric, left, right, dimensions: dimensions_of_left })
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
