//! Gives a session physical rules.

use std::sync::Arc;

use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::prelude::SessionContext;

use super::decode_resized::{DecodeResized, ResizedDecoding};
use super::nearest_join::{MetricOf, NearestJoin};
use super::stream_async::StreamAsync;

/// Puts our rules before all physical rules of `ctx`, if they are not there.
pub(super) fn register(ctx: &SessionContext, metric_of: MetricOf, decode_resized: ResizedDecoding) {
    let ours: [Rule; 3] =
        [Arc::new(DecodeResized(decode_resized)), Arc::new(StreamAsync), Arc::new(NearestJoin(metric_of))];
    change(ctx, |rules| {
        let registered = rules.iter().any(|rule| rule.name() == StreamAsync::NAME);
        (!registered).then(|| ours.into_iter().chain(rules.iter().cloned()).collect())
    });
}

/// Puts a rule behind all physical rules of `ctx`: it sees the plans that will run.
#[cfg(feature = "shell")]
pub(crate) fn append_physical_rule(ctx: &SessionContext, rule: Rule) {
    change(ctx, |rules| Some(rules.iter().cloned().chain([rule]).collect()));
}

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

fn change(ctx: &SessionContext, change: impl FnOnce(&[Rule]) -> Option<Vec<Rule>>) {
    let state = ctx.state_ref();
    let mut state = state.write();
    let Some(rules) = change(state.physical_optimizers()) else { return };
    // the state has no way to add a physical rule
    let old = state.clone();
    let mut rebuilt = SessionStateBuilder::new_from_existing(old.clone())
        .with_session_id(old.session_id().to_owned())
        .with_physical_optimizer_rules(rules)
        .build();
    restore(&old, &mut rebuilt);
    *state = rebuilt;
}

/// Gives `rebuilt` what building it has changed: an option, and functions whose names are aliases of others, which are
/// registered in any order.
fn restore(old: &SessionState, rebuilt: &mut SessionState) {
    let catalog = &old.config_options().catalog;
    rebuilt.config_mut().options_mut().catalog.create_default_catalog_and_schema =
        catalog.create_default_catalog_and_schema;
    // registering again a function that was there fails for none of the kinds
    for (name, function) in old.scalar_functions() {
        if name == function.name() && rebuilt.scalar_functions().get(name) != Some(function) {
            let _ = rebuilt.register_udf(Arc::clone(function));
        }
    }
    for (name, function) in old.aggregate_functions() {
        if name == function.name() && rebuilt.aggregate_functions().get(name) != Some(function) {
            let _ = rebuilt.register_udaf(Arc::clone(function));
        }
    }
    for (name, function) in old.window_functions() {
        if name == function.name() && rebuilt.window_functions().get(name) != Some(function) {
            let _ = rebuilt.register_udwf(Arc::clone(function));
        }
    }
}
