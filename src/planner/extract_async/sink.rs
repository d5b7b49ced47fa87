//! Lets what makes fewer rows run before the async calls that do not depend on it: cheap predicates, and a sort
//! with a limit over other keys.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Sort};

use crate::planner::calls::{calls_async, contains_async};

/// What the columns of `node` are in its input, one expression each: for a projection or a subquery's alias. None
/// for another node.
pub(in crate::planner) fn sources(node: &LogicalPlan) -> Option<Vec<Expr>> {
    match node {
        LogicalPlan::Projection(projection) => {
            Some(projection.expr.iter().map(|expr| expr.clone().unalias_nested().data).collect())
        }
        LogicalPlan::SubqueryAlias(alias) => {
            Some(alias.input.schema().columns().into_iter().map(Expr::Column).collect())
        }
        _ => None,
    }
}

/// `exprs`, written over the output of `node`, written over its input instead. None where they read a column that
/// an async call computes, or one that is not the same each time.
pub(super) fn through(exprs: &[Expr], node: &LogicalPlan) -> Result<Option<Vec<Expr>>> {
    let Some(sources) = sources(node) else {
        return Ok(Some(exprs.to_vec()));
    };
    let mut possible = true;
    let mut replace = |expr: Expr| match &expr {
        Expr::Column(column) => {
            let source = &sources[node.schema().index_of_column(column)?];
            possible &= !contains_async(source) && !source.is_volatile();
            Ok(Transformed::yes(source.clone()))
        }
        _ => Ok(Transformed::no(expr)),
    };
    let replaced = exprs.iter().map(|expr| Ok(expr.clone().transform_up(&mut replace)?.data));
    let replaced = replaced.collect::<Result<Vec<_>>>()?;
    Ok(possible.then_some(replaced))
}

/// What [`sink`] puts below the async calls: given the expressions and the input there, the new input.
type Put<'a> = &'a dyn Fn(Vec<Expr>, &Arc<LogicalPlan>) -> Result<Option<LogicalPlan>>;

/// `plan` with what `put` makes of `exprs` placed below the deepest projection with async calls that can be
/// reached through nodes that `pass` allows. None if there is no such projection, or nothing to put.
fn sink(
    plan: &Arc<LogicalPlan>,
    exprs: &[Expr],
    pass: fn(&LogicalPlan) -> bool,
    put: Put,
) -> Result<Option<Arc<LogicalPlan>>> {
    if !pass(plan) {
        return Ok(None);
    }
    let Some(below) = through(exprs, plan)? else {
        return Ok(None);
    };
    let input = Arc::new(plan.inputs()[0].clone());
    let sunk = match sink(&input, &below, pass, put)? {
        Some(sunk) => sunk,
        None if calls_async(plan) => match put(below, &input)? {
            Some(plan) => Arc::new(plan),
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    let plan = plan.with_new_exprs(plan.expressions(), vec![Arc::unwrap_or_clone(sunk)])?;
    Ok(Some(Arc::new(plan)))
}

/// Whether there is a projection with async calls that [`filter_first`] could put a predicate below.
pub(super) fn reaches_async(plan: &LogicalPlan) -> bool {
    filter_passes(plan) && (calls_async(plan) || reaches_async(plan.inputs()[0]))
}

fn filter_passes(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_))
}

fn sort_passes(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_))
}

/// A filter of `conjuncts` on `input`, each below the async calls that it does not depend on.
pub(super) fn filter_first(conjuncts: Vec<Expr>, mut input: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    let mut stay = vec![];
    for conjunct in conjuncts {
        let put = |exprs: Vec<Expr>, input: &Arc<LogicalPlan>| on_top(exprs, Arc::clone(input));
        match sink(&input, std::slice::from_ref(&conjunct), filter_passes, &put)? {
            Some(sunk) => input = sunk,
            None => stay.push(conjunct),
        }
    }
    Ok(match on_top(stay, Arc::clone(&input))? {
        Some(filter) => Arc::new(filter),
        None => input,
    })
}

/// A filter of `conjuncts` on `input`; one filter if `input` is a filter already.
pub(super) fn on_top(conjuncts: Vec<Expr>, input: Arc<LogicalPlan>) -> Result<Option<LogicalPlan>> {
    let (mut all, input) = match input.as_ref() {
        LogicalPlan::Filter(filter) => (vec![filter.predicate.clone()], Arc::clone(&filter.input)),
        _ => (vec![], input),
    };
    if conjuncts.is_empty() {
        return Ok(None);
    }
    all.extend(conjuncts);
    conjunction(all).map(|predicate| Filter::try_new(predicate, input).map(LogicalPlan::Filter)).transpose()
}

/// The input of `sort` with the same sort and limit below the async calls that its keys do not depend on, as made
/// by `rewrite`. None if that changes nothing.
///
/// The outer sort has to stay: it states the order. Where our operator runs the calls, which keeps it, the physical
/// planner finds the rows sorted; under DataFusion's own the few rows that are left are sorted again.
pub(super) fn sort_first(
    sort: &Sort,
    rewrite: &dyn Fn(Sort) -> Result<LogicalPlan>,
) -> Result<Option<Arc<LogicalPlan>>> {
    let Some(fetch) = sort.fetch else { return Ok(None) };
    let keys: Vec<Expr> = sort.expr.iter().map(|key| key.expr.clone()).collect();
    sink(&sort.input, &keys, sort_passes, &|keys, input| {
        if input.max_rows().is_some_and(|rows| rows <= fetch) {
            return Ok(None);
        }
        let expr = sort.expr.iter().zip(keys).map(|(key, expr)| key.with_expr(expr)).collect();
        rewrite(Sort { expr, input: Arc::clone(input), fetch: Some(fetch) }).map(Some)
    })
}
