//! What the rules need to know about an async call inside an expression.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, BinaryExpr, Case, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};

/// The function and the arguments of `expr`, if it is a call of an async function.
pub(super) fn as_async_call(expr: &Expr) -> Option<&ScalarFunction> {
    match expr {
        Expr::ScalarFunction(call) if call.func.as_async().is_some() => Some(call),
        _ => None,
    }
}

/// Whether an async call is `expr` or is inside it. Subqueries are plans of their own and do not count.
pub(super) fn contains_async(expr: &Expr) -> bool {
    let mut found = false;
    // the closure never fails
    let _ = expr.apply(|expr| {
        found |= as_async_call(expr).is_some();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// Whether an expression of the node `plan` itself, not of its inputs, contains an async call.
pub(super) fn calls_async(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // the closure never fails
    let _ = plan.apply_expressions(|expr| {
        found |= contains_async(expr);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// Whether an expression of the node `plan` itself refers to the query around a subquery. A subquery that could not
/// be made a join (yet) has such nodes; the rules leave them alone, because those columns are not in their input.
pub(super) fn is_correlated(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // the closure never fails
    let _ = plan.apply_expressions(|expr| {
        found |= expr.contains_outer();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// Whether `expr` has the same value for every row of the query.
pub(super) fn is_constant(expr: &Expr) -> bool {
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

/// Whether every async call in `expr` has the same value for every row of the query.
pub(super) fn calls_only_constants(expr: &Expr) -> bool {
    let mut only = true;
    // the closure never fails
    let _ = expr.apply(|expr| {
        let is_call = as_async_call(expr).is_some();
        only &= !is_call || is_constant(expr);
        Ok(if is_call { TreeNodeRecursion::Jump } else { TreeNodeRecursion::Continue })
    });
    only
}

/// Whether `expr` is a call that can be computed over its input as it stands: no other async call comes first.
fn is_ready(expr: &Expr) -> bool {
    as_async_call(expr).is_some_and(|call| !call.args.iter().any(contains_async))
}

/// A condition under which one operand of a conditional expression is evaluated: none of `unless` holds, and then
/// `when`, if there is one. With an `operand` these are values that it may equal, as in `CASE operand WHEN ...`.
///
/// Kept as a `CASE`, not as one boolean, so that a condition still protects the conditions after it:
/// `CASE WHEN x = 0 THEN 0 WHEN 10 / x > 2 THEN f(x) END` must not divide by zero.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Guard {
    operand: Option<Box<Expr>>,
    unless: Vec<Expr>,
    when: Option<Expr>,
}

impl Guard {
    fn unless(conditions: &[Expr]) -> Self {
        Self { operand: None, unless: conditions.to_vec(), when: None }
    }

    /// Whether the guard can be evaluated a second time, before the call: it calls no async function, and it
    /// gives the same answer each time.
    fn is_repeatable(&self) -> bool {
        self.conditions().all(|condition| !contains_async(condition) && !condition.is_volatile())
    }

    /// Whether the guard itself waits for an async call.
    fn waits(&self) -> bool {
        self.conditions().any(contains_async)
    }

    /// Whether the guard can leave out rows, now or after the calls in it were computed.
    pub(super) fn can_mask(&self) -> bool {
        !self.conditions().any(Expr::is_volatile)
    }

    fn conditions(&self) -> impl Iterator<Item = &Expr> {
        self.operand.as_deref().into_iter().chain(&self.unless).chain(&self.when)
    }

    /// `value` where the guard holds, else NULL.
    fn mask(&self, value: Expr, null: &ScalarValue) -> Expr {
        let mut when_then: Vec<_> = self
            .unless
            .iter()
            .map(|condition| (Box::new(condition.clone()), Box::new(Expr::Literal(null.clone(), None))))
            .collect();
        let mut otherwise = None;
        match &self.when {
            Some(condition) => when_then.push((Box::new(condition.clone()), Box::new(value))),
            None => otherwise = Some(Box::new(value)),
        }
        Expr::Case(Case::new(self.operand.clone(), when_then, otherwise))
    }
}

/// For each child of `expr`, in the order of its `TreeNode` implementation, the guard under which it is
/// evaluated. Empty where every child is always evaluated.
fn child_guards(expr: &Expr) -> Vec<Option<Guard>> {
    if !contains_async(expr) {
        return vec![];
    }
    match expr {
        Expr::Case(case) => {
            let whens: Vec<Expr> =
                case.when_then_expr.iter().map(|(when, _)| when.as_ref().clone()).collect();
            let guard = |unless: usize, when: Option<&Expr>| {
                let (operand, unless) = (case.expr.clone(), whens[..unless].to_vec());
                (!unless.is_empty() || when.is_some()).then(|| Guard { operand, unless, when: when.cloned() })
            };
            let mut guards = vec![];
            guards.extend(case.expr.iter().map(|_| None));
            for (i, when) in whens.iter().enumerate() {
                guards.extend([guard(i, None), guard(i, Some(when))]);
            }
            guards.extend(case.else_expr.iter().map(|_| guard(whens.len(), None)));
            guards
        }
        // AND and OR: one side decides for some rows, the other is needed for the rest. The side without a
        // call decides, else the left one.
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let decided = |by: &Expr| match op {
                Operator::And => Guard::unless(&[Expr::IsFalse(Box::new(by.clone()))]),
                _ => Guard::unless(std::slice::from_ref(by)),
            };
            if contains_async(left) && !contains_async(right) {
                vec![Some(decided(right)), None]
            } else {
                vec![None, Some(decided(left))]
            }
        }
        Expr::AggregateFunction(AggregateFunction { params, .. }) => match &params.filter {
            Some(filter) => {
                let guard = Guard { operand: None, unless: vec![], when: Some(filter.as_ref().clone()) };
                vec![Some(guard); params.args.len()]
            }
            None => vec![],
        },
        _ => vec![],
    }
}

/// Calls `visit` with each child of `expr` and the guard under which it is evaluated.
pub(super) fn for_each_child(expr: &Expr, mut visit: impl FnMut(&Expr, Option<&Guard>)) {
    let guards = child_guards(expr);
    let mut guards = guards.iter();
    // the closure never fails
    let _ = expr.apply_children(|child| {
        visit(child, guards.next().and_then(Option::as_ref));
        Ok(TreeNodeRecursion::Continue)
    });
}

/// Replaces every ready call of `expr` by what `replace` makes of it and of the guards around it, outermost
/// first. A call under a guard that waits for another call is not ready, and neither is one in a lambda body
/// or one that refers to an outer query: those have no row of the input to be computed for.
pub(super) fn map_ready_calls(
    expr: Expr,
    guards: &mut Vec<Guard>,
    replace: &mut dyn FnMut(Expr, &[Guard]) -> Result<Expr>,
) -> Result<Transformed<Expr>> {
    if matches!(expr, Expr::Lambda(_)) || !contains_async(&expr) {
        return Ok(Transformed::no(expr));
    }
    if is_ready(&expr) {
        if guards.iter().any(Guard::waits) || expr.contains_outer() {
            return Ok(Transformed::no(expr));
        }
        let replaced = replace(expr.clone(), guards)?;
        return Ok(if replaced == expr { Transformed::no(expr) } else { Transformed::yes(replaced) });
    }
    let mut child_guards = child_guards(&expr).into_iter();
    expr.map_children(|child| match child_guards.next().flatten() {
        Some(guard) => {
            guards.push(guard);
            let mapped = map_ready_calls(child, guards, replace);
            guards.pop();
            mapped
        }
        None => map_ready_calls(child, guards, replace),
    })
}

/// Whether `value` is a `CASE` that gives NULL in one of its branches, as a mask does.
///
/// A later pass of the optimizer finds the masks of an earlier one, with other expressions in their conditions.
/// To mask a call again would make the plan grow with each pass; to take the user's own `CASE ... END` for a mask
/// leaves more rows to the call than need be, which is never wrong.
fn is_masked(value: &Expr) -> bool {
    let Expr::Case(case) = value else { return false };
    let is_null = |value: &Expr| matches!(value, Expr::Literal(value, _) if value.is_null());
    case.else_expr.as_deref().is_none_or(is_null) || case.when_then_expr.iter().any(|(_, then)| is_null(then))
}

/// `call` with NULL as its first argument in the rows that `guards` exclude, or `call` itself where that is not
/// possible or already so.
///
/// Right because NULL in is NULL out without a call, and because the value is not used in those rows. Not done
/// where the first argument is NULL already or where the mask would change the type or the metadata of the result.
pub(super) fn mask_call(call: Expr, guards: &[Guard], schema: &DFSchema) -> Result<Expr> {
    let repeatable = guards.iter().take_while(|guard| guard.is_repeatable()).count();
    let guards = &guards[..repeatable];
    let Expr::ScalarFunction(function) = &call else {
        return Ok(call);
    };
    let Some(first) = function.args.first() else {
        return Ok(call);
    };
    let is_null = matches!(first, Expr::Literal(value, _) if value.is_null());
    if guards.is_empty() || is_null || is_masked(first) {
        return Ok(call);
    }
    let null = ScalarValue::try_new_null(&first.get_type(schema)?)?;
    let mask = guards.iter().rev().fold(first.clone(), |value, guard| guard.mask(value, &null));
    let args = std::iter::once(mask).chain(function.args[1..].iter().cloned()).collect();
    let masked = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&function.func), args));
    let (before, after) = (call.to_field(schema)?.1, masked.to_field(schema));
    Ok(match after {
        Ok((_, after))
            if before.data_type() == after.data_type() && before.metadata() == after.metadata() =>
        {
            masked
        }
        _ => call,
    })
}
