//! Runs statements: each in its turn, on the threads that are for them, for a bounded time, and until nobody wants it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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
    used: Mutex<Used>,
}

/// What the plans of a statement have used: those that have ended, and the one that runs.
#[derive(Debug, Default)]
struct Used {
    ended: PlanUsage,
    plan: Option<Arc<dyn ExecutionPlan>>,
}

impl Used {
    fn total(&self) -> PlanUsage {
        self.ended + self.plan.as_ref().map(usage).unwrap_or_default()
    }
}

impl Running {
    pub(super) fn add_rows(&self, rows: usize) -> u64 {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64
    }

    /// The plan that runs now; the one before has ended.
    pub(super) fn runs(&self, plan: Arc<dyn ExecutionPlan>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = Used { ended: used.total(), plan: Some(plan) };
    }
}

/// A statement that has begun; dropped, it ends.
#[derive(Debug)]
pub(super) struct Task<T: 'static>(JoinSet<Result<T, Status>>);

impl<T: Send + 'static> Task<T> {
    pub(super) async fn join(mut self) -> Result<T, Status> {
        match self.0.join_next().await {
            Some(Ok(result)) => result,
            // what it says may quote values
            Some(Err(error)) if error.is_panic() => Err(internal("the statement has panicked")),
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

    /// Waits for a turn and begins `work`. Whether it waits or runs, it can be cancelled.
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
        let (cancel, mut cancelled) = watch::channel(false);
        let mut all = self.all.subscribe();
        let cancellable = Cancellable::new(Arc::clone(self), &about, cancel)?;
        let waited = Instant::now();
        let turn = tokio::select! {
            biased;
            status = told_to_end(&mut cancelled, &mut all) => Err(status),
            turn = self.admission.turn() => turn,
        };
        let turn = turn.inspect_err(|status| {
            self.refused(&about, status);
        })?;
        self.metrics.queued(waited.elapsed());
        let running = Arc::new(Running::default());
        let work = work(Arc::clone(&running));
        let time = self.time;
        let record = Record::new(cancellable, about, running);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(
            async move {
                // the turn is given back last, when nothing of the statement is left
                let _turn = turn;
                let mut record = record;
                let result = tokio::select! {
                    biased;
                    status = told_to_end(&mut cancelled, &mut all) => Err(status),
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

    /// A statement that gets no turn.
    pub(super) fn refused(&self, about: &About, status: &Status) {
        let outcome = outcome(status);
        self.metrics.refused(about.kind, outcome);
        info!(user = about.user.name(), kind = about.kind.name(), outcome = outcome.name(), "refused");
    }

    /// Cancels the statement that waits or runs with this handle; false where none of the user's does.
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

/// Ready when a statement is to end before it has.
async fn told_to_end(cancelled: &mut watch::Receiver<bool>, all: &mut watch::Receiver<bool>) -> Status {
    tokio::select! {
        _ = cancelled.wait_for(|cancelled| *cancelled) => Status::cancelled("the statement was cancelled"),
        _ = all.wait_for(|ended| *ended) => {
            Status::unavailable("the server ends: the statement was cancelled")
        }
    }
}

/// A statement that its client may cancel, while this is there.
struct Cancellable {
    queries: Arc<Queries>,
    handle: Option<Handle>,
    /// A channel that is closed says that the statement is cancelled.
    _cancel: watch::Sender<bool>,
}

impl Cancellable {
    /// An error where one with the same handle waits or runs.
    fn new(queries: Arc<Queries>, about: &About, cancel: watch::Sender<bool>) -> Result<Self, Status> {
        if let Some(handle) = about.handle {
            let mut cancellable = queries.cancellable.lock().unwrap_or_else(PoisonError::into_inner);
            match cancellable.entry(handle) {
                Entry::Occupied(_) => {
                    return Err(Status::failed_precondition("the result is being fetched already"));
                }
                Entry::Vacant(entry) => entry.insert((about.user.clone(), cancel.clone())),
            };
        }
        Ok(Self { queries, handle: about.handle, _cancel: cancel })
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            self.queries.cancellable.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        }
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
    cancellable: Cancellable,
    about: About,
    id: String,
    running: Arc<Running>,
    started: Instant,
    outcome: Outcome,
}

impl Record {
    fn new(cancellable: Cancellable, about: About, running: Arc<Running>) -> Self {
        // without a random number there is still the time
        let id = random::<8>().map_or(0, u64::from_le_bytes);
        // dropped before it is done, it was cancelled
        let outcome = Outcome::Cancelled;
        let started = Instant::now();
        Self { cancellable, about, id: format!("{id:016x}"), running, started, outcome }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.outcome = Outcome::Internal;
        }
        let time = self.started.elapsed();
        let rows = self.running.rows.load(Ordering::Relaxed);
        let used = self.running.used.lock().unwrap_or_else(PoisonError::into_inner).total();
        let About { kind, user, sql, .. } = &self.about;
        self.cancellable.queries.metrics.statement(*kind, self.outcome, time, rows, used);
        let is_step = matches!(kind, Kind::Plan | Kind::Bind | Kind::Catalog);
        if is_step && self.outcome == Outcome::Ok {
            // the statement is logged when it runs
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
