//! Gives every async call a projection of its own, below the clause that uses it.

mod columns;
mod join;
mod reuse;
mod scan;
mod sink;
mod values;

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Filter, LogicalPlan, Projection, Sort};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::calls::{calls_async, calls_only_constants, contains_async, is_correlated};
use super::lower_to_sync::Twins;
use super::schema::{project_as, restore, with_exprs};
pub(super) use columns::is_call_column;
use columns::{Place, extract};
pub(super) use reuse::within;
pub(super) use sink::sources;
use sink::{filter_first, on_top, reaches_async, sort_first};

/// The rule `semantic.extract_async`: every async call ends up in a projection below the clause that uses it,
/// innermost first, because the stock planner runs async calls right nowhere else (apache/datafusion#20031).
///
/// It has to be the last rule that moves expressions: the optimizer merges stacked projections and pushes
/// predicates through them in each of its passes, which undoes this work, and then this rule does it again.
/// The plan after each pass is the same, so the passes end.
///
/// Every node that is rewritten keeps its schema: names, qualifiers, types, nullability and metadata.
#[derive(Debug)]
pub(super) struct ExtractAsync;

impl OptimizerRule for ExtractAsync {
    fn name(&self) -> &'static str {
        "semantic.extract_async"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if is_correlated(&plan) {
            return Ok(Transformed::no(plan));
        }
        let options = config.options();
        let plan = match (Twins::of(&options), config.function_registry()) {
            (Some(twins), Some(registry)) if matches!(plan, LogicalPlan::Projection(_)) => plan
                .map_expressions(|expr| {
                    twins.lower(expr)?.transform_data(|expr| twins.raise(expr, registry))
                })?,
            (Some(twins), _) if calls_async(&plan) => plan.map_expressions(|expr| twins.lower(expr))?,
            _ => Transformed::no(plan),
        };
        plan.transform_data(|plan| match plan {
            LogicalPlan::Filter(node) => filter(node),
            LogicalPlan::Sort(node) => sort(node),
            plan if !calls_async(&plan) => Ok(Transformed::no(plan)),
            LogicalPlan::Projection(node) => project(node),
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Repartition(_) => {
                extract_below(&plan)
            }
            LogicalPlan::Join(node) => changed(join::extract_from_join(node)?),
            LogicalPlan::TableScan(node) => scan::extract_from_scan(node),
            LogicalPlan::Values(node) => changed(values::extract_from_values(&node)?),
            plan => Ok(Transformed::no(plan)),
        })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the last step of functions that can fail")]
fn changed(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    Ok(Transformed::yes(plan))
}

/// A projection keeps the calls that it can compute itself.
fn project(node: Projection) -> Result<Transformed<LogicalPlan>> {
    let (input, exprs) =
        extract(Arc::clone(&node.input), node.expr.clone(), Place::Here, &DFSchema::empty())?;
    if Arc::ptr_eq(&input, &node.input) && exprs == node.expr {
        return Ok(Transformed::no(LogicalPlan::Projection(node)));
    }
    changed(project_as(exprs, without_selection(input), &node.schema)?)
}

/// The input of a projection, without a projection there that does nothing but leave columns out.
fn without_selection(input: Arc<LogicalPlan>) -> Arc<LogicalPlan> {
    match input.as_ref() {
        LogicalPlan::Projection(below)
            if below.expr.iter().all(|expr| {
                expr.try_as_col()
                    .is_some_and(|column| column.relation.is_some() || is_only(&below.input, &column.name))
            }) =>
        {
            Arc::clone(&below.input)
        }
        _ => input,
    }
}

/// Whether one field alone of `plan` has this name.
fn is_only(plan: &LogicalPlan, name: &str) -> bool {
    plan.schema().fields().iter().filter(|field| field.name() == name).count() == 1
}

/// A filter runs its cheap conjuncts first, then those whose calls have constant arguments (which cost one
/// call), then the others, each in the order in which they are written and only on the rows that are left.
fn filter(node: Filter) -> Result<Transformed<LogicalPlan>> {
    if !contains_async(&node.predicate) && !reaches_async(&node.input) {
        return Ok(Transformed::no(LogicalPlan::Filter(node)));
    }
    let schema = Arc::clone(node.input.schema());
    let (slow, cheap): (Vec<_>, Vec<_>) =
        split_conjunction_owned(node.predicate).into_iter().partition(contains_async);
    let (constant, slow): (Vec<_>, Vec<_>) = slow.into_iter().partition(calls_only_constants);
    let mut plan = filter_first(cheap, node.input)?;
    for conjunct in constant.into_iter().chain(slow) {
        let (input, exprs) = extract(plan, vec![conjunct], Place::Below, &DFSchema::empty())?;
        plan = match on_top(exprs, Arc::clone(&input))? {
            Some(filter) => Arc::new(filter),
            None => input,
        };
    }
    changed(restore(Arc::unwrap_or_clone(plan), schema.columns(), &schema)?)
}

/// A sort with a limit runs before the calls that its keys do not use; the calls that its keys use run below it.
fn sort(mut node: Sort) -> Result<Transformed<LogicalPlan>> {
    let sunk = sort_first(&node, &|sort| Ok(self::sort(sort)?.data))?;
    let moved = sunk.is_some();
    if let Some(input) = sunk {
        node.input = input;
    }
    let plan = LogicalPlan::Sort(node);
    if calls_async(&plan) {
        return extract_below(&plan);
    }
    Ok(Transformed::new_transformed(plan, moved))
}

/// Computes the calls of a node with one input in projections on that input.
fn extract_below(plan: &LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let input = Arc::new(plan.inputs()[0].clone());
    let (input, exprs) = extract(input, plan.expressions(), Place::Below, &DFSchema::empty())?;
    changed(with_exprs(plan, exprs, vec![Arc::unwrap_or_clone(input)])?)
}
