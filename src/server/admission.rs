//! How many statements run at the same time, and how many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;

use super::config::Limits;
use super::waiting::Waiting;

/// The turns of statements: a bounded number has one, a bounded number waits for a bounded time.
#[derive(Debug)]
pub(super) struct Admission {
    turns: Arc<Semaphore>,
    running: usize,
    queued: AtomicUsize,
    max_queued: usize,
    wait: Duration,
}

/// A turn, given back when it is dropped.
pub(super) type Turn = OwnedSemaphorePermit;

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(limits.max_queries)),
            running: limits.max_queries,
            queued: AtomicUsize::new(0),
            max_queued: limits.max_queued,
            wait: Duration::from_secs(limits.queue_seconds),
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running - self.turns.available_permits()
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Waits for a turn; an error at once where too many wait already, and after a while where none comes.
    pub(super) async fn turn(&self) -> Result<Turn, Status> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        let queued = Waiting::new(&self.queued);
        if queued.before >= self.max_queued {
            return Err(Status::resource_exhausted(format!(
                "the server is busy: {} statements run (max_queries) and {} wait (max_queued); try again later",
                self.running, queued.before
            )));
        }
        match timeout(self.wait, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(closed)) => Err(Status::unavailable(closed.to_string())),
            Err(_) => Err(Status::resource_exhausted(format!(
                "the server is busy: the statement waited for {} s (queue_seconds) for one of {} turns (max_queries); try \
                 again later",
                self.wait.as_secs(),
                self.running
            ))),
        }
    }
}
