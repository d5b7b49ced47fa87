//! What the body of a function knows about the query that calls it.
use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use tokio::sync::Semaphore;

use super::RowMemory;
use super::spend::{Budget, Spend};
use crate::error::Result;
use crate::models::Caller;
use crate::pixels;

tokio::task_local! {
    static CURRENT: Running;
}

/// A call of a running query: how much it may have in flight, and what it has used.
///
/// An async function gets no execution context from DataFusion; the operator that polls it puts this one around it.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    permits: Arc<Semaphore>,
    /// Those of the query for work on pixels.
    pixels: Arc<Semaphore>,
    max_concurrency: usize,
    spend: Arc<Spend>,
    usage: Usage,
    /// What the rows that are computed now take; none where another operator than ours runs them.
    memory: Option<Arc<RowMemory>>,
}

impl Running {
    pub(crate) fn new(
        permits: Arc<Semaphore>,
        pixels: Arc<Semaphore>,
        max_concurrency: usize,
        spend: Arc<Spend>,
        usage: Usage,
    ) -> Self {
        Self { permits, pixels, max_concurrency, spend, usage, memory: None }
    }

    /// This call, for rows that take their memory from `memory`.
    pub(crate) fn with_memory(&self, memory: Arc<RowMemory>) -> Self {
        Self { memory: Some(memory), ..self.clone() }
    }

    /// Reserves memory for work that is about to begin, see [`RowMemory::reserve`].
    pub(crate) fn reserve(&self, bytes: usize) -> datafusion::common::Result<Option<MemoryReservation>> {
        self.memory.as_ref().map(|memory| memory.reserve(bytes)).transpose()
    }

    /// Counts memory as taken until the reservation is dropped, see [`RowMemory::hold`].
    pub(crate) fn hold(&self, bytes: usize) -> Option<MemoryReservation> {
        self.memory.as_ref().map(|memory| memory.hold(bytes))
    }

    /// Counts memory as taken until the rows are computed.
    pub(crate) fn keep(&self, bytes: usize) {
        if let Some(memory) = &self.memory {
            memory.keep(bytes);
        }
    }

    /// That of the call whose body asks, or one of its own where another operator than ours runs it.
    pub(crate) fn current(max_concurrency: usize) -> Self {
        Self::current_or(max_concurrency, Budget::default())
    }

    /// The same, where one of its own has this budget.
    pub(crate) fn current_or(max_concurrency: usize, budget: Budget) -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_else(|_| {
            let permits = Arc::new(Semaphore::new(max_concurrency.max(1)));
            let (pixels, spend) = (pixels::permits(), Arc::new(Spend::new(budget)));
            Self::new(permits, pixels, max_concurrency, spend, Usage::default())
        })
    }

    /// Polls `body` as a part of this call.
    pub(crate) async fn scope<F: Future>(self, body: F) -> F::Output {
        CURRENT.scope(self, body).await
    }

    /// Runs `work` as a part of this call, on whatever thread.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// Runs `work` as a part of this call on a thread for pixels, see [`pixels::run`], as soon as the query may have more
    /// of it there: so the work of another query is never far behind.
    pub(crate) async fn on_pixels<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permits = Arc::clone(&self.pixels);
        // the semaphore is never closed
        let _permit = permits.acquire().await;
        pixels::run(move || self.enter(work)).await
    }

    /// Runs one request as soon as the query may have another one in flight.
    pub(crate) async fn request<F: Future>(&self, request: F) -> F::Output {
        // the semaphore is never closed
        let _permit = self.permits.acquire().await;
        self.usage.calls.add(1);
        request.await
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }
}

impl Caller for Running {
    fn shared(&self) -> Arc<dyn Caller> {
        Arc::new(self.clone())
    }

    fn query(&self) -> u64 {
        self.spend.query()
    }

    fn max_concurrency(&self) -> usize {
        self.max_concurrency
    }

    fn begin_request(&self, tokens: usize, again: bool) -> Result<()> {
        self.spend.begin(tokens)?;
        self.usage.calls.add(1);
        self.usage.retries.add(usize::from(again));
        Ok(())
    }

    fn end_request(&self, tokens: usize, used: usize) {
        self.spend.end(tokens, used);
        self.usage.tokens.add(used);
    }
}

/// Counts of what a call has used; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    /// Requests to a model or to a server.
    pub(crate) calls: Count,
    /// Tokens that the model read, where it says so.
    pub(crate) tokens: Count,
    /// Texts of which a model read only the beginning.
    pub(crate) truncated: Count,
    /// Bytes of the inputs that a model was given, or that were downloaded.
    pub(crate) bytes: Count,
    /// Requests that were made again.
    pub(crate) retries: Count,
    /// Bad rows that became NULL.
    pub(crate) failed_rows: Count,
}

impl Usage {
    /// Counts that are metrics of an operator.
    pub(crate) fn registered(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let count = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            calls: count("calls"),
            tokens: count("tokens"),
            truncated: count("truncated"),
            bytes: count("bytes"),
            retries: count("retries"),
            failed_rows: count("failed_rows"),
        }
    }
}
