//! Drops predicates with async calls that the optimizer inferred from others.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::calls::contains_async;
use super::extract_async::{sources, within};

/// The rule `semantic.drop_inferred`: from `a.x = b.y AND f(a.x) > 1` DataFusion infers `f(b.y) > 1` for the other
/// side of an inner join. For a cheap predicate that is a gain; here it would compute every value twice.
///
/// Of two such predicates the one on the right side is dropped.
#[derive(Debug)]
pub(super) struct DropInferred;

impl OptimizerRule for DropInferred {
    fn name(&self) -> &'static str {
        "semantic.drop_inferred"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Join(join)
                if matches!(join.join_type, JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi) =>
            {
                drop_inferred(join)
            }
            plan => Ok(Transformed::no(plan)),
        }
    }
}

fn drop_inferred(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let right = without(&join.right, &stated_of_right(&join)?)?;
    let left = without(&join.left, &stated_of_left(&join)?)?;
    let dropped = right.is_some() || left.is_some();
    join.right = right.unwrap_or(join.right);
    join.left = left.unwrap_or(join.left);
    Ok(Transformed::new_transformed(LogicalPlan::Join(join), dropped))
}

/// What `join` states of its right side elsewhere: in its condition, or by a filter on the keys of the left side.
/// Written over the bottom of the right side.
fn stated_of_right(join: &Join) -> Result<Vec<Expr>> {
    let mut stated = stated_by_condition(join, &join.on, &join.right)?;
    let mut keys = vec![];
    for (left, right) in &join.on {
        if let (Some(left), Some(right)) = (at_bottom(left, &join.left)?, at_bottom(right, &join.right)?) {
            keys.push((left, right));
        }
    }
    let mut filters = vec![];
    predicates(&join.left, &mut filters)?;
    for predicate in &filters {
        // keys only, because the two sides of a join of a table with itself have the same columns at the bottom
        let is_key = |column: &Column| keys.iter().any(|(key, _)| key.try_as_col() == Some(column));
        if predicate.column_refs().into_iter().all(is_key) {
            stated.push(replace(predicate, &keys)?);
        }
    }
    Ok(stated)
}

/// What the condition of `join` states of its left side, written over the bottom of it.
fn stated_of_left(join: &Join) -> Result<Vec<Expr>> {
    let keys: Vec<_> = join.on.iter().map(|(left, right)| (right.clone(), left.clone())).collect();
    stated_by_condition(join, &keys, &join.left)
}

fn stated_by_condition(join: &Join, keys: &[(Expr, Expr)], side: &LogicalPlan) -> Result<Vec<Expr>> {
    let mut stated = vec![];
    for conjunct in join.filter.as_ref().map(split_conjunction).unwrap_or_default() {
        let predicate = replace(conjunct, keys)?;
        if contains_async(&predicate) && within(&predicate, side) {
            stated.extend(at_bottom(&predicate, side)?);
        }
    }
    Ok(stated)
}

/// Adds the predicates with async calls of the filters of `plan`, written over the bottom of it.
fn predicates(plan: &LogicalPlan, found: &mut Vec<Expr>) -> Result<()> {
    if let LogicalPlan::Filter(filter) = plan {
        for conjunct in split_conjunction(&filter.predicate) {
            found.extend(at_bottom(conjunct, &filter.input)?.filter(contains_async));
        }
    }
    match below(plan) {
        Some(input) => predicates(input, found),
        None => Ok(()),
    }
}

/// The input of a node that this rule looks through.
fn below(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Projection(_) => {
            Some(plan.inputs()[0])
        }
        _ => None,
    }
}

/// `expr`, written over the output of `plan`, written over that of the first node below which is not looked
/// through. None if it is not the same each time, or too large to be compared: columns repeat their expressions.
fn at_bottom(expr: &Expr, plan: &LogicalPlan) -> Result<Option<Expr>> {
    const LARGE: usize = 500;
    let mut size = 0;
    expr.apply(|_| {
        size += 1;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if size > LARGE || expr.is_volatile() {
        return Ok(None);
    }
    match below(plan) {
        Some(input) => at_bottom(&replace_columns(expr, plan)?, input),
        None => Ok(Some(expr.clone())),
    }
}

fn replace_columns(expr: &Expr, plan: &LogicalPlan) -> Result<Expr> {
    let Some(sources) = sources(plan) else {
        return Ok(expr.clone());
    };
    let columns: Vec<_> = plan.schema().columns().into_iter().map(Expr::Column).zip(sources).collect();
    replace(expr, &columns)
}

/// `expr` with the first of each pair replaced by the second.
fn replace(expr: &Expr, pairs: &[(Expr, Expr)]) -> Result<Expr> {
    let replaced = expr.clone().transform_down(|expr| {
        Ok(match pairs.iter().find(|(from, _)| *from == expr) {
            Some((_, to)) => Transformed::new(to.clone(), true, TreeNodeRecursion::Jump),
            None => Transformed::no(expr),
        })
    })?;
    Ok(replaced.data)
}

/// `plan` without those conjuncts of its filters that are among `stated`, which is written over the bottom of it.
/// None if there are none.
fn without(plan: &Arc<LogicalPlan>, stated: &[Expr]) -> Result<Option<Arc<LogicalPlan>>> {
    let Some(input) = below(plan).filter(|_| !stated.is_empty()) else {
        return Ok(None);
    };
    let input = Arc::new(input.clone());
    let new_input = without(&input, stated)?;
    if let LogicalPlan::Filter(filter) = plan.as_ref() {
        let conjuncts = split_conjunction_owned(filter.predicate.clone());
        let count = conjuncts.len();
        let mut kept = vec![];
        for conjunct in conjuncts {
            if !at_bottom(&conjunct, &input)?.is_some_and(|conjunct| stated.contains(&conjunct)) {
                kept.push(conjunct);
            }
        }
        if kept.len() < count {
            let input = new_input.unwrap_or(input);
            return Ok(Some(match conjunction(kept) {
                Some(predicate) => Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, input)?)),
                None => input,
            }));
        }
    }
    let Some(new_input) = new_input else {
        return Ok(None);
    };
    let plan = plan.with_new_exprs(plan.expressions(), vec![Arc::unwrap_or_clone(new_input)])?;
    Ok(Some(Arc::new(plan)))
}
