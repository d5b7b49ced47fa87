//! Leaving out the columns that neither the calls read nor anybody above.
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::async_scalar_function::AsyncFuncExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

/// The parts of an operator with fewer columns.
pub(super) struct Narrowed {
    pub(super) calls: Vec<Arc<AsyncFuncExpr>>,
    pub(super) input: Arc<dyn ExecutionPlan>,
    /// The expressions of the projection above.
    pub(super) above: Vec<ProjectionExpr>,
}

/// `calls` over the columns of `input` which they or the expressions `above` read; none if these are all.
///
/// A slice holds its columns until its calls return, and texts or images that nobody needs any more take memory.
pub(super) fn narrow(
    calls: impl Iterator<Item = Arc<AsyncFuncExpr>> + Clone,
    input: &Arc<dyn ExecutionPlan>,
    above: &[ProjectionExpr],
) -> Result<Option<Narrowed>> {
    let schema = input.schema();
    let inputs = schema.fields().len();
    let mut read = BTreeSet::new();
    for expr in
        calls.clone().map(|call| Arc::clone(&call.func)).chain(above.iter().map(|one| Arc::clone(&one.expr)))
    {
        read.extend(collect_columns(&expr).into_iter().map(|column| column.index()));
    }
    let kept: Vec<usize> = read.into_iter().filter(|index| *index < inputs).collect();
    if kept.len() == inputs {
        return Ok(None);
    }
    let columns = kept.iter().map(|index| {
        let name = schema.field(*index).name();
        ProjectionExpr { expr: Arc::new(Column::new(name, *index)), alias: name.clone() }
    });
    let input: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(columns, Arc::clone(input))?);
    // the columns of the calls follow those of the input
    let moved = |expr: &Arc<dyn PhysicalExpr>| {
        move_columns(expr, |index| match kept.binary_search(&index) {
            Ok(position) => position,
            Err(_) => index - inputs + kept.len(),
        })
    };
    let calls = calls
        .map(|call| Ok(Arc::new(AsyncFuncExpr::try_new(call.name(), moved(&call.func)?, &input.schema())?)));
    let calls = calls.collect::<Result<_>>()?;
    let above =
        above.iter().map(|one| Ok(ProjectionExpr { expr: moved(&one.expr)?, alias: one.alias.clone() }));
    Ok(Some(Narrowed { calls, input, above: above.collect::<Result<_>>()? }))
}

/// `expr` with other positions of its columns.
fn move_columns(expr: &Arc<dyn PhysicalExpr>, to: impl Fn(usize) -> usize) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = Arc::clone(expr).transform_up(|expr| {
        Ok(match expr.downcast_ref::<Column>() {
            Some(column) => Transformed::yes(
                Arc::new(Column::new(column.name(), to(column.index()))) as Arc<dyn PhysicalExpr>
            ),
            None => Transformed::no(expr),
        })
    })?;
    Ok(moved.data)
}
