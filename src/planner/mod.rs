//! Makes async functions legal in every clause of SQL, and calls them for as few rows as the query needs.
//!
//! DataFusion runs an async scalar function right only in a projection, one level deep. The rules here change a
//! plan so that this is where every call ends up. They know async functions by their kind, not by their names.
//!
//! | order | rule | hook | why there |
//! |---|---|---|---|
//! | 1 | `semantic.lower_to_sync` | function rewrite | before type coercion, so that a synchronous twin is coerced, folded and pushed down like any function |
//! | 2 | `semantic.lateral_limit` | analyzer, last | types are coerced; DataFusion's rules that plan subqueries come later |
//! | 3 | `semantic.pack_vectors` | analyzer, last | the types of what is written are known |
//! | 4 | `semantic.constant_once` | optimizer | after literals are folded and subqueries are made joins, before the calls are moved |
//! | 5 | `semantic.drop_inferred` | optimizer | after predicates were pushed into joins, before the calls are moved |
//! | 6 | `semantic.extract_async` | optimizer, last that moves expressions | the rules before it merge projections and push predicates through them |
//! | 7 | `semantic.check_async` | optimizer, last | sees what will be planned physically |
//! | 8 | `semantic.decode_resized` | physical optimizer, first | sees the calls that the next rule takes |
//! | 9 | `semantic.stream_async` | physical optimizer, second | the physical rules after it ask the operator what it keeps |
//! | 10 | `semantic.nearest_join` | physical optimizer, third | the physical rules after it move the sides of a join |
//!
//! The optimizer runs its list of rules several times. Each time the rules before ours undo part of the
//! extraction, and it is done again with the same outcome.
//!
//! What the rules assume of an async function: NULL as the first argument gives NULL without a call (so rows can
//! be left out by making the argument NULL), and `Volatility::Stable`: an `Immutable` function is evaluated
//! synchronously to prune files, and a `Volatile` one that is called twice in a clause is computed once.
//!
//! DataFusion wraps an error of any rule in a context that names the rule; `DataFusionError::find_root` gives the
//! plain text. The rules need the optimizer as it is by default: with `skip_failed_rules` their errors are lost.

mod calls;
mod check_async;
mod decode_resized;
mod drop_inferred;
mod evaluate_constants;
mod extract_async;
mod lateral_limit;
mod lower_to_sync;
pub mod named_arguments;
mod nearest_join;
mod pack_vectors;
mod physical_rules;
mod schema;
mod stream_async;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

pub use decode_resized::ResizedDecoding;
pub use lower_to_sync::{SyncTwin, When};
pub use nearest_join::MetricOf;
#[cfg(feature = "shell")]
pub(crate) use physical_rules::append_physical_rule;

use check_async::CheckAsync;
use drop_inferred::DropInferred;
use evaluate_constants::EvaluateConstants;
use extract_async::ExtractAsync;
use lateral_limit::LateralLimit;
use lower_to_sync::{LowerToSync, Twins};
use pack_vectors::PackVectors;

/// What the rules know of functions.
#[derive(Debug, Clone)]
pub struct Functions {
    /// The synchronous functions that take the place of async ones.
    pub twins: Vec<SyncTwin>,
    /// Which functions are distances.
    pub metric_of: MetricOf,
    /// Makes calls that decode an image only to resize it do both at once.
    pub decode_resized: ResizedDecoding,
    /// Makes bytes of a vector.
    pub pack: Arc<ScalarUDF>,
}

/// Whether [`register`] was called for `ctx`.
#[must_use]
pub fn is_registered(ctx: &SessionContext) -> bool {
    let state = ctx.state_ref();
    let state = state.read();
    state.analyzer().function_rewrites().iter().any(|rewrite| rewrite.name() == LowerToSync::NAME)
}

/// Installs the planner rules on `ctx`, the logical ones after all rules that it has: register other optimizer rules
/// first.
///
/// Calling it again replaces the twins and installs nothing twice. The first call rebuilds the session's state, which
/// forgets statements that were prepared before.
pub fn register(ctx: &SessionContext, functions: Functions) -> Result<()> {
    let Functions { twins, metric_of, decode_resized, pack } = functions;
    physical_rules::register(ctx, metric_of, decode_resized);
    let state = ctx.state_ref();
    state.write().config_mut().options_mut().extensions.insert(Twins::new(twins));
    if is_registered(ctx) {
        return Ok(());
    }
    state.write().register_function_rewrite(Arc::new(LowerToSync))?;
    ctx.add_analyzer_rule(Arc::new(LateralLimit));
    ctx.add_analyzer_rule(Arc::new(PackVectors::new(pack)));
    ctx.add_optimizer_rule(Arc::new(EvaluateConstants));
    ctx.add_optimizer_rule(Arc::new(DropInferred));
    ctx.add_optimizer_rule(Arc::new(ExtractAsync));
    ctx.add_optimizer_rule(Arc::new(CheckAsync));
    Ok(())
}
