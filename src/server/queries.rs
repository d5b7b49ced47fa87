//! Runs statements: each in its turn, on the threads that are for them, for a bounded time, and until nobody wants it.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::physical_plan::ExecutionPlan;
use tokio::runtime::Handle as RuntimeHandle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tracing::info;

use super::admission::Admission;
use super::auth::User;
use super::config::Limits;
use super::handles::{Handle, random};
use super::log::without_literals;
use super::metrics::{Kind, Metrics, Outcome};
use crate::execution::{PlanUsage, usage};

/// The statements of a server.
#[derive(Debug)]
pub(super) struct Queries {
    /// The threads that plan and run; those of the network are others.
    runtime: RuntimeHandle,
    pub(super) admission: Admission,
    pub(super) metrics: Arc<Metrics>,
    time: Duration,
    /// Those that can be cancelled by their handle.
    cancellable: Mutex<HashMap<Handle, (User, watch::Sender<bool>)>>,
    all: watch::Sender<bool>,
    closed: AtomicBool,
}

/// A statement, for its turn, the log and the metrics.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) kind: Kind,
    pub(super) user: User,
    pub(super) sql: Arc<str>,
    /// By which a client may cancel it.
    pub(super) handle: Option<Handle>,
}

/// What a running statement says of itself.
#[derive(Debug, Default)]
pub(super) struct Running {
    rows: AtomicU64,
    plans: Mutex<Vec<Arc<dyn ExecutionPlan>>>,
}

impl Running {
    pub(super) fn add_rows(&self, rows: usize) -> u64 {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64
    }

    pub(super) fn runs(&self, plan: Arc<dyn ExecutionPlan>) {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).push(plan);
    }
}

/// A statement that has begun; dropped, it ends.
#[derive(Debug)]
pub(super) struct Task<T: 'static>(JoinSet<Result<T, Status>>);

impl<T: Send + 'static> Task<T> {
    pub(super) async fn join(mut self) -> Result<T, Status> {
        match self.0.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(internal(error)),
            None => Err(internal("the statement has no task")),
        }
    }
}

fn internal(error: impl Display) -> Status {
    Status::internal(format!("internal error: {error}"))
}

impl Queries {
    pub(super) fn new(runtime: RuntimeHandle, limits: &Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            runtime,
            admission: Admission::new(limits),
            metrics,
            time: Duration::from_secs(limits.query_seconds),
            cancellable: Mutex::default(),
            all: watch::Sender::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Waits for a turn and begins `work`.
    pub(super) async fn start<T, F>(
        self: &Arc<Self>,
        about: About,
        work: impl FnOnce(Arc<Running>) -> F,
    ) -> Result<Task<T>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Status::unavailable("the server ends: connect again later"));
        }
        let waited = Instant::now();
        let turn = self.admission.turn().await.inspect_err(|status| {
            self.metrics.refused(about.kind, outcome(status));
            let (user, kind) = (about.user.name(), about.kind.name());
            info!(user, kind, outcome = outcome(status).name(), "refused");
        })?;
        self.metrics.queued(waited.elapsed());
        let running = Arc::new(Running::default());
        let work = work(Arc::clone(&running));
        let time = self.time;
        let mut all = self.all.subscribe();
        let (cancel, mut cancelled) = watch::channel(false);
        let record = Record::new(Arc::clone(self), about, running, cancel);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(
            async move {
                // the turn is given back last, when nothing of the statement is left
                let _turn = turn;
                let mut record = record;
                let result = tokio::select! {
                    biased;
                    _ = cancelled.wait_for(|cancelled| *cancelled) => {
                        Err(Status::cancelled("the statement was cancelled"))
                    }
                    _ = all.wait_for(|ended| *ended) => {
                        Err(Status::unavailable("the server ends: the statement was cancelled"))
                    }
                    () = tokio::time::sleep(time) => Err(Status::deadline_exceeded(format!(
                        "the statement ran for {} s (query_seconds) and was cancelled",
                        time.as_secs()
                    ))),
                    result = work => result,
                };
                record.outcome = result.as_ref().err().map_or(Outcome::Ok, outcome);
                result
            },
            &self.runtime,
        );
        Ok(Task(tasks))
    }

    /// Runs `work` in its turn to its end.
    pub(super) async fn run<T, F>(
        self: &Arc<Self>,
        about: About,
        work: impl FnOnce(Arc<Running>) -> F,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        self.start(about, work).await?.join().await
    }

    /// Cancels the statement that runs with this handle; false where none of the user's does.
    pub(super) fn cancel(&self, user: &User, handle: &Handle) -> bool {
        let cancellable = self.cancellable.lock().unwrap_or_else(PoisonError::into_inner);
        match cancellable.get(handle) {
            Some((owner, cancel)) if owner == user => {
                cancel.send_replace(true);
                true
            }
            _ => false,
        }
    }

    /// Begins no more statements.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Cancels all statements.
    pub(super) fn cancel_all(&self) {
        self.all.send_replace(true);
    }
}

/// What a status says about the end of a statement.
fn outcome(status: &Status) -> Outcome {
    match status.code() {
        Code::Ok => Outcome::Ok,
        Code::Cancelled => Outcome::Cancelled,
        Code::DeadlineExceeded => Outcome::Timeout,
        Code::ResourceExhausted => Outcome::Exhausted,
        Code::Internal | Code::Unknown => Outcome::Internal,
        _ => Outcome::Error,
    }
}

/// Writes the log and the metrics when the statement ends, however it does.
struct Record {
    queries: Arc<Queries>,
    about: About,
    id: String,
    running: Arc<Running>,
    started: Instant,
    outcome: Outcome,
    /// A channel that is closed says that the statement is cancelled.
    _cancel: watch::Sender<bool>,
}

impl Record {
    fn new(queries: Arc<Queries>, about: About, running: Arc<Running>, cancel: watch::Sender<bool>) -> Self {
        // without a random number there is still the time
        let id = random::<8>().map_or(0, u64::from_le_bytes);
        if let Some(handle) = about.handle {
            let mut cancellable = queries.cancellable.lock().unwrap_or_else(PoisonError::into_inner);
            cancellable.insert(handle, (about.user.clone(), cancel.clone()));
        }
        // dropped before it is done, it was cancelled
        let outcome = Outcome::Cancelled;
        let started = Instant::now();
        Self { queries, about, id: format!("{id:016x}"), running, started, outcome, _cancel: cancel }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(handle) = self.about.handle {
            self.queries.cancellable.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        }
        let time = self.started.elapsed();
        let rows = self.running.rows.load(Ordering::Relaxed);
        let plans = self.running.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let used = plans.iter().map(usage).fold(PlanUsage::default(), |sum, used| sum + used);
        let About { kind, user, sql, .. } = &self.about;
        self.queries.metrics.statement(*kind, self.outcome, time, rows, used);
        if (*kind, self.outcome) == (Kind::Plan, Outcome::Ok) {
            // it is logged when it runs
            return;
        }
        info!(
            query = self.id,
            user = user.name(),
            kind = kind.name(),
            outcome = self.outcome.name(),
            milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            rows,
            model_calls = used.calls,
            tokens = used.tokens,
            statement = without_literals(sql),
            "statement"
        );
    }
}
