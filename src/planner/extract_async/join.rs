//! Async calls in the condition of a join.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, Result, plan_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan};

use super::columns::{CallColumns, Place, add_columns, extract, ready_calls, substitute};
use super::filter;
use super::reuse::within;
use crate::planner::calls::{as_async_call, contains_async};
use crate::planner::schema::restore;

/// Computes the calls over one side on that side, for every type of join, and moves the conjuncts with a call
/// over both sides of an inner join into a filter above it.
///
/// # Errors
/// A call over both sides in the condition of any other join: there, a pair that the condition rejects still
/// leaves a row, so the condition cannot be checked later.
pub(super) fn extract_from_join(join: Join) -> Result<LogicalPlan> {
    let schema = Arc::clone(&join.schema);
    let (left_keys, right_keys): (Vec<_>, Vec<_>) = join.on.into_iter().unzip();
    let (left, left_keys) = extract(join.left, left_keys, Place::Below, join.right.schema())?;
    let (right, right_keys) = extract(join.right, right_keys, Place::Below, left.schema())?;
    let conjuncts = join.filter.map(split_conjunction_owned).unwrap_or_default();
    if join.join_type != JoinType::Inner {
        check_one_sided(&conjuncts, &left, &right, join.join_type)?;
    }
    let (left, right, conjuncts) = extract_one_sided(left, right, conjuncts)?;

    let (both_sides, cheap): (Vec<_>, Vec<_>) = conjuncts.into_iter().partition(contains_async);
    let on = left_keys.into_iter().zip(right_keys).collect();
    let joined = LogicalPlan::Join(Join::try_new(
        left,
        right,
        on,
        conjunction(cheap),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?);
    let plan = match conjunction(both_sides) {
        Some(predicate) => filter(Filter::try_new(predicate, Arc::new(joined))?)?.data,
        None => joined,
    };
    restore(plan, schema.columns(), &schema)
}

/// Computes the calls of `conjuncts` over one side as columns of that side, innermost first.
fn extract_one_sided(
    mut left: Arc<LogicalPlan>,
    mut right: Arc<LogicalPlan>,
    mut conjuncts: Vec<Expr>,
) -> Result<(Arc<LogicalPlan>, Arc<LogicalPlan>, Vec<Expr>)> {
    loop {
        let ready = ready_calls(&conjuncts)?.distinct;
        let (of_left, rest): (Vec<_>, Vec<_>) = ready.into_iter().partition(|call| within(call, &left));
        let of_right: Vec<_> = rest.into_iter().filter(|call| within(call, &right)).collect();
        if of_left.is_empty() && of_right.is_empty() {
            return Ok((left, right, conjuncts));
        }
        let mut columns;
        (left, columns) = add_side(left, &of_left, right.schema())?;
        let (plan, more) = add_side(right, &of_right, left.schema())?;
        right = plan;
        columns.extend(more);
        conjuncts = substitute(conjuncts, &columns)?;
    }
}

fn add_side(
    side: Arc<LogicalPlan>,
    calls: &[Expr],
    other: &DFSchema,
) -> Result<(Arc<LogicalPlan>, CallColumns)> {
    if calls.is_empty() { Ok((side, vec![])) } else { add_columns(side, calls, other) }
}

fn check_one_sided(
    conjuncts: &[Expr],
    left: &LogicalPlan,
    right: &LogicalPlan,
    join_type: JoinType,
) -> Result<()> {
    for conjunct in conjuncts {
        conjunct.apply(|expr| match as_async_call(expr) {
            Some(call) if !within(expr, left) && !within(expr, right) => {
                both_sides_error(call.name(), expr, join_type)
            }
            _ => Ok(TreeNodeRecursion::Continue),
        })?;
    }
    Ok(())
}

fn both_sides_error<T>(name: &str, call: &Expr, join_type: JoinType) -> Result<T> {
    let join = match join_type {
        JoinType::Left => "LEFT JOIN",
        JoinType::Right => "RIGHT JOIN",
        JoinType::Full => "FULL JOIN",
        _ => {
            return plan_err!(
                "{name}: found a call over columns of a subquery (IN, EXISTS) and of the query around it, expected \
                 columns of one of them; find the matching rows with an INNER JOIN in a subquery, then use IN or \
                 NOT IN on its result"
            );
        }
    };
    plan_err!(
        "{name}: found {call} over both sides in the condition of a {join}, expected columns of one side; find the \
         pairs with an INNER JOIN in a subquery, then {join} its result"
    )
}
