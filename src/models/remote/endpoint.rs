//! One endpoint of the process: the inputs that wait for it, and whose turn it is.
//!
//! Every call puts its inputs into the line of its query and model. A line is a queue; a request takes inputs from the
//! front of one line, of whatever call, as many as fit. Of the lines that may send, the one that has sent the fewest
//! tokens is next. An input that is equal to one that waits or is in flight, of any query, joins it.
//!
//! Nothing runs here: calls take requests from their own line and send them. When a call is dropped its inputs leave;
//! those that other calls wait for are adopted by one of these.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::headers::Told;
use super::pace::{Pace, PaceOptions, Ready};
use super::protocol::{Input, Limits};
use crate::error::Error;
use crate::models::Embeddings;

/// What tells inputs apart: the digest of a model, how it is used, and an input.
pub(super) type JobKey = [u8; 32];

/// A query and a model, as its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LineId {
    pub(super) query: u64,
    pub(super) model: [u8; 32],
}

/// The vector of an input, as a row of its answer; or why there is none.
pub(super) type Outcome = Result<(Arc<Embeddings>, usize), Refused>;

/// Why one input has no vector.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) error: Error,
    /// Whether the endpoint would not take it, which it may be too long for.
    pub(super) refused: bool,
}

/// An input on its way.
#[derive(Debug)]
pub(super) struct Job {
    key: JobKey,
    pub(super) input: Input,
    /// About its tokens.
    pub(super) tokens: usize,
    /// Whether it goes alone: the endpoint may not take it, which must not cost others their request.
    alone: bool,
    /// How many calls wait for it.
    waiters: AtomicUsize,
    /// Whether it is in a request and no longer in a line.
    taken: AtomicBool,
    outcome: OnceLock<Outcome>,
}

impl Job {
    pub(super) fn new(key: JobKey, input: Input, tokens: usize, alone: bool) -> Self {
        let (waiters, taken) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { key, input, tokens, alone, waiters, taken, outcome: OnceLock::new() }
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    fn is_waiting(&self) -> bool {
        !self.taken.load(Ordering::Relaxed) && self.outcome.get().is_none()
    }

    fn is_wanted(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0 && self.outcome.get().is_none()
    }
}

/// By base URL and the digest of the key. They are never dropped: what an endpoint has said holds for later queries.
type Endpoints = Mutex<HashMap<(String, Option<[u8; 32]>), Arc<Endpoint>>>;
static ENDPOINTS: LazyLock<Endpoints> = LazyLock::new(Mutex::default);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Endpoint {
    state: Mutex<State>,
    /// Something happened that others may wait for.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    lines: HashMap<LineId, Line>,
    /// What waits or is in flight.
    jobs: HashMap<JobKey, Weak<Job>>,
    /// What a dropped call has left and other calls wait for.
    orphans: Vec<Arc<Job>>,
    /// The length of each model's vectors, once one has come.
    dimensions: HashMap<[u8; 32], usize>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Arc<Job>>,
    /// Requests in flight, and the most of them.
    in_flight: usize,
    max_in_flight: usize,
    /// Calls that put inputs here.
    calls: usize,
    /// Tokens that were sent, counted from those of the line that had the fewest when this one began.
    sent: usize,
}

impl Line {
    fn may_send(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.max_in_flight
    }
}

impl Endpoint {
    pub(super) fn of(base_url: &str, key: Option<[u8; 32]>, options: PaceOptions) -> Arc<Self> {
        let mut endpoints = ENDPOINTS.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint =
            endpoints.entry((base_url.to_owned(), key)).or_insert_with(|| Arc::new(Self::new(options)));
        endpoint.state().pace.configure(options, Instant::now());
        Arc::clone(endpoint)
    }

    fn new(options: PaceOptions) -> Self {
        let state = State {
            pace: Pace::new(options, Instant::now()),
            lines: HashMap::new(),
            jobs: HashMap::new(),
            orphans: vec![],
            dimensions: HashMap::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts inputs into a line.
    pub(super) fn enter(self: &Arc<Self>, id: LineId, max_in_flight: usize, jobs: Vec<Job>) -> Entered {
        let mut guard = self.state();
        let state = &mut *guard;
        let fewest = state.lines.values().map(|line| line.sent).min().unwrap_or_default();
        let line = state.lines.entry(id).or_insert_with(|| Line { sent: fewest, ..Line::default() });
        line.calls += 1;
        line.max_in_flight = max_in_flight.max(1);
        let jobs: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let known = state.jobs.get(&job.key).and_then(Weak::upgrade);
                let job = match known.filter(|job| job.outcome.get().is_none()) {
                    Some(known) => known,
                    None => {
                        let job = Arc::new(job);
                        state.jobs.insert(job.key, Arc::downgrade(&job));
                        line.waiting.push_back(Arc::clone(&job));
                        job
                    }
                };
                job.waiters.fetch_add(1, Ordering::Relaxed);
                job
            })
            .collect();
        drop(guard);
        self.changed.notify_waiters();
        Entered { endpoint: Arc::clone(self), id, jobs }
    }

    /// Waits for a change, as long as `done` is not true. It is asked again after each, with no change missed between.
    async fn until<T>(&self, mut done: impl FnMut(&mut State) -> Result<T, Option<Instant>>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let outcome = done(&mut self.state());
            match outcome {
                Ok(value) => {
                    // others may be next, or have been waiting for what is done
                    self.changed.notify_waiters();
                    return value;
                }
                Err(None) => changed.await,
                Err(Some(at)) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(at) => {}
                    }
                }
            }
        }
    }
}

/// The inputs of a call. Dropped, it leaves its line.
#[derive(Debug)]
pub(super) struct Entered {
    endpoint: Arc<Endpoint>,
    id: LineId,
    pub(super) jobs: Vec<Arc<Job>>,
}

impl Entered {
    /// The next request for this call to send, or `None` as soon as every input has its outcome.
    pub(super) async fn next(&self, limits: &Limits) -> Option<Sending> {
        let taken = self.endpoint.until(|state| self.try_next(state, limits)).await;
        taken.map(|jobs| Sending::new(Arc::clone(&self.endpoint), self.id, jobs))
    }

    /// `Err` is when to ask again, if that is known.
    fn try_next(&self, state: &mut State, limits: &Limits) -> Result<Option<Vec<Arc<Job>>>, Option<Instant>> {
        if self.jobs.iter().all(|job| job.outcome.get().is_some()) {
            return Ok(None);
        }
        self.adopt(state);
        if !self.jobs.iter().any(|job| job.is_waiting()) {
            return Err(None);
        }
        let next = state.lines.iter().filter(|(_, line)| line.may_send()).min_by_key(|(_, line)| line.sent);
        if next.is_none_or(|(id, _)| *id != self.id) {
            return Err(None);
        }
        let Some(line) = state.lines.get_mut(&self.id) else { return Err(None) };
        let (count, tokens) = first_request(&line.waiting, limits);
        let now = Instant::now();
        match state.pace.ready(tokens, now) {
            Ready::AfterAnswer => return Err(None),
            Ready::At(at) => return Err(Some(at)),
            Ready::Now => state.pace.send(tokens, now),
        }
        line.in_flight += 1;
        line.sent += tokens;
        let jobs: Vec<_> = line.waiting.drain(..count).collect();
        for job in &jobs {
            job.taken.store(true, Ordering::Relaxed);
        }
        Ok(Some(jobs))
    }

    /// Takes what others have left and this call waits for to the front of its line.
    fn adopt(&self, state: &mut State) {
        if state.orphans.is_empty() {
            return;
        }
        let Some(line) = state.lines.get_mut(&self.id) else { return };
        let (adopted, left): (Vec<_>, Vec<_>) = std::mem::take(&mut state.orphans)
            .into_iter()
            .partition(|orphan| self.jobs.iter().any(|job| Arc::ptr_eq(job, orphan)));
        state.orphans = left;
        for job in adopted.into_iter().rev() {
            line.waiting.push_front(job);
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        for job in &self.jobs {
            job.waiters.fetch_sub(1, Ordering::Relaxed);
        }
        let mut guard = self.endpoint.state();
        let state = &mut *guard;
        if let Some(line) = state.lines.get_mut(&self.id) {
            let own = |job: &Arc<Job>| self.jobs.iter().any(|own| Arc::ptr_eq(own, job));
            if self.jobs.iter().any(|job| job.is_waiting()) {
                let (left, waiting): (Vec<_>, _) =
                    std::mem::take(&mut line.waiting).into_iter().partition(own);
                line.waiting = waiting.into();
                state.orphans.extend(left);
            }
            line.calls -= 1;
            if line.calls == 0 {
                state.lines.remove(&self.id);
            }
        }
        state.orphans.retain(|job| job.is_wanted());
        for job in &self.jobs {
            if !job.is_wanted() {
                forget(&mut state.jobs, job);
            }
        }
        drop(guard);
        self.endpoint.changed.notify_waiters();
    }
}

/// Removes `job`, and not another one of the same input that was asked for later.
fn forget(jobs: &mut HashMap<JobKey, Weak<Job>>, job: &Arc<Job>) {
    if jobs.get(&job.key).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(job))) {
        jobs.remove(&job.key);
    }
}

/// How many of the first inputs a request takes, and their tokens. One is always taken.
fn first_request(waiting: &VecDeque<Arc<Job>>, limits: &Limits) -> (usize, usize) {
    let (mut count, mut tokens, mut bytes) = (0, 0, 0);
    for job in waiting {
        let (with_tokens, with_bytes) = (tokens + job.tokens, bytes + job.input.as_str().len());
        let full = count >= limits.inputs || with_tokens > limits.tokens || with_bytes > limits.bytes;
        if count > 0 && (full || job.alone) {
            break;
        }
        (count, tokens, bytes) = (count + 1, with_tokens, with_bytes);
        if job.alone {
            break;
        }
    }
    (count, tokens)
}

/// Inputs of one request, which is in flight or waits to be sent again. Dropped, it leaves them to others that wait for them.
#[derive(Debug)]
pub(super) struct Sending {
    endpoint: Arc<Endpoint>,
    id: LineId,
    pub(super) jobs: Vec<Arc<Job>>,
    /// About the tokens of the inputs.
    pub(super) tokens: usize,
    in_flight: bool,
    /// When it was sent first, and how often it failed since.
    pub(super) first_sent: Instant,
    pub(super) failures: u32,
}

impl Sending {
    fn new(endpoint: Arc<Endpoint>, id: LineId, jobs: Vec<Arc<Job>>) -> Self {
        let tokens = jobs.iter().map(|job| job.tokens).sum();
        Self { endpoint, id, jobs, tokens, in_flight: true, first_sent: Instant::now(), failures: 0 }
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
            state.pace.end(self.tokens);
            if let Some(line) = state.lines.get_mut(&self.id) {
                line.in_flight = line.in_flight.saturating_sub(1);
            }
            drop(state);
            self.endpoint.changed.notify_waiters();
        }
    }

    /// Waits until it may be sent again.
    pub(super) async fn again(&mut self) {
        let (id, tokens) = (self.id, self.tokens);
        self.endpoint
            .until(|state| {
                let now = Instant::now();
                let Some(line) = state.lines.get_mut(&id) else { return Err(None) };
                if line.in_flight >= line.max_in_flight {
                    return Err(None);
                }
                match state.pace.ready(tokens, now) {
                    Ready::AfterAnswer => Err(None),
                    Ready::At(at) => Err(Some(at)),
                    Ready::Now => {
                        state.pace.send(tokens, now);
                        line.in_flight += 1;
                        line.sent += tokens;
                        Ok(())
                    }
                }
            })
            .await;
        self.in_flight = true;
    }

    /// Two requests of half the inputs each, neither of them sent yet.
    pub(super) fn halves(mut self) -> [Self; 2] {
        self.end();
        let mut first = std::mem::take(&mut self.jobs);
        let second = first.split_off(first.len() / 2);
        [first, second].map(|jobs| {
            let mut half = Self::new(Arc::clone(&self.endpoint), self.id, jobs);
            half.in_flight = false;
            half
        })
    }

    /// The inputs have their vectors, for which `tokens` were read as far as the answer tells. An error if the vectors
    /// have another length than the model's others.
    pub(super) fn succeed(&mut self, embeddings: Embeddings, tokens: Option<usize>) -> Result<(), String> {
        let (found, embeddings) = (embeddings.dimensions(), Arc::new(embeddings));
        let mut state = self.endpoint.state();
        let unused = tokens.and_then(|tokens| self.tokens.checked_sub(tokens)).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "tokens are fewer than 2^52")]
        state.pace.taken(unused as f64);
        let expected = *state.dimensions.entry(self.id.model).or_insert(found);
        if found != expected {
            return Err(format!("vectors of {found} dimensions, after others of {expected}"));
        }
        for (row, job) in self.jobs.iter().enumerate() {
            let failure = embeddings.failures().find(|(failed, _)| *failed == row);
            // nobody else sets it
            let _ = job.outcome.set(match failure {
                None => Ok((Arc::clone(&embeddings), row)),
                Some((_, error)) => Err(Refused { error: error.clone(), refused: false }),
            });
            forget(&mut state.jobs, job);
        }
        drop(state);
        self.end();
        Ok(())
    }

    /// The only input cannot have a vector.
    pub(super) fn fail(&mut self, error: &Error) {
        let mut state = self.endpoint.state();
        for job in &self.jobs {
            let _ = job.outcome.set(Err(Refused { error: error.clone(), refused: true }));
            forget(&mut state.jobs, job);
        }
        drop(state);
        self.end();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.end();
        let unfinished = self.jobs.iter().filter(|job| job.outcome.get().is_none());
        let unfinished: Vec<_> = unfinished.map(Arc::clone).collect();
        if unfinished.is_empty() {
            return;
        }
        let mut guard = self.endpoint.state();
        let state = &mut *guard;
        for job in unfinished {
            job.taken.store(false, Ordering::Relaxed);
            if job.is_wanted() {
                state.orphans.push(job);
            } else {
                forget(&mut state.jobs, &job);
            }
        }
        drop(guard);
        self.endpoint.changed.notify_waiters();
    }
}
