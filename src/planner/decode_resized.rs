//! Resizes images while they are decoded, where nothing else is made of them.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::async_scalar_function::AsyncFuncExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::async_func::AsyncFuncExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::stream_async::calls;

/// The same call, of an image that is decoded at the size of its result; `None` where an expression does not resize what
/// it decodes, or not to a size that is known at plan time.
pub type ResizedDecoding = fn(&Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>>;

/// The rule `semantic.decode_resized`: no column of whole images is made, and a JPEG may be decoded at a fraction of its
/// size.
///
/// It is physical, so that no other rule has to tell two decodings of a file apart, and before `semantic.stream_async`,
/// which takes the calls out of DataFusion's operator. Images are decoded inside async calls alone.
#[derive(Debug)]
pub(super) struct DecodeResized(pub(super) ResizedDecoding);

impl PhysicalOptimizerRule for DecodeResized {
    fn name(&self) -> &'static str {
        "semantic.decode_resized"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if !node.is::<AsyncFuncExec>() {
                return Ok(Transformed::no(node));
            }
            let input = Arc::clone(node.children()[0]);
            let schema = input.schema();
            let mut changed = false;
            let calls = calls(&node)?.into_iter().map(|call| {
                let resized = Arc::clone(&call.func).transform_up(|expr| match (self.0)(&expr)? {
                    Some(resized) => Ok(Transformed::yes(resized)),
                    None => Ok(Transformed::no(expr)),
                })?;
                if !resized.transformed {
                    return Ok(call);
                }
                changed = true;
                AsyncFuncExpr::try_new(call.name().to_owned(), resized.data, &schema).map(Arc::new)
            });
            let calls = calls.collect::<Result<Vec<_>>>()?;
            if !changed {
                return Ok(Transformed::no(node));
            }
            let operator = AsyncFuncExec::try_new(calls, input)?;
            Ok(Transformed::yes(Arc::new(operator) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }
}
