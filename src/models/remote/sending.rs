//! A request of an endpoint, from the inputs that it takes to their outcomes.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::endpoint::{Endpoint, Stopped};
use super::headers::Told;
use super::job::{Job, Refused};
use super::line::LineId;
use crate::error::Error;
use crate::models::Embeddings;

/// Inputs of one request, which is in flight or waits to be sent again. Dropped, it leaves them to others that wait for them.
#[derive(Debug)]
pub(super) struct Sending {
    endpoint: Arc<Endpoint>,
    id: LineId,
    pub(super) jobs: Vec<Arc<Job>>,
    /// About the tokens of the inputs.
    pub(super) tokens: usize,
    in_flight: bool,
}

impl Sending {
    pub(super) fn new(endpoint: Arc<Endpoint>, id: LineId, jobs: Vec<Arc<Job>>, in_flight: bool) -> Self {
        let tokens = jobs.iter().map(|job| job.tokens).sum();
        Self { endpoint, id, jobs, tokens, in_flight }
    }

    /// The request failed, and may be sent again. How many requests failed with one of its inputs, the most.
    pub(super) fn fail_once(&self, reason: &str) -> u32 {
        let reason = Arc::from(reason);
        self.jobs.iter().for_each(|job| job.fail_once(&reason));
        self.failures()
    }

    /// How many requests failed with one of its inputs, the most.
    pub(super) fn failures(&self) -> u32 {
        self.jobs.iter().filter_map(|job| job.failures()).map(|failures| failures.requests).max().unwrap_or(0)
    }

    /// The answer says how much may be sent.
    pub(super) fn told(&self, told: &Told) {
        self.endpoint.state().pace.told(told, Instant::now());
    }

    /// The endpoint has too much to do: nobody sends before the time that is returned.
    pub(super) fn refused(&mut self, wait: Option<Duration>) -> Instant {
        let until = self.endpoint.state().pace.refused(wait, Instant::now());
        self.end();
        until
    }

    /// The request is over.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.in_flight) {
            let mut state = self.endpoint.state();
            state.pace.end(self.tokens, Instant::now());
            if let Some(line) = state.lines.get_mut(&self.id) {
                line.in_flight = line.in_flight.saturating_sub(1);
            }
            drop(state);
            self.endpoint.changed.notify_waiters();
        }
    }

    /// Waits until it may be sent again.
    pub(super) async fn again(&mut self) -> Result<(), Stopped> {
        let (id, tokens) = (self.id, self.tokens);
        self.endpoint.until(|state| state.send(id, tokens, Instant::now())).await?;
        self.in_flight = true;
        Ok(())
    }

    /// Requests of a part of the inputs each, none of them sent yet.
    fn parts<const N: usize>(mut self, parts: impl FnOnce(Vec<Arc<Job>>) -> [Vec<Arc<Job>>; N]) -> [Self; N] {
        self.end();
        let jobs = std::mem::take(&mut self.jobs);
        parts(jobs).map(|jobs| Self::new(Arc::clone(&self.endpoint), self.id, jobs, false))
    }

    /// Half of the inputs each.
    pub(super) fn halves(self) -> [Self; 2] {
        self.parts(|mut first| {
            let second = first.split_off(first.len() / 2);
            [first, second]
        })
    }

    /// The first, the last and the middle input alone, and the others; each as far as there are so many.
    pub(super) fn samples(self) -> [Self; 4] {
        self.parts(|mut jobs| {
            let middle = jobs.len() / 2;
            let last = jobs.pop();
            let middle = (0 < middle && middle < jobs.len()).then(|| jobs.remove(middle));
            let first = (!jobs.is_empty()).then(|| jobs.remove(0));
            [first.into_iter().collect(), middle.into_iter().collect(), last.into_iter().collect(), jobs]
        })
    }

    /// Whether there is one input.
    pub(super) fn is_alone(&self) -> bool {
        self.jobs.len() == 1
    }

    /// Whether the query has had a vector of the model.
    pub(super) fn works(&self) -> bool {
        self.endpoint.state().lines.get(&self.id).is_some_and(|line| line.known.works)
    }

    /// See [`Known::suspects_the_query`](super::line::Known::suspects_the_query).
    pub(super) fn suspects_the_query(&self, reason: &str) -> Option<Suspicion> {
        let mut state = self.endpoint.state();
        let line = state.lines.get_mut(&self.id)?;
        line.known.suspects_the_query(reason).then(|| {
            line.suspicions += 1;
            Suspicion { endpoint: Arc::clone(&self.endpoint), id: self.id }
        })
    }

    /// Whether the model embeds an input with which nothing is wrong, once the query has asked.
    pub(super) fn probed(&self) -> Arc<OnceCell<bool>> {
        let state = self.endpoint.state();
        state.lines.get(&self.id).map(|line| Arc::clone(&line.known.probed)).unwrap_or_default()
    }

    /// A request of the same query with another input, which nobody waits for. It is not sent yet.
    pub(super) fn with(&self, job: &Arc<Job>) -> Self {
        Self::new(Arc::clone(&self.endpoint), self.id, vec![Arc::clone(job)], false)
    }

    /// Nobody asks the model for `wait`.
    pub(super) fn pause_model(&self, wait: Duration) {
        self.endpoint.state().pause_model(self.id.model, wait, Instant::now());
    }

    /// The query can have no vectors of the model. Other queries that wait for its inputs ask themselves.
    pub(super) fn fail_query(&mut self, error: &Error) {
        if let Some(line) = self.endpoint.state().lines.get_mut(&self.id) {
            line.failed.get_or_insert_with(|| error.clone());
        }
        self.end();
        self.endpoint.changed.notify_waiters();
    }

    /// The inputs have their vectors, for which `tokens` were read as far as the answer tells.
    pub(super) fn succeed(&mut self, embeddings: Embeddings, tokens: Option<usize>) {
        let embeddings = Arc::new(embeddings);
        let mut state = self.endpoint.state();
        state.pace.taken(self.tokens, tokens);
        if let Some(line) = state.lines.get_mut(&self.id) {
            line.known.works = true;
        }
        for (row, job) in self.jobs.iter().enumerate() {
            let failure = embeddings.failures().find(|(failed, _)| *failed == row);
            job.settle(match failure {
                None => Ok((Arc::clone(&embeddings), row)),
                Some((_, error)) => Err(Refused { error: error.clone(), refused: false }),
            });
            state.forget(job);
        }
        drop(state);
        self.end();
    }

    /// The inputs have no vector, for all that wait for them.
    pub(super) fn refuse(&mut self, error: &Error) {
        let mut state = self.endpoint.state();
        for job in &self.jobs {
            job.settle(Err(Refused { error: error.clone(), refused: true }));
            state.forget(job);
        }
        drop(state);
        self.end();
        // who waits for them, and for nothing that is sent, goes on
        self.endpoint.changed.notify_waiters();
    }
}

/// As long as it lives, the query sends nothing new.
pub(super) struct Suspicion {
    endpoint: Arc<Endpoint>,
    id: LineId,
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        if let Some(line) = self.endpoint.state().lines.get_mut(&self.id) {
            line.suspicions = line.suspicions.saturating_sub(1);
        }
        self.endpoint.changed.notify_waiters();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.end();
        let unfinished = self.jobs.iter().filter(|job| job.outcome().is_none());
        let unfinished: Vec<_> = unfinished.map(Arc::clone).collect();
        if unfinished.is_empty() {
            return;
        }
        let mut guard = self.endpoint.state();
        let state = &mut *guard;
        for job in unfinished {
            job.taken.store(false, Ordering::Relaxed);
            if job.is_wanted() {
                state.orphans.insert(job.key, job);
            } else {
                state.forget(&job);
            }
        }
        drop(guard);
        self.endpoint.changed.notify_waiters();
    }
}
