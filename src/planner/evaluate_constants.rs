//! Computes a call with constant arguments once per query.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, Spans};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::calls::{as_async_call, calls_async};
use super::schema::with_exprs;

/// The rule `semantic.constant_once`: an async call whose arguments are constants becomes a scalar subquery over
/// one row, which DataFusion evaluates once per query, before any row is read, and then hands to the expressions
/// as a scalar.
///
/// Not over an input of one row, where it would change nothing, and only where DataFusion runs such subqueries
/// itself (`datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery`), because otherwise they become
/// joins. It runs after the rules that turn subqueries into joins, which leave an uncorrelated one alone, and
/// after the literals were folded.
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
        let mut found = false;
        let exprs = plan.expressions().into_iter().map(|expr| {
            let replaced = expr.transform_down(|expr| {
                if as_async_call(&expr).is_some() && is_constant(&expr) {
                    Ok(Transformed::new(once(expr)?, true, TreeNodeRecursion::Jump))
                } else {
                    Ok(Transformed::no(expr))
                }
            })?;
            found |= replaced.transformed;
            Ok(replaced.data)
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        if !found {
            return Ok(Transformed::no(plan));
        }
        let inputs = plan.inputs().into_iter().cloned().collect();
        with_exprs(&plan, exprs, inputs).map(Transformed::yes)
    }
}

/// Whether a scalar subquery in an expression of `plan` works, and is of use: there can be more than one row.
fn has_place(plan: &LogicalPlan) -> bool {
    let works = match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_) => true,
        // DataFusion cannot repartition or sort rows without columns by a scalar subquery
        LogicalPlan::Window(_) | LogicalPlan::Sort(_) | LogicalPlan::Join(_) => {
            plan.inputs().iter().all(|input| !input.schema().fields().is_empty())
        }
        _ => false,
    };
    works && plan.inputs().iter().any(|input| input.max_rows().is_none_or(|rows| rows > 1))
}

/// Whether `expr` has the same value for every row of the query.
fn is_constant(expr: &Expr) -> bool {
    let mut constant = !expr.is_volatile();
    // the closure never fails
    let _ = expr.apply(|expr| {
        constant &= match expr {
            Expr::Column(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::LambdaVariable(_)
            | Expr::Placeholder(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::Unnest(_)
            | Expr::AggregateFunction(_)
            | Expr::WindowFunction(_) => false,
            Expr::ScalarSubquery(subquery) => subquery.outer_ref_columns.is_empty(),
            _ => true,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    constant
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
