//! How far a running plan is.
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use super::async_calls::AsyncCallsExec;

/// How far the calls of one operator are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The calls, as `EXPLAIN` shows them.
    pub calls: String,
    /// Rows whose results are there.
    pub rows: usize,
    /// How many there will be, where statistics say so; an estimate if there are filters below.
    pub total_rows: Option<usize>,
    /// Tokens that models have read, where they say so.
    pub tokens: usize,
}

/// The progress of each operator with async calls in `plan`, from the top down; may be asked while `plan` runs.
#[must_use]
pub fn progress(plan: &Arc<dyn ExecutionPlan>) -> Vec<Progress> {
    let mut found = vec![];
    collect(plan, &mut found);
    found
}

fn collect(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<Progress>) {
    if let Some(operator) = plan.downcast_ref::<AsyncCallsExec>() {
        let metrics = operator.metrics().unwrap_or_default();
        found.push(Progress {
            calls: operator.calls(),
            rows: metrics.output_rows().unwrap_or_default(),
            total_rows: operator.estimated_rows().get_value().copied(),
            tokens: metrics.sum_by_name("tokens").map_or(0, |value| value.as_usize()),
        });
    }
    for child in plan.children() {
        collect(child, found);
    }
}
