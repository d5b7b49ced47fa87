//! Refuses a plan in which an async call is left where nothing can run it.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::dml::WriteOp;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::calls::{as_async_call, contains_async};

/// The rule `semantic.check_async`, right after [`super::ExtractAsync`]: an async call outside a projection, or
/// nested in another one, is an error that names the function, the clause and the cure. Without it the query
/// would fail with an internal error of DataFusion, or give wrong numbers.
#[derive(Debug)]
pub(super) struct CheckAsync;

impl OptimizerRule for CheckAsync {
    fn name(&self) -> &'static str {
        "semantic.check_async"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.apply_with_subqueries(|node| {
            check(node)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Transformed::no(plan))
    }
}

fn check(node: &LogicalPlan) -> Result<()> {
    if let LogicalPlan::Dml(statement) = node {
        return check_statement(statement);
    }
    if let LogicalPlan::Subquery(subquery) = node {
        return check_correlated(&subquery.subquery);
    }
    node.apply_expressions(|expr| {
        expr.apply(|expr| check_expr(expr, node))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn check_expr(expr: &Expr, node: &LogicalPlan) -> Result<TreeNodeRecursion> {
    if let Expr::Lambda(lambda) = expr
        && let Some(name) = find_call(&lambda.body)?
    {
        return plan_err!(
            "{name}: found in a lambda, expected in a query over rows; write the list as rows with unnest, call \
             {name} on them, and put the values back together with array_agg"
        );
    }
    let Some(call) = as_async_call(expr) else {
        return Ok(TreeNodeRecursion::Continue);
    };
    let nested = call.args.iter().any(contains_async);
    if matches!(node, LogicalPlan::Projection(_)) && !nested {
        return Ok(TreeNodeRecursion::Continue);
    }
    let name = call.name();
    plan_err!(
        "{name}: found in {}, where it cannot be computed; compute it as a column of a subquery and use the \
         column instead: SELECT ... FROM (SELECT *, {expr} AS value FROM ...)",
        clause(node)
    )
}

/// DataFusion has its own error for a subquery that still reads a column of the outer query, with functions of any
/// kind, but that error names neither the function nor the cure.
fn check_correlated(subquery: &LogicalPlan) -> Result<()> {
    let (mut column, mut name) = (None, None);
    subquery.apply_with_subqueries(|node| {
        for expr in node.expressions() {
            column = column.take().or(outer_column(&expr)?);
            name = name.take().or(find_call(&expr)?);
        }
        let complete = column.is_some() && name.is_some();
        Ok(if complete { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    match (column, name) {
        (Some(column), Some(name)) => plan_err!(
            "{name}: found in a subquery that uses {column} of the outer query and cannot be made a join, expected \
             a subquery that can run on its own; compute {name}(...) in the outer SELECT, or write the subquery as \
             a JOIN"
        ),
        _ => Ok(()),
    }
}

/// A column of the outer query that `expr` reads.
fn outer_column(expr: &Expr) -> Result<Option<Column>> {
    let mut found = None;
    expr.apply(|expr| match expr {
        Expr::OuterReferenceColumn(_, column) => {
            found = Some(column.clone());
            Ok(TreeNodeRecursion::Stop)
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(found)
}

/// A table applies the predicates and assignments of a statement itself, and synchronously.
fn check_statement(statement: &DmlStatement) -> Result<()> {
    let verb = match &statement.op {
        WriteOp::Delete => "DELETE",
        WriteOp::Update => "UPDATE",
        WriteOp::MergeInto(_) => "MERGE",
        _ => return Ok(()),
    };
    let mut found = None;
    let mut look = |node: &LogicalPlan| {
        for expr in node.expressions() {
            found = found.take().or(find_call(&expr)?);
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    statement.input.apply_with_subqueries(&mut look)?;
    if let WriteOp::MergeInto(merge) = &statement.op {
        for expr in merge.exprs() {
            found = found.take().or(find_call(expr)?);
        }
    }
    match found {
        Some(name) => plan_err!(
            "{name}: found in {verb}, which computes its conditions and values inside the table; store the value \
             in a column first (CREATE TABLE ... AS SELECT *, {name}(...) AS value FROM ...) and use the column"
        ),
        None => Ok(()),
    }
}

/// The name of an async function that `expr` calls.
fn find_call(expr: &Expr) -> Result<Option<String>> {
    let mut found = None;
    expr.apply(|expr| {
        found = as_async_call(expr).map(|call| call.name().to_owned());
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// What the user calls the place where the expressions of `node` were written.
fn clause(node: &LogicalPlan) -> String {
    match node {
        LogicalPlan::Projection(_) => "another call".to_owned(),
        LogicalPlan::Filter(_) | LogicalPlan::TableScan(_) => "WHERE or HAVING".to_owned(),
        LogicalPlan::Sort(_) => "ORDER BY".to_owned(),
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => {
            "GROUP BY or an aggregate function".to_owned()
        }
        LogicalPlan::Window(_) => "a window function".to_owned(),
        LogicalPlan::Join(_) => "a JOIN condition".to_owned(),
        LogicalPlan::Limit(_) => "LIMIT".to_owned(),
        LogicalPlan::Values(_) => "VALUES".to_owned(),
        LogicalPlan::Extension(extension) => {
            format!("{} (an extension of the query plan)", extension.node.name())
        }
        other => other.display().to_string(),
    }
}
