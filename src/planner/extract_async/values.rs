//! Async calls in `VALUES`, whose expressions DataFusion evaluates synchronously while it plans.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion::logical_expr::{
    EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, Union, Values, lit,
};

use super::project;
use crate::planner::calls::contains_async;

/// `VALUES (f('a'), 1), (f('b'), 2)` becomes a projection `f(column1), column2` over `VALUES ('a', 1), ('b', 2)`.
///
/// Where the rows of a column differ in more than their literals, each row becomes a projection of its own, and
/// the rows a `UNION ALL`.
pub(super) fn extract_from_values(values: &Values) -> Result<LogicalPlan> {
    if values.values.len() > 1
        && let Some(plan) = over_literals(values)?
    {
        return Ok(plan);
    }
    let rows = values.values.iter().map(|row| {
        let empty = EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) };
        named(row.clone(), LogicalPlan::EmptyRelation(empty), &values.schema).map(Arc::new)
    });
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    if rows.len() == 1 {
        return Ok(Arc::unwrap_or_clone(rows.remove(0)));
    }
    Ok(LogicalPlan::Union(Union { inputs: rows, schema: Arc::clone(&values.schema) }))
}

/// The projection over a `VALUES` of literals, if the rows of each column differ in nothing but literals.
fn over_literals(values: &Values) -> Result<Option<LogicalPlan>> {
    let mut columns: Vec<Vec<Expr>> = vec![];
    let mut exprs = vec![];
    for position in 0..values.schema.fields().len() {
        let column: Vec<Expr> = values.values.iter().map(|row| row[position].clone()).collect();
        if !column.iter().any(contains_async) {
            columns.push(column);
            exprs.push(column_expr(columns.len()));
            continue;
        }
        let Some((expr, differing)) = unify(&column, columns.len())? else {
            return Ok(None);
        };
        columns.extend(differing);
        exprs.push(expr);
    }
    if columns.is_empty() {
        // the rows are equal: any column makes as many of them
        columns.push(vec![lit(0_i64); values.values.len()]);
    }
    let rows = (0..values.values.len()).map(|row| columns.iter().map(|column| column[row].clone()).collect());
    let Ok(input) = LogicalPlanBuilder::values(rows.collect()).and_then(LogicalPlanBuilder::build) else {
        return Ok(None);
    };
    // not where an argument that decides the type of the call differs from row to row
    Ok(named(exprs, input, &values.schema).ok())
}

/// One expression for all of `rows`: where their literals differ, it reads a column, the first of which is number
/// `taken` + 1. Also gives those columns. None if the rows differ in anything else, be it the type of a literal that is
/// not NULL.
fn unify(rows: &[Expr], taken: usize) -> Result<Option<(Expr, Vec<Vec<Expr>>)>> {
    let mut skeletons = vec![];
    let mut literals = vec![];
    for row in rows {
        let mut found = vec![];
        let skeleton = map_literals(row.clone(), &mut |literal| {
            found.push(literal);
            Ok(Expr::Literal(ScalarValue::Null, None))
        })?;
        skeletons.push(skeleton);
        literals.push(found);
    }
    if skeletons.iter().any(|skeleton| *skeleton != skeletons[0]) {
        return Ok(None);
    }
    let mut columns: Vec<Vec<Expr>> = vec![];
    let mut position = 0;
    let mut same_types = true;
    let expr = map_literals(rows[0].clone(), &mut |literal| {
        let column: Vec<&ScalarValue> = literals.iter().map(|row| &row[position]).collect();
        position += 1;
        if column.iter().all(|literal| *literal == column[0]) {
            return Ok(Expr::Literal(literal, None));
        }
        let mut types = column.iter().map(|literal| literal.data_type()).filter(|of_one| !of_one.is_null());
        let first = types.next();
        same_types &= types.all(|of_one| Some(of_one) == first);
        columns.push(column.into_iter().map(|literal| Expr::Literal(literal.clone(), None)).collect());
        Ok(column_expr(taken + columns.len()))
    })?;
    Ok(same_types.then_some((expr, columns)))
}

fn map_literals(expr: Expr, map: &mut dyn FnMut(ScalarValue) -> Result<Expr>) -> Result<Expr> {
    let mapped = expr.transform_up(|expr| match expr {
        Expr::Literal(literal, _) => map(literal).map(Transformed::yes),
        expr => Ok(Transformed::no(expr)),
    })?;
    Ok(mapped.data)
}

/// The column that `VALUES` names by its number.
fn column_expr(number: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("column{number}")))
}

/// The projection of `exprs` with the names and the types of `schema`, its own calls extracted.
fn named(exprs: Vec<Expr>, input: LogicalPlan, schema: &DFSchemaRef) -> Result<LogicalPlan> {
    let exprs = exprs.into_iter().zip(schema.iter()).map(|(expr, (relation, field))| {
        Ok(expr.cast_to(field.data_type(), input.schema())?.alias_qualified(relation.cloned(), field.name()))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(project(Projection::try_new(exprs, Arc::new(input))?)?.data)
}
