//! One endpoint of the process: the inputs that wait for it, and whose turn it is.
//!
//! Every call puts its inputs into the line of its query and model. A line is a queue; a request takes inputs from the
//! front of one line, of whatever call, as many as fit. Of the lines that may send, the one that has sent the fewest
//! tokens since it has something to send is next. An input that is equal to one that waits or is in flight, of any
//! query, joins it.
//!
//! Nothing runs here: calls take requests from their own line and send them. When a call is dropped its inputs leave;
//! those that other calls wait for are adopted by one of these. So are those of a line whose calls nobody drives, until
//! somebody does: a runtime may rest between two uses.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::job::{Job, JobKey, Outcome};
use super::line::{Line, LineId, first_request};
use super::pace::{LONGEST_PAUSE, Pace, PaceOptions, Ready};
use super::protocol::Limits;
use super::sending::Sending;
use crate::error::Error;

/// By base URL and the digest of the key. They are never dropped: what an endpoint has said holds for later queries.
type Endpoints = Mutex<HashMap<(String, Option<[u8; 32]>), Arc<Endpoint>>>;
static ENDPOINTS: LazyLock<Endpoints> = LazyLock::new(Mutex::default);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Endpoint {
    state: Mutex<State>,
    /// Something happened that others may wait for.
    pub(super) changed: Notify,
}

/// A line whose turn it is for so long, and that sends nothing, is driven by nobody.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// So many queries between their calls are remembered.
const RESTING: usize = 256;

#[derive(Debug)]
pub(super) struct State {
    pub(super) pace: Pace,
    pub(super) lines: HashMap<LineId, Line>,
    /// Lines that have no call now, and may have one again: the oldest first.
    resting: VecDeque<(LineId, Line)>,
    /// The tokens that the line had sent whose request was sent last.
    turn: usize,
    /// What waits or is in flight.
    pub(super) jobs: HashMap<JobKey, Weak<Job>>,
    /// What a dropped call, or a line that nobody drives, has left and calls wait for.
    pub(super) orphans: HashMap<JobKey, Arc<Job>>,
    /// Models that want a rest for longer than a query waits, by their digests.
    resting_models: HashMap<[u8; 32], Instant>,
}

impl State {
    /// Sends a request of `tokens` of a line, or says when to ask again, if that is known.
    pub(super) fn send(
        &mut self,
        id: LineId,
        tokens: usize,
        now: Instant,
    ) -> Result<Result<(), Stopped>, Option<Instant>> {
        if let Err(stopped) = self.admit(id, now)? {
            return Ok(Err(stopped));
        }
        let Some(line) = self.lines.get_mut(&id) else { return Err(None) };
        if line.in_flight >= line.max_in_flight {
            return Err(None);
        }
        match self.pace.ready(tokens, now) {
            Ready::AfterAnswer => return Err(None),
            Ready::At(at) => return Err(Some(at)),
            Ready::Now => self.pace.send(tokens, now),
        }
        self.turn = self.turn.max(line.sent);
        line.in_flight += 1;
        line.sent += tokens;
        Ok(Ok(()))
    }

    /// Whether a line may send anything, whatever the pace is; or when to ask again.
    fn admit(&self, id: LineId, now: Instant) -> Result<Result<(), Stopped>, Option<Instant>> {
        if let Some(error) = self.lines.get(&id).and_then(|line| line.failed.clone()) {
            return Ok(Err(Stopped::Failed(error)));
        }
        match self.rest(id, now) {
            rest if rest > LONGEST_PAUSE => Ok(Err(Stopped::Paused(rest))),
            Duration::ZERO => Ok(Ok(())),
            rest => Err(Some(now + rest)),
        }
    }

    /// For how long nobody asks the model of a line.
    fn rest(&self, id: LineId, now: Instant) -> Duration {
        let until = self.resting_models.get(&id.model);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Nobody asks a model for `wait`.
    pub(super) fn pause_model(&mut self, model: [u8; 32], wait: Duration, now: Instant) {
        self.resting_models.retain(|_, until| *until > now);
        let until = self.resting_models.entry(model).or_insert(now);
        *until = (*until).max(now + wait);
    }

    /// When to ask again for a line whose turn it is not, but `next`'s, if that is known. What a line has waiting that
    /// does not take its turn is left to who waits for it.
    fn wait_for(&mut self, next: LineId, now: Instant) -> Option<Instant> {
        let line = self.lines.get_mut(&next)?;
        let ready = self.pace.ready(line.waiting.front().map_or(0, |job| job.tokens), now);
        if ready != Ready::Now {
            line.due = None;
        }
        match ready {
            Ready::AfterAnswer => None,
            Ready::At(at) => Some(at),
            Ready::Now => {
                let until = *line.due.get_or_insert(now) + LONGEST_TURN;
                if until <= now {
                    line.due = None;
                    self.orphans.extend(line.waiting.drain(..).map(|job| (job.key, job)));
                }
                Some(until)
            }
        }
    }

    /// Forgets `job`, and not another one of the same input that was asked for later.
    pub(super) fn forget(&mut self, job: &Arc<Job>) {
        let known = self.jobs.get(&job.key);
        if known.is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(job))) {
            self.jobs.remove(&job.key);
        }
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
            orphans: HashMap::new(),
            resting_models: HashMap::new(),
            resting: VecDeque::new(),
            turn: 0,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts inputs into a line.
    pub(super) fn enter(self: &Arc<Self>, id: LineId, max_in_flight: usize, jobs: Vec<Job>) -> Entered {
        let mut guard = self.state();
        let state = &mut *guard;
        let resting = &mut state.resting;
        let line = state.lines.entry(id).or_insert_with(|| {
            let at = resting.iter().position(|(known, _)| *known == id);
            at.and_then(|at| resting.remove(at)).map(|(_, line)| line).unwrap_or_default()
        });
        line.begin(state.turn);
        if line.calls == 0 {
            line.failed = None;
            line.suspicions = 0;
        }
        line.calls += 1;
        line.max_in_flight = max_in_flight.max(1);
        let jobs: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let known = state.jobs.get(&job.key).and_then(Weak::upgrade);
                let job = match known.filter(|job| job.outcome().is_none()) {
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
    pub(super) async fn until<T>(&self, mut done: impl FnMut(&mut State) -> Result<T, Option<Instant>>) -> T {
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

/// Why a query sends nothing more.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It can have no vectors.
    Failed(Error),
    /// The model wants a rest for longer than a query waits.
    Paused(Duration),
}

/// The inputs of the next request of a call, if there are any.
type Next = Result<Option<Vec<Arc<Job>>>, Stopped>;

/// The inputs of a call. Dropped, it leaves its line.
#[derive(Debug)]
pub(super) struct Entered {
    endpoint: Arc<Endpoint>,
    id: LineId,
    jobs: Vec<Arc<Job>>,
}

impl Entered {
    /// The next request for this call to send, or `None` as soon as every input has its outcome.
    pub(super) async fn next(&self, limits: &Limits) -> Result<Option<Sending>, Stopped> {
        let taken = self.endpoint.until(|state| self.try_next(state, limits)).await?;
        Ok(taken.map(|jobs| Sending::new(Arc::clone(&self.endpoint), self.id, jobs, true)))
    }

    /// The outcomes of the inputs in their order. An error if their vectors differ in length among themselves or from
    /// those that the query had before.
    pub(super) fn outcomes(&self) -> Result<Vec<Outcome>, String> {
        let outcomes: Vec<_> = self.jobs.iter().filter_map(|job| job.outcome().cloned()).collect();
        let mut state = self.endpoint.state();
        let mut known = state.lines.get_mut(&self.id).map(|line| &mut line.known);
        for found in outcomes.iter().flatten().map(|(embeddings, _)| embeddings.dimensions()) {
            let Some(known) = &mut known else { continue };
            let expected = *known.dimensions.get_or_insert(found);
            if found != expected {
                return Err(format!(
                    "vectors of {found} dimensions, after others of {expected}: its model is another one than when the \
                     query began; run the query again"
                ));
            }
        }
        drop(state);
        Ok(outcomes)
    }

    /// `Err` is when to ask again, if that is known.
    fn try_next(&self, state: &mut State, limits: &Limits) -> Result<Next, Option<Instant>> {
        if self.jobs.iter().all(|job| job.outcome().is_some()) {
            return Ok(Ok(None));
        }
        let now = Instant::now();
        if let Err(stopped) = state.admit(self.id, now)? {
            return Ok(Err(stopped));
        }
        self.adopt(state);
        if !self.jobs.iter().any(|job| job.is_waiting()) {
            return Err(None);
        }
        if let Some(line) = state.lines.get_mut(&self.id) {
            line.due = None;
        }
        let may_send =
            state.lines.iter().filter(|(id, line)| line.may_send() && state.rest(**id, now).is_zero());
        let Some((next, line)) = may_send.min_by_key(|(_, line)| line.sent) else { return Err(None) };
        if *next != self.id {
            let next = *next;
            return Err(state.wait_for(next, now));
        }
        let (count, tokens) = first_request(&line.waiting, limits);
        if let Err(stopped) = state.send(self.id, tokens, now)? {
            return Ok(Err(stopped));
        }
        let line = state.lines.get_mut(&self.id);
        let jobs: Vec<_> = line.into_iter().flat_map(|line| line.waiting.drain(..count)).collect();
        for job in &jobs {
            job.take(now);
        }
        Ok(Ok(Some(jobs)))
    }

    /// Takes what others have left and this call waits for to the front of its line.
    fn adopt(&self, state: &mut State) {
        if state.orphans.is_empty() {
            return;
        }
        let Some(line) = state.lines.get_mut(&self.id) else { return };
        let waiting = self.jobs.iter().filter(|job| job.is_waiting());
        let adopted: Vec<_> = waiting.filter_map(|job| state.orphans.remove(&job.key)).collect();
        if !adopted.is_empty() {
            line.begin(state.turn);
        }
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
                state.orphans.extend(left.into_iter().map(|job| (job.key, job)));
            }
            line.calls -= 1;
            if line.calls == 0
                && let Some(line) = state.lines.remove(&self.id)
            {
                state.resting.push_back((self.id, line));
                if state.resting.len() > RESTING {
                    state.resting.pop_front();
                }
            }
        }
        state.orphans.retain(|_, job| job.is_wanted());
        for job in &self.jobs {
            if !job.is_wanted() {
                state.forget(job);
            }
        }
        drop(guard);
        self.endpoint.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Embeddings;
    use crate::models::remote::protocol::Input;

    const ONE: Limits = Limits { inputs: 1, tokens: 100, bytes: 100 };

    fn enter(endpoint: &Arc<Endpoint>, query: u64, jobs: std::ops::Range<u8>) -> Entered {
        let jobs = jobs.map(|job| Job::new([job; 32], Input::Text("a".into()), 1, false)).collect();
        endpoint.enter(LineId { query, model: [0; 32] }, 9, jobs)
    }

    fn succeed(next: Result<Option<Sending>, Stopped>) -> bool {
        let Some(mut sending) = next.unwrap() else { return false };
        sending.succeed(Embeddings::new(1, 1, vec![0.0]).unwrap(), None);
        true
    }

    #[tokio::test]
    async fn who_had_nothing_to_send_has_saved_nothing_up() {
        let options = PaceOptions { max_concurrency: 1, requests_per_minute: None, tokens_per_minute: None };
        let endpoint = Endpoint::of("test://who_had_nothing_to_send", None, options);
        let idle = enter(&endpoint, 1, 0..0);
        let busy = enter(&endpoint, 2, 0..50);
        while succeed(busy.next(&ONE).await) {}
        // now both have something, and are served by turns
        let (first, second) = (enter(&endpoint, 1, 50..70), enter(&endpoint, 2, 70..90));
        let mut of_idle = 0;
        for _ in 0..10 {
            let (query, next) = tokio::select! {
                next = first.next(&ONE) => (1, next),
                next = second.next(&ONE) => (2, next),
            };
            assert!(succeed(next));
            of_idle += usize::from(query == 1);
        }
        assert!((4..=6).contains(&of_idle), "{of_idle} of 10");
        drop((idle, busy));
    }

    /// A runtime that is not driven between two uses has calls that do not take their turn.
    #[tokio::test]
    async fn a_line_that_nobody_drives_is_in_nobody_s_way() {
        let options = PaceOptions { max_concurrency: 4, requests_per_minute: None, tokens_per_minute: None };
        let endpoint = Endpoint::of("test://nobody_drives", None, options);
        let before = enter(&endpoint, 2, 10..12);
        assert!(succeed(before.next(&ONE).await));
        // it is this line's turn, and one of its inputs is also another's
        let left = enter(&endpoint, 1, 0..3);
        let driven = enter(&endpoint, 2, 2..5);
        let all = async { while succeed(driven.next(&ONE).await) {} };
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
        assert_eq!(driven.outcomes().unwrap().len(), 3);
        // somebody drives it again
        while succeed(left.next(&ONE).await) {}
        assert_eq!(left.outcomes().unwrap().len(), 3);
        drop(before);
    }

    #[tokio::test]
    async fn a_long_rest_is_one_of_its_model() {
        let options = PaceOptions { max_concurrency: 4, requests_per_minute: None, tokens_per_minute: None };
        let endpoint = Endpoint::of("test://long_rest", None, options);
        let resting = enter(&endpoint, 1, 0..3);
        let Some(sending) = resting.next(&ONE).await.unwrap() else { panic!("nothing to send") };
        sending.pause_model(Duration::from_hours(1));
        drop(sending);
        assert!(matches!(resting.next(&ONE).await, Err(Stopped::Paused(_))));
        let jobs = vec![Job::new([9; 32], Input::Text("a".into()), 1, false)];
        let other = endpoint.enter(LineId { query: 2, model: [1; 32] }, 9, jobs);
        let next = tokio::time::timeout(Duration::from_millis(900), other.next(&ONE));
        assert!(succeed(next.await.unwrap()));
    }
}
