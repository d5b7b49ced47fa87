//! Decodes a JPEG at a fraction of its size where only a much smaller image is made of it.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::async_scalar_function::AsyncFuncExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::async_func::AsyncFuncExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::stream_async::calls;
use crate::config::SemanticOptions;

/// The same call, over columns of the schema, of an image that is decoded no larger than it needs; `None` where an
/// expression does not resize what it decodes, or not to a size that is known at plan time.
pub type ScaledDecoding = fn(&Arc<dyn PhysicalExpr>, &Schema) -> Result<Option<Arc<dyn PhysicalExpr>>>;

/// The rule `semantic.scaled_decode`, where the option `semantic.scaled_decoding` is set.
///
/// It is physical, so that no other rule has to tell two decodings of a file apart, and before `semantic.stream_async`,
/// which takes the calls out of DataFusion's operator. Images are decoded inside async calls alone.
#[derive(Debug)]
pub(super) struct ScaledDecode(pub(super) ScaledDecoding);

impl PhysicalOptimizerRule for ScaledDecode {
    fn name(&self) -> &'static str {
        "semantic.scaled_decode"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if options
            .extensions
            .get::<SemanticOptions>()
            .is_none_or(|options| !options.settings().scaled_decoding)
        {
            return Ok(plan);
        }
        plan.transform_up(|node| {
            if !node.is::<AsyncFuncExec>() {
                return Ok(Transformed::no(node));
            }
            let input = Arc::clone(node.children()[0]);
            let schema = input.schema();
            let mut changed = false;
            let calls = calls(&node)?.into_iter().map(|call| {
                let scaled = Arc::clone(&call.func).transform_up(|expr| match (self.0)(&expr, &schema)? {
                    Some(scaled) => Ok(Transformed::yes(scaled)),
                    None => Ok(Transformed::no(expr)),
                })?;
                if !scaled.transformed {
                    return Ok(call);
                }
                changed = true;
                AsyncFuncExpr::try_new(call.name().to_owned(), scaled.data, &schema).map(Arc::new)
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
