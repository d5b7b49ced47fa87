//! An input on its way to a model: who waits for it, what has failed for it, and what became of it.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::time::Instant;

use super::protocol::Input;
use crate::error::Error;
use crate::models::Embeddings;

/// What tells inputs apart: the digest of a model, how it is used, and an input.
pub(super) type JobKey = [u8; 32];

/// The vector of an input, as a row of its answer; or why there is none.
pub(super) type Outcome = Result<(Arc<Embeddings>, usize), Refused>;

/// Why one input has no vector, for whoever waits for it.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) error: Error,
    /// Whether the endpoint would not take it, which it may be too long for.
    pub(super) refused: bool,
}

/// The requests of an input that failed, whoever sent them.
#[derive(Debug, Clone)]
pub(super) struct Failures {
    pub(super) requests: u32,
    /// When the first request was sent.
    pub(super) first_sent: Instant,
    /// Of the last one.
    pub(super) reason: Arc<str>,
}

/// An input on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: JobKey,
    pub(super) input: Input,
    /// About its tokens.
    pub(super) tokens: usize,
    /// Whether it goes alone: the endpoint may not take it, which must not cost others their request.
    pub(super) alone: bool,
    /// How many calls wait for it.
    pub(super) waiters: AtomicUsize,
    /// Whether it is in a request and no longer in a line.
    pub(super) taken: AtomicBool,
    /// When it was sent first, and what failed since.
    first_sent: OnceLock<Instant>,
    failures: Mutex<Option<Failures>>,
    outcome: OnceLock<Outcome>,
}

impl Job {
    pub(super) fn new(key: JobKey, input: Input, tokens: usize, alone: bool) -> Self {
        Self {
            key,
            input,
            tokens,
            alone,
            waiters: AtomicUsize::new(0),
            taken: AtomicBool::new(false),
            first_sent: OnceLock::new(),
            failures: Mutex::new(None),
            outcome: OnceLock::new(),
        }
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    /// It has its outcome, if nobody gave it one before.
    pub(super) fn settle(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
    }

    /// It goes into a request.
    pub(super) fn take(&self, now: Instant) {
        self.taken.store(true, Ordering::Relaxed);
        self.first_sent.get_or_init(|| now);
    }

    /// A request with it failed, and may be sent again.
    pub(super) fn fail_once(&self, reason: &Arc<str>) {
        let first_sent = *self.first_sent.get_or_init(Instant::now);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = failures.as_ref().map_or(0, |failures| failures.requests).saturating_add(1);
        *failures = Some(Failures { requests, first_sent, reason: Arc::clone(reason) });
    }

    /// What failed, if anything did.
    pub(super) fn failures(&self) -> Option<Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.taken.load(Ordering::Relaxed) && self.outcome.get().is_none()
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0 && self.outcome.get().is_none()
    }
}
