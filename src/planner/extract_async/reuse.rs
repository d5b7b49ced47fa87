//! Finds a call that a node further down computes already, and carries its column up.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection};

use super::columns::{free_names, has_name};
use super::sink::through;

/// If a projection below `plan` computes `call` (written over the columns of `plan`) for the same row: `plan`
/// with that column in its output, and the column.
///
/// So the same call in `SELECT`, `WHERE` and `ORDER BY` is computed once. The search goes through nodes whose
/// output rows are rows of their input, and through the sides of a join that are not filled up with NULLs.
pub(super) fn reuse(plan: &Arc<LogicalPlan>, call: &Expr) -> Result<Option<(Arc<LogicalPlan>, Column)>> {
    if call.is_volatile() {
        return Ok(None);
    }
    match plan.as_ref() {
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Window(_) => {
            let input = Arc::new(plan.inputs()[0].clone());
            if !within(call, &input) {
                return Ok(None);
            }
            let Some((input, column)) = reuse(&input, call)? else {
                return Ok(None);
            };
            let plan = plan.with_new_exprs(plan.expressions(), vec![Arc::unwrap_or_clone(input)])?;
            Ok(Some((Arc::new(plan), column)))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(below) = through(std::slice::from_ref(call), plan)? else {
                return Ok(None);
            };
            let Some((input, column)) = reuse(&alias.input, &below[0])? else {
                return Ok(None);
            };
            let index = input.schema().index_of_column(&column)?;
            let plan = plan.with_new_exprs(vec![], vec![Arc::unwrap_or_clone(input)])?;
            let column = Column::from(plan.schema().qualified_field(index));
            Ok(Some((Arc::new(plan), column)))
        }
        LogicalPlan::Projection(projection) => reuse_in_projection(plan, projection, call),
        LogicalPlan::Join(join) => reuse_in_join(join, call),
        _ => Ok(None),
    }
}

fn reuse_in_projection(
    plan: &Arc<LogicalPlan>,
    projection: &Projection,
    call: &Expr,
) -> Result<Option<(Arc<LogicalPlan>, Column)>> {
    let Some(below) = through(std::slice::from_ref(call), plan)? else {
        return Ok(None);
    };
    let below = &below[0];
    if let Some(index) = projection.expr.iter().position(|expr| expr.clone().unalias_nested().data == *below)
    {
        let column = Column::from(projection.schema.qualified_field(index));
        return Ok(Some((Arc::clone(plan), column)));
    }
    let Some((input, column)) = reuse(&projection.input, below)? else {
        return Ok(None);
    };
    if let Some(index) = projection.expr.iter().position(|expr| *expr == Expr::Column(column.clone())) {
        let column = Column::from(projection.schema.qualified_field(index));
        let plan = LogicalPlan::Projection(Projection::try_new(projection.expr.clone(), input)?);
        return Ok(Some((Arc::new(plan), column)));
    }
    let (expr, column) = if has_name(&projection.schema, &column.name) {
        let name = free_names(1, &[&projection.schema]).concat();
        (Expr::Column(column).alias(&name), Column::new_unqualified(name))
    } else {
        (Expr::Column(column.clone()), column)
    };
    let exprs = projection.expr.iter().cloned().chain([expr]).collect();
    Ok(Some((Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, input)?)), column)))
}

fn reuse_in_join(join: &Join, call: &Expr) -> Result<Option<(Arc<LogicalPlan>, Column)>> {
    let (left_rows, right_rows) = match join.join_type {
        JoinType::Inner => (true, true),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => (true, false),
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (false, true),
        JoinType::Full => (false, false),
    };
    for (rows, is_left) in [(left_rows, true), (right_rows, false)] {
        let (side, other) = if is_left { (&join.left, &join.right) } else { (&join.right, &join.left) };
        if !rows || !within(call, side) {
            continue;
        }
        let Some((input, column)) = reuse(side, call)? else {
            continue;
        };
        if has_name(other.schema(), &column.name) && !side.schema().has_column(&column) {
            continue;
        }
        let (left, right) = if is_left { (input, Arc::clone(other)) } else { (Arc::clone(other), input) };
        let join = Join::try_new(
            left,
            right,
            join.on.clone(),
            join.filter.clone(),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        return Ok(Some((Arc::new(LogicalPlan::Join(join)), column)));
    }
    Ok(None)
}

/// Whether every column that `expr` reads is in the output of `plan`.
pub(in crate::planner) fn within(expr: &Expr, plan: &LogicalPlan) -> bool {
    let mut within = true;
    // the closure never fails
    let _ = expr.apply(|expr| {
        if let Expr::Column(column) = expr {
            within &= plan.schema().has_column(column);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    within
}
