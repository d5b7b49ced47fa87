//! What the operators of one running query share.
use std::sync::{Arc, Mutex, PoisonError, Weak};

use datafusion::common::HashMap;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::ScalarUDF;
use tokio::sync::Semaphore;

use super::memory::limit;
use super::results::Results;
use crate::config::{SemanticOptions, Settings};
use crate::inference::Spend;
use crate::pixels;

/// The queries that run the plan which these operators belong to: one, as a rule.
///
/// A query is known by its task context, which all its partitions have in common. What it shares is kept until the
/// plan is dropped, or run in another context after this one is gone: its operators need not run at the same time.
#[derive(Debug)]
pub(crate) struct Queries {
    running: Mutex<Vec<(Weak<TaskContext>, Arc<Query>)>>,
    bodies: Bodies,
}

/// The synchronous bodies of the async functions that wait for nothing, by name.
pub(crate) type Bodies = HashMap<String, Arc<ScalarUDF>>;

impl Queries {
    pub(crate) fn new(bodies: Bodies) -> Self {
        Self { running: Mutex::default(), bodies }
    }

    /// The body of a function that waits for nothing.
    pub(super) fn body(&self, function: &str) -> Option<Arc<ScalarUDF>> {
        self.bodies.get(function).cloned()
    }

    /// The query that runs in `context`.
    pub(super) fn of(&self, context: &Arc<TaskContext>) -> Arc<Query> {
        let mut queries = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        queries.retain(|(context, _)| context.strong_count() > 0);
        let context_ref = Arc::downgrade(context);
        if let Some((_, query)) = queries.iter().find(|(known, _)| known.ptr_eq(&context_ref)) {
            return Arc::clone(query);
        }
        let query = Arc::new(Query::new(context));
        queries.push((context_ref, Arc::clone(&query)));
        query
    }
}

/// One execution of a plan.
#[derive(Debug)]
pub(super) struct Query {
    settings: Settings,
    permits: Mutex<HashMap<String, Arc<Semaphore>>>,
    pixels: Arc<Semaphore>,
    results: Option<Arc<Results>>,
    spend: Arc<Spend>,
}

impl Query {
    fn new(context: &TaskContext) -> Self {
        let options = context.session_config().options().extensions.get::<SemanticOptions>();
        let settings = options.map(SemanticOptions::settings).cloned().unwrap_or_default();
        let results = (settings.cache_bytes > 0).then(|| {
            let pool = context.memory_pool();
            let max_bytes = settings.cache_bytes.min(limit(pool) / 4);
            Arc::new(Results::new(max_bytes, MemoryConsumer::new("semantic.cache_bytes").register(pool)))
        });
        let spend = Arc::new(Spend::new(settings.budget()));
        Self { settings, permits: Mutex::default(), pixels: pixels::permits(), results, spend }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The permits for requests to one function and model, over all partitions and operators.
    pub(super) fn permits(&self, served_by: &str) -> Arc<Semaphore> {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.settings.max_concurrency.max(1)));
        Arc::clone(permits.entry(served_by.to_owned()).or_insert_with(new))
    }

    /// The permits for work on pixels, over all partitions and operators.
    pub(super) fn pixels(&self) -> Arc<Semaphore> {
        Arc::clone(&self.pixels)
    }

    /// What was sent to providers on the network.
    pub(super) fn spend(&self) -> Arc<Spend> {
        Arc::clone(&self.spend)
    }

    /// The results that were computed; none if equal inputs are not looked for.
    pub(super) fn results(&self) -> Option<Arc<Results>> {
        self.results.clone()
    }
}
