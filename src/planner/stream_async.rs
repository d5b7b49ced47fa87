//! Puts our own operator in the place of DataFusion's.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::async_scalar_function::AsyncFuncExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::async_func::AsyncFuncExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::lower_to_sync::Twins;
use crate::execution::{AsyncCallsExec, Queries};

/// The rule `semantic.stream_async`: every `AsyncFuncExec` becomes an [`AsyncCallsExec`].
///
/// It is the first of the physical rules, because those after it ask an operator whether it keeps an order, lets a
/// limit or a filter pass, and is worth repartitioning. A plan that has missed it is slower, never wrong.
///
/// It also refuses an async call that has got where nothing can run it, which logical rules of others, added
/// after ours, could do.
#[derive(Debug)]
pub(super) struct StreamAsync;

impl StreamAsync {
    pub(super) const NAME: &'static str = "semantic.stream_async";
}

impl PhysicalOptimizerRule for StreamAsync {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let bodies = Twins::of(options).map(Twins::bodies).unwrap_or_default();
        let queries = Arc::new(Queries::new(bodies));
        let streaming = plan.transform_up(|node| {
            if !node.is::<AsyncFuncExec>() {
                check(&node)?;
                return Ok(Transformed::no(node));
            }
            let input = Arc::clone(node.children()[0]);
            let operator = AsyncCallsExec::try_new(calls(&node)?, input, Arc::clone(&queries))?;
            Ok(Transformed::yes(Arc::new(operator) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(streaming.data)
    }
}

/// The calls of DataFusion's operator, which has them as its expressions.
pub(super) fn calls(node: &Arc<dyn ExecutionPlan>) -> Result<Vec<Arc<AsyncFuncExpr>>> {
    let mut calls = vec![];
    node.apply_expressions(&mut |expr| {
        calls.extend(expr.downcast_ref::<AsyncFuncExpr>().cloned().map(Arc::new));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(calls)
}

fn check(node: &Arc<dyn ExecutionPlan>) -> Result<()> {
    node.apply_expressions(&mut |expr| {
        expr.apply(|expr: &Arc<dyn PhysicalExpr>| {
            match expr.downcast_ref::<ScalarFunctionExpr>() {
                Some(call) if call.fun().as_async().is_some() => plan_err!(
                    "{}: found in {}, where DataFusion cannot wait for it; call it in the SELECT of a subquery and \
                     use its column here",
                    call.fun().name(),
                    node.name()
                ),
                _ => Ok(TreeNodeRecursion::Continue),
            }
        })
    })?;
    Ok(())
}
