//! Which plans want only the nearest of their input.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::functions_aggregate::min_max::min_udaf;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec, WindowUDFExpr};

/// Which rows of a node's input are wanted.
pub(super) struct Wanted {
    /// Those with the first of its values.
    pub(super) key: Arc<dyn PhysicalExpr>,
    pub(super) options: SortOptions,
    /// So many of them...
    pub(super) k: usize,
    /// ... for each value of these.
    pub(super) of_each: Vec<Arc<dyn PhysicalExpr>>,
}

/// The input of which `node` wants only some rows, and which.
pub(super) fn wanted(node: &Arc<dyn ExecutionPlan>) -> Option<(Arc<dyn ExecutionPlan>, Wanted)> {
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
    let (key, options) = match function.expressions().as_slice() {
        [key] if *function.fun() == *min_udaf() && others.is_empty() => {
            (Arc::clone(key), SortOptions { descending: false, nulls_first: false })
        }
        _ if *function.fun() == *first_value_udaf() => {
            let order = function.order_bys();
            let same = |other: &Arc<AggregateFunctionExpr>| {
                *other.fun() == *first_value_udaf() && other.order_bys() == order
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
    let function = window.as_any().downcast_ref::<StandardWindowExpr>()?.get_standard_func_expr();
    let is_row_number = function
        .as_any()
        .downcast_ref::<WindowUDFExpr>()
        .is_some_and(|function| function.fun() == &row_number_udwf());
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
pub(super) fn through(
    expr: &Arc<dyn PhysicalExpr>,
    projection: &ProjectionExec,
) -> Option<Arc<dyn PhysicalExpr>> {
    let mut volatile = false;
    let below = Arc::clone(expr).transform_up(|expr| match expr.downcast_ref::<Column>() {
        Some(column) => {
            let source = &projection.expr()[column.index()].expr;
            volatile |= is_volatile(source);
            Ok(Transformed::yes(Arc::clone(source)))
        }
        None => Ok(Transformed::no(expr)),
    });
    below.ok().filter(|_| !volatile).map(|below| below.data)
}
