//! Drops predicates with async calls that the optimizer inferred from others.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::calls::contains_async;
use super::extract_async::{through, within};

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
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => drop_inferred(join),
            plan => Ok(Transformed::no(plan)),
        }
    }
}

fn drop_inferred(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let mut stated = join
        .filter
        .as_ref()
        .map(split_conjunction)
        .unwrap_or_default()
        .into_iter()
        .cloned()
        .collect();
    predicates_of(&join.left, &mut stated)?;
    stated.retain(contains_async);
    if stated.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let keys: Vec<(Expr, Expr)> = join
        .on
        .iter()
        .map(|(left, right)| (left.clone(), right.clone()))
        .collect();
    let of_right = translate(
        &stated,
        keys.iter().map(|(left, right)| (left, right)),
        &join.right,
    )?;
    let of_left = translate(
        &stated,
        keys.iter().map(|(left, right)| (right, left)),
        &join.left,
    )?;
    let right = without(&join.right, &of_right)?;
    let left = without(&join.left, &of_left)?;
    let dropped = right.is_some() || left.is_some();
    join.right = right.unwrap_or(join.right);
    join.left = left.unwrap_or(join.left);
    Ok(Transformed::new_transformed(LogicalPlan::Join(join), dropped))
}

/// Adds the predicates of the filters of `plan`, written over its output.
fn predicates_of(plan: &LogicalPlan, predicates: &mut Vec<Expr>) -> Result<()> {
    let mut lower = vec![];
    match plan {
        LogicalPlan::Filter(filter) => {
            predicates.extend(split_conjunction(&filter.predicate).into_iter().cloned());
            return predicates_of(&filter.input, predicates);
        }
        LogicalPlan::SubqueryAlias(alias) => predicates_of(&alias.input, &mut lower)?,
        LogicalPlan::Projection(projection) => predicates_of(&projection.input, &mut lower)?,
        _ => return Ok(()),
    }
    let output: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let Some(sources) = through(&output, plan)? else {
        return Ok(());
    };
    let columns: Vec<(&Expr, &Expr)> = sources
        .iter()
        .zip(&output)
        .filter(|(source, _)| source.try_as_col().is_some())
        .collect();
    predicates.extend(translate(&lower, columns.into_iter(), plan)?);
    Ok(())
}

/// Those of `predicates` that changed when the first of each pair of columns was replaced by the second, and that
/// then read nothing but columns of `plan`.
fn translate<'a>(
    predicates: &[Expr],
    columns: impl Iterator<Item = (&'a Expr, &'a Expr)> + Clone,
    plan: &LogicalPlan,
) -> Result<Vec<Expr>> {
    let mut translated = vec![];
    for predicate in predicates {
        let replaced = predicate.clone().transform_up(|expr| {
            let column = columns
                .clone()
                .find_map(|(from, to)| (*from == expr).then(|| to.clone()));
            Ok(column.map_or(Transformed::no(expr), Transformed::yes))
        })?;
        if replaced.transformed && within(&replaced.data, plan) {
            translated.push(replaced.data);
        }
    }
    Ok(translated)
}

/// `plan` without those conjuncts of its filters that are among `implied`, which is written over its output.
/// None if there are none.
fn without(plan: &Arc<LogicalPlan>, implied: &[Expr]) -> Result<Option<Arc<LogicalPlan>>> {
    let (LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Projection(_)) = plan.as_ref()
    else {
        return Ok(None);
    };
    let Some(below) = through(implied, plan)? else {
        return Ok(None);
    };
    let input = Arc::new(plan.inputs()[0].clone());
    let new_input = without(&input, &below)?;
    if let LogicalPlan::Filter(filter) = plan.as_ref() {
        let conjuncts = split_conjunction_owned(filter.predicate.clone());
        let count = conjuncts.len();
        let kept: Vec<Expr> = conjuncts
            .into_iter()
            .filter(|conjunct| !implied.contains(conjunct))
            .collect();
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
