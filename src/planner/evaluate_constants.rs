//! Computes a call with constant arguments once per query.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, Spans};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::calls::{as_async_call, calls_async, for_each_child, is_constant};
use super::extract_async::is_call_column;
use super::schema::with_exprs;

/// The rule `semantic.constant_once`: an async call whose arguments are constants becomes a scalar subquery over
/// one row, which DataFusion evaluates once per query, before any row is read, and then hands to the expressions
/// as a scalar.
///
/// Not over an input of one row, where it would change nothing, and only where DataFusion runs such subqueries
/// itself (`datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery`), because otherwise they become
/// joins. It runs after the rules that turn subqueries into joins, which leave an uncorrelated one alone, and
/// after the literals were folded.
///
/// The value is paid for, and may fail, before it is known that a row needs it. So a call in a branch of a
/// conditional expression stays where it is: there [`super::ExtractAsync`] leaves out the rows that do not take the
/// branch, and a function that computes equal inputs once calls at most once. A conjunct of a `WHERE` is no
/// branch: `year = 2024 AND cosine_distance(embedding, f('q')) < 0.3` calls `f` once, whatever the batches, and so
/// does a query that turns out to have no row. In the condition of a join all constants are evaluated first, because
/// there they would otherwise be computed for every row of a side.
#[derive(Debug)]
pub(super) struct EvaluateConstants;

impl OptimizerRule for EvaluateConstants {
    fn name(&self) -> &'static str {
        "semantic.constant_once"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let enabled = config.options().optimizer.enable_physical_uncorrelated_scalar_subquery;
        if !enabled || !has_place(&plan) || !calls_async(&plan) {
            return Ok(Transformed::no(plan));
        }
        let needed = needed_constants(&plan);
        if needed.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let exprs = plan.expressions().into_iter().map(|expr| {
            let replaced = expr.transform_down(|expr| {
                if needed.contains(&expr) {
                    Ok(Transformed::new(once(expr)?, true, TreeNodeRecursion::Jump))
                } else {
                    Ok(Transformed::no(expr))
                }
            })?;
            Ok(replaced.data)
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let inputs = plan.inputs().into_iter().cloned().collect();
        with_exprs(&plan, exprs, inputs).map(Transformed::yes)
    }
}

/// Whether a scalar subquery in an expression of `plan` works, and is of use: there can be more than one row.
fn has_place(plan: &LogicalPlan) -> bool {
    let works = match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => true,
        // DataFusion names a field of an ordered aggregate's state by its expression, which changes with the value
        LogicalPlan::Aggregate(aggregate) => !aggregate.aggr_expr.iter().any(is_ordered),
        // DataFusion cannot repartition or sort rows without columns by a scalar subquery
        LogicalPlan::Window(_) | LogicalPlan::Sort(_) | LogicalPlan::Join(_) => {
            plan.inputs().iter().all(|input| !input.schema().fields().is_empty())
        }
        _ => false,
    };
    works && plan.inputs().iter().any(|input| input.max_rows().is_none_or(|rows| rows > 1))
}

fn is_ordered(aggregate: &Expr) -> bool {
    let function = aggregate.clone().unalias_nested().data;
    matches!(function, Expr::AggregateFunction(function) if !function.params.order_by.is_empty())
}

/// The calls with constant arguments in the expressions of `plan` whose values every row needs. A call that is also
/// needed under a condition is one of them, and is then replaced there too.
fn needed_constants(plan: &LogicalPlan) -> Vec<Expr> {
    let mut found = vec![];
    match plan {
        // a conjunct guards no other one
        LogicalPlan::Filter(filter) => {
            for conjunct in split_conjunction(&filter.predicate) {
                collect(conjunct, false, &mut found);
            }
        }
        // a call that was put below its clause in an earlier pass stayed because not every row needs it
        LogicalPlan::Projection(projection) => {
            for expr in projection.expr.iter().filter(|expr| !is_call_column(expr)) {
                collect(expr, false, &mut found);
            }
        }
        plan => {
            let all = matches!(plan, LogicalPlan::Join(_));
            for expr in plan.expressions() {
                collect(&expr, all, &mut found);
            }
        }
    }
    found
}

/// Adds the constant calls in `expr` that are evaluated for every row, or `all` of them.
fn collect(expr: &Expr, all: bool, found: &mut Vec<Expr>) {
    if as_async_call(expr).is_some() && is_constant(expr) {
        found.push(expr.clone());
        return;
    }
    for_each_child(expr, |child, guard| {
        if all || guard.is_none_or(|guard| !guard.can_mask()) {
            collect(child, all, found);
        }
    });
}

/// `SELECT expr`, as a scalar subquery.
fn once(expr: Expr) -> Result<Expr> {
    let row = EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) };
    let projection = Projection::try_new(vec![expr], Arc::new(LogicalPlan::EmptyRelation(row)))?;
    Ok(Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(LogicalPlan::Projection(projection)),
        outer_ref_columns: vec![],
        spans: Spans::new(),
    }))
}
