//! Keeps the schema of a node whose expressions were rewritten: the names of its columns are made from them.

use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

/// The node `plan` with other expressions and inputs, and with the columns that it had, in their order and under
/// their names.
///
/// The inputs can have more columns than before; those that a node passes on are found by name.
pub(super) fn with_exprs(
    plan: &LogicalPlan,
    exprs: Vec<Expr>,
    inputs: Vec<LogicalPlan>,
) -> Result<LogicalPlan> {
    let schema = plan.schema();
    if let (LogicalPlan::Projection(_), [input]) = (plan, inputs.as_slice()) {
        return project_as(exprs, Arc::new(input.clone()), schema);
    }
    let passed = match plan {
        LogicalPlan::Window(window) => window.input.schema().columns(),
        LogicalPlan::Aggregate(_) => vec![],
        _ => schema.columns(),
    };
    let new_plan = plan.with_new_exprs(exprs, inputs)?;
    // what a node computes comes last and is named after its expression, so it is found again by its position
    let computed = schema.fields().len() - passed.len();
    let fields = new_plan.schema().fields().len();
    let columns = new_plan.schema().columns().split_off(fields - computed);
    restore(new_plan, passed.into_iter().chain(columns).collect(), schema)
}

/// The projection of `exprs` under the names of `schema`.
pub(super) fn project_as(
    exprs: Vec<Expr>,
    input: Arc<LogicalPlan>,
    schema: &DFSchemaRef,
) -> Result<LogicalPlan> {
    let exprs = exprs.into_iter().zip(schema.columns()).map(|(expr, Column { relation, name, .. })| {
        let same = expr.qualified_name() == (relation.clone(), name.clone());
        if same { expr } else { expr.alias_qualified(relation, name) }
    });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), input)?))
}

/// `plan` projected to `columns`, under the names of `schema`, if that makes a difference.
pub(super) fn restore(plan: LogicalPlan, columns: Vec<Column>, schema: &DFSchemaRef) -> Result<LogicalPlan> {
    if plan.schema().columns() == schema.columns() {
        return Ok(plan);
    }
    project_as(columns.into_iter().map(Expr::Column).collect(), Arc::new(plan), schema)
}
