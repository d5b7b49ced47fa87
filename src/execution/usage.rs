//! What the calls of a plan have used.
use std::ops::Add;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use super::async_calls::AsyncCallsExec;

/// Sums over the operators with async calls of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanUsage {
    /// Rows whose results are there, for each call.
    pub rows: usize,
    /// Of these the rows whose input was equal to another one of the query.
    pub cache_hits: usize,
    /// Requests to a model or to a server.
    pub calls: usize,
    /// Requests that were made again.
    pub retries: usize,
    /// Tokens that models have read, where they say so.
    pub tokens: usize,
    /// Bad rows that became NULL.
    pub failed_rows: usize,
}

impl Add for PlanUsage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            cache_hits: self.cache_hits + other.cache_hits,
            calls: self.calls + other.calls,
            retries: self.retries + other.retries,
            tokens: self.tokens + other.tokens,
            failed_rows: self.failed_rows + other.failed_rows,
        }
    }
}

/// What the async calls of `plan` have used so far; may be asked while `plan` runs.
#[must_use]
pub fn usage(plan: &Arc<dyn ExecutionPlan>) -> PlanUsage {
    let below = plan.children().into_iter().map(usage).fold(PlanUsage::default(), Add::add);
    let Some(operator) = plan.downcast_ref::<AsyncCallsExec>() else { return below };
    let metrics = operator.metrics().unwrap_or_default();
    let sum = |name| metrics.sum_by_name(name).map_or(0, |value| value.as_usize());
    let rows = metrics.output_rows().unwrap_or_default() * operator.number_of_calls();
    let own = PlanUsage {
        rows,
        cache_hits: rows.saturating_sub(sum("distinct_inputs")),
        calls: sum("calls"),
        retries: sum("retries"),
        tokens: sum("tokens"),
        failed_rows: sum("failed_rows"),
    };
    below + own
}
