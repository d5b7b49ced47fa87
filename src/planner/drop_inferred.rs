//! Drops predicates with async calls that the optimizer inferred from others.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
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
    let mut on_left = vec![];
    predicates(&join.left, &mut on_left)?;
    let conjuncts = join.filter.as_ref().map(split_conjunction).unwrap_or_default();
    let conjuncts: Vec<&Expr> = conjuncts.into_iter().filter(|conjunct| contains_async(conjunct)).collect();

    // what the join states already, written over the bottom of each side
    let (mut of_left, mut of_right) = (vec![], vec![]);
    let mut keys = vec![];
    for (left, right) in &join.on {
        if let (Some(left), Some(right)) = (at_bottom(left, &join.left)?, at_bottom(right, &join.right)?) {
            keys.push((left, right));
        }
    }
    for predicate in &on_left {
        if let Some(predicate) = with_keys(predicate, keys.iter().map(|(left, right)| (left, right)))? {
            of_right.push(predicate);
        }
    }
    for conjunct in conjuncts {
        let to_right = replace(conjunct, join.on.iter().map(|(left, right)| (left, right)))?;
        let to_left = replace(conjunct, join.on.iter().map(|(left, right)| (right, left)))?;
        for (predicate, side, of_side) in
            [(to_right, &join.right, &mut of_right), (to_left, &join.left, &mut of_left)]
        {
            if within(&predicate, side) {
                of_side.extend(at_bottom(&predicate, side)?);
            }
        }
    }

    let right = without(&join.right, &of_right)?;
    let left = without(&join.left, &of_left)?;
    let dropped = right.is_some() || left.is_some();
    join.right = right.unwrap_or(join.right);
    join.left = left.unwrap_or(join.left);
    Ok(Transformed::new_transformed(LogicalPlan::Join(join), dropped))
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
    let Some(sources) = sources(plan) else { return Ok(expr.clone()) };
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    replace(expr, columns.iter().zip(&sources))
}

/// `expr` with the first of each pair replaced by the second.
fn replace<'a>(expr: &Expr, pairs: impl Iterator<Item = (&'a Expr, &'a Expr)> + Clone) -> Result<Expr> {
    let replaced = expr.clone().transform_down(|expr| {
        let to = pairs.clone().find_map(|(from, to)| (*from == expr).then(|| to.clone()));
        Ok(match to {
            Some(to) => Transformed::new(to, true, TreeNodeRecursion::Jump),
            None => Transformed::no(expr),
        })
    })?;
    Ok(replaced.data)
}

/// [`replace`], if `predicate` reads no column but the first ones of `keys`: the two sides of a join of a table
/// with itself have the same columns at their bottom.
fn with_keys<'a>(
    predicate: &Expr,
    keys: impl Iterator<Item = (&'a Expr, &'a Expr)> + Clone,
) -> Result<Option<Expr>> {
    let is_key = |column: &Expr| keys.clone().any(|(key, _)| key == column);
    let only_keys = predicate.column_refs().into_iter().all(|column| is_key(&Expr::Column(column.clone())));
    only_keys.then(|| replace(predicate, keys.clone())).transpose()
}

/// `plan` without those conjuncts of its filters that are among `stated`, which is written over the bottom of it.
/// None if there are none.
fn without(plan: &Arc<LogicalPlan>, stated: &[Expr]) -> Result<Option<Arc<LogicalPlan>>> {
    let Some(input) = below(plan).filter(|_| !stated.is_empty()) else { return Ok(None) };
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
