//! Computes async calls as columns of a projection.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, Join, LogicalPlan, Projection};

use super::reuse::{reuse, within};
use crate::planner::calls::{as_async_call, map_ready_calls, mask_call};

/// Columns that hold a call are named `__semantic_1`, `__semantic_2` and so on.
///
/// Not by the call's own name: a table can have a column of that name (`CREATE TABLE t AS SELECT f(x) ...`), and
/// an unqualified name next to a qualified equal one is ambiguous. Numbered anew in each node, not from a counter
/// of the session, so that a second pass of the optimizer gives the same plan and the passes end.
const PREFIX: &str = "__semantic_";

/// Whether `expr` is a column that [`add_columns`] made.
pub(in crate::planner) fn is_call_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Alias(alias) if alias.relation.is_none() && alias.name.starts_with(PREFIX))
}

/// Calls, each with the column that holds its value.
pub(super) type CallColumns = Vec<(Expr, Expr)>;

/// In how many rounds of [`extract`] calls are masked. The optimizer pushes a predicate back through the projections
/// that compute its calls, which puts the calls and masks of one round into the masks of the next, twice or more.
const MASKED_ROUNDS: usize = 4;

/// Where the last calls of an expression may be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the expressions themselves, which are those of a projection.
    Here,
    /// In a projection below.
    Below,
}

/// `exprs` over `input`, with their async calls computed by projections that are put on `input`, innermost first.
///
/// A call that is evaluated only under a condition gets NULL for the other rows. A call that a node further down
/// computes already is read from there. `avoid` is the schema of a join's other side, whose names are taken.
pub(super) fn extract(
    mut input: Arc<LogicalPlan>,
    mut exprs: Vec<Expr>,
    place: Place,
    avoid: &DFSchema,
) -> Result<(Arc<LogicalPlan>, Vec<Expr>)> {
    let mut rounds = 0;
    loop {
        let ready = ready_calls(&exprs)?;
        let (plan, columns) = reuse_columns(input, &ready.distinct, avoid)?;
        input = plan;
        if !columns.is_empty() {
            exprs = substitute(exprs, &columns)?;
            continue;
        }
        if rounds < MASKED_ROUNDS {
            exprs = mask_calls(exprs, &ready.unconditional, input.schema())?;
        }
        rounds += 1;
        let ready = ready_calls(&exprs)?;
        if ready.distinct.is_empty() || (place == Place::Here && ready.can_stay(&exprs)) {
            return Ok((input, exprs));
        }
        let (plan, columns) = add_columns(input, &ready.distinct, avoid)?;
        input = plan;
        exprs = substitute(exprs, &columns)?;
    }
}

/// `input` with one more column for each of `calls`, and for each call the column that holds it.
pub(super) fn add_columns(
    input: Arc<LogicalPlan>,
    calls: &[Expr],
    avoid: &DFSchema,
) -> Result<(Arc<LogicalPlan>, CallColumns)> {
    let (input, mut columns) = reuse_columns(input, calls, avoid)?;
    let new: Vec<&Expr> =
        calls.iter().filter(|call| !columns.iter().any(|(known, _)| known == *call)).collect();
    if new.is_empty() {
        return Ok((input, columns));
    }
    let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let names = free_names(new.len(), &[input.schema(), avoid]);
    for (call, name) in new.into_iter().zip(names) {
        exprs.push(call.clone().alias(&name));
        columns.push((call.clone(), Expr::Column(Column::new_unqualified(name))));
    }
    Ok((Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, input)?)), columns))
}

fn reuse_columns(
    mut input: Arc<LogicalPlan>,
    calls: &[Expr],
    avoid: &DFSchema,
) -> Result<(Arc<LogicalPlan>, CallColumns)> {
    let mut columns = vec![];
    for call in calls {
        let found = match reuse(&input, call)? {
            Some(found) => Some(found),
            None => add_to_side(&input, call, avoid)?,
        };
        if let Some((plan, column)) = found
            && (input.schema().has_column(&column) || !has_name(avoid, &column.name))
        {
            input = plan;
            columns.push((call.clone(), Expr::Column(column)));
        }
    }
    Ok((input, columns))
}

/// If `input` is a cross join and `call` reads one side of it: the join with the call computed on that side, and its
/// column. There it has fewer rows, and as every row has a partner none is in vain.
fn add_to_side(
    input: &Arc<LogicalPlan>,
    call: &Expr,
    avoid: &DFSchema,
) -> Result<Option<(Arc<LogicalPlan>, Column)>> {
    let LogicalPlan::Join(join) = input.as_ref() else { return Ok(None) };
    let is_cross = join.join_type == JoinType::Inner && join.on.is_empty() && join.filter.is_none();
    if !is_cross || call.is_volatile() || call.column_refs().is_empty() {
        return Ok(None);
    }
    let (left, right) = (&join.left, &join.right);
    let (side, other, is_left) = match (within(call, left), within(call, right)) {
        (true, false) => (left, right, true),
        (false, true) => (right, left, false),
        _ => return Ok(None),
    };
    // the name is to be free beside all columns that the join has
    let mut taken = other.schema().as_ref().clone();
    taken.merge(avoid);
    let (side, columns) = add_columns(Arc::clone(side), std::slice::from_ref(call), &taken)?;
    let [(_, Expr::Column(column))] = columns.as_slice() else { return Ok(None) };
    let (left, right) = if is_left { (side, Arc::clone(other)) } else { (Arc::clone(other), side) };
    let joined = Join::try_new(
        left,
        right,
        vec![],
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok(Some((Arc::new(LogicalPlan::Join(joined)), column.clone())))
}

/// `count` names for new columns that no field of `schemas` has.
pub(super) fn free_names(count: usize, schemas: &[&DFSchema]) -> Vec<String> {
    let names = (1..).map(|n| format!("{PREFIX}{n}"));
    names.filter(|name| !schemas.iter().any(|schema| has_name(schema, name))).take(count).collect()
}

/// Whether a field of `schema` has this name, whatever its qualifier.
pub(super) fn has_name(schema: &DFSchema, name: &str) -> bool {
    schema.fields().iter().any(|field| field.name() == name)
}

/// `exprs` with every expression that `columns` names replaced by its column.
pub(super) fn substitute(exprs: Vec<Expr>, columns: &[(Expr, Expr)]) -> Result<Vec<Expr>> {
    let replace = |expr: Expr| {
        let column = columns.iter().find_map(|(call, column)| (*call == expr).then(|| column.clone()));
        Ok(match column {
            Some(column) => Transformed::new(column, true, TreeNodeRecursion::Jump),
            None => Transformed::no(expr),
        })
    };
    exprs.into_iter().map(|expr| Ok(expr.transform_down(replace)?.data)).collect()
}

/// The calls of some expressions that can be computed next.
#[derive(Default)]
pub(super) struct ReadyCalls {
    /// Each call once.
    pub(super) distinct: Vec<Expr>,
    /// Those whose value is needed for every row.
    unconditional: Vec<Expr>,
    /// How many there are, repetitions counted.
    count: usize,
}

impl ReadyCalls {
    /// Whether a projection of `exprs` can compute these calls itself: there is no other call in it, and none is
    /// repeated, for the stock planner would compute a repeated call again.
    fn can_stay(&self, exprs: &[Expr]) -> bool {
        let mut all = 0;
        for expr in exprs {
            // the closure never fails
            let _ = expr.apply(|expr| {
                all += usize::from(as_async_call(expr).is_some());
                Ok(TreeNodeRecursion::Continue)
            });
        }
        all == self.count && self.count == self.distinct.len()
    }
}

pub(super) fn ready_calls(exprs: &[Expr]) -> Result<ReadyCalls> {
    let mut ready = ReadyCalls::default();
    for expr in exprs {
        map_ready_calls(expr.clone(), &mut vec![], &mut |call, guards| {
            ready.count += 1;
            if guards.is_empty() && !ready.unconditional.contains(&call) {
                ready.unconditional.push(call.clone());
            }
            if !ready.distinct.contains(&call) {
                ready.distinct.push(call.clone());
            }
            Ok(call)
        })?;
    }
    Ok(ready)
}

/// Gives the ready calls of `exprs` NULL for the rows that do not need them, except those that `unconditional`
/// computes for every row anyway, and except where that would change the type of the expression (a call that is
/// never NULL may make an expression that is never NULL: then it is computed for every row).
fn mask_calls(exprs: Vec<Expr>, unconditional: &[Expr], schema: &DFSchema) -> Result<Vec<Expr>> {
    let mask = |expr: Expr| {
        let masked = map_ready_calls(expr.clone(), &mut vec![], &mut |call, guards| {
            if unconditional.contains(&call) { Ok(call) } else { mask_call(call, guards, schema) }
        })?;
        if !masked.transformed {
            return Ok(expr);
        }
        let same = match (expr.to_field(schema), masked.data.to_field(schema)) {
            (Ok((_, before)), Ok((_, after))) => {
                before.data_type() == after.data_type()
                    && before.is_nullable() == after.is_nullable()
                    && before.metadata() == after.metadata()
            }
            _ => false,
        };
        Ok(if same { masked.data } else { expr })
    };
    exprs.into_iter().map(mask).collect()
}
