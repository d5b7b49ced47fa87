//! A call on its way: requests are taken from the line, sent, sent again, and cut in halves.
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, try_join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use reqwest::header::HeaderMap;
use tokio::time::{Instant, sleep_until};

use super::embedder::plain_input;
use super::endpoint::{Endpoint, Stopped};
use super::failure::Failure;
use super::http;
use super::job::{Job, Outcome};
use super::line::LineId;
use super::pace::{LONGEST_PAUSE, backoff};
use super::protocol::{Input, Kind, Limits, Model, Protocol};
use super::secret::Key;
use super::sending::Sending;
use super::tokens::credible;
use super::vectors::Answer;
use crate::blocking::{blocking, spawned};
use crate::error::{Error, Result};
use crate::models::Caller;

/// A server on this machine that is not running: the first wait, which doubles, and how long it is tried.
const FIRST_START: Duration = Duration::from_millis(250);
const LONGEST_START: Duration = Duration::from_secs(2);

/// A longer answer is not read between others' work: a million bytes of JSON take milliseconds.
const LONG_ANSWER: usize = 1 << 20;

/// Some count an image as that many tokens, however small it is.
const TOKENS_OF_IMAGE: usize = 4096;

/// The longest part of an input that an error shows.
const LONGEST_INPUT: usize = 60;

/// Where requests go, and how.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) protocol: &'static dyn Protocol,
    pub(super) model: Model,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) base_url: String,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) key: Option<Key>,
    pub(super) limits: Limits,
    pub(super) max_input_tokens: usize,
    pub(super) timeout: Duration,
    pub(super) max_retries: usize,
    pub(super) retry_timeout: Duration,
}

impl Target {
    /// The outcomes of inputs, of which each comes with the estimate of its tokens, in their order.
    ///
    /// An error of the query, of the configuration or of the endpoint as a whole is an error of all. Runs as a task of
    /// its own: other calls, which wait for the same inputs or for their turn, must not wait until this one is polled.
    pub(super) async fn run(
        self: &Arc<Self>,
        inputs: Vec<(Input, usize)>,
        caller: &dyn Caller,
    ) -> Result<Vec<Outcome>> {
        let (this, caller) = (Arc::clone(self), caller.shared());
        spawned(async move { this.answer(inputs, caller.as_ref()).await }).await
    }

    async fn answer(
        self: &Arc<Self>,
        inputs: Vec<(Input, usize)>,
        caller: &dyn Caller,
    ) -> Result<Vec<Outcome>> {
        let model = *blake3::hash(format!("{:?}", self.model).as_bytes()).as_bytes();
        let jobs = inputs.into_iter().map(|(input, tokens)| {
            let key =
                *blake3::Hasher::new_keyed(&model).update(input.as_str().as_bytes()).finalize().as_bytes();
            Job::new(key, input, tokens, tokens > self.max_input_tokens)
        });
        let id = LineId { query: caller.query(), model };
        let entered = self.endpoint.enter(id, caller.max_concurrency(), jobs.collect());
        let mut requests = FuturesUnordered::new();
        let mut more = true;
        while more || !requests.is_empty() {
            tokio::select! {
                // vectors that are there come before a request that may be sent
                biased;
                Some(sent) = requests.next(), if !requests.is_empty() => sent?,
                next = entered.next(&self.limits), if more => match next.map_err(|stopped| self.stopped(stopped))? {
                    Some(sending) => requests.push(self.send(sending, caller)),
                    None => more = false,
                },
            }
        }
        entered.outcomes().map_err(|wrong| self.error(format_args!("it sent {wrong}")))
    }

    /// Sends a request until its inputs have their outcomes. An error if the query may send no more.
    fn send<'a>(
        self: &'a Arc<Self>,
        mut sending: Sending,
        caller: &'a dyn Caller,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            // others, who may make more requests, may have sent it before
            self.give_up(&mut sending, None)?;
            let mut not_running = None;
            loop {
                caller.begin_request(sending.tokens, sending.failures() > 0)?;
                let failure = match self.exchange(&sending).await {
                    Ok(answer) => {
                        let used = credible(answer.tokens, self.expected_tokens(&sending));
                        caller.end_request(sending.tokens, used.unwrap_or(sending.tokens));
                        sending.succeed(answer.embeddings, used);
                        return Ok(());
                    }
                    Err(failure) => failure,
                };
                caller.end_request(sending.tokens, 0);
                if !matches!(failure, Failure::NotRunning(_)) {
                    not_running = None;
                }
                let until = match failure {
                    Failure::Again { refused, wait, reason } => {
                        self.again_at(&mut sending, refused, wait, &reason)?
                    }
                    Failure::NotRunning(reason) if sending.works() => {
                        let reason = format!("no server listens any more at {} ({reason})", self.base_url);
                        self.again_at(&mut sending, false, None, &reason)?
                    }
                    Failure::NotRunning(reason) => {
                        self.again_if_started(&mut sending, &mut not_running, &reason)?
                    }
                    Failure::Later { limit, wait, reason } => {
                        if limit {
                            sending.pause_model(wait);
                        }
                        let reason = format!(
                            "{reason}; it asks to wait {} s, longer than the {} s that a query waits: try again later",
                            wait.as_secs(),
                            LONGEST_PAUSE.as_secs()
                        );
                        return Err(self.fail_for_now(&mut sending, &reason));
                    }
                    Failure::Query(reason) => return Err(self.fail_query(&mut sending, &reason)),
                    Failure::Unclear(reason) if self.blames_the_query(&mut sending, &reason, caller).await? => {
                        let reason = format!(
                            "{reason}; inputs that were sent alone were refused alike, and so was a plain one: check the \
                             model's name and the options of the provider"
                        );
                        return Err(self.fail_query(&mut sending, &reason));
                    }
                    Failure::Inputs(reason) | Failure::Unclear(reason) if sending.is_alone() => {
                        let error = self.refusal(&sending.jobs[0], &reason);
                        sending.refuse(&error);
                        return Ok(());
                    }
                    Failure::Unclear(_) if !sending.works() => {
                        // before N rows cost 2 N requests: whether it is about them
                        let [first, middle, last, others] = sending.samples();
                        let samples = [first, middle, last].map(|sample| self.send_part(sample, caller));
                        try_join_all(samples).await?;
                        return self.send_part(others, caller).await;
                    }
                    Failure::Inputs(_) | Failure::Unclear(_) => {
                        let halves = sending.halves().map(|half| self.send_part(half, caller));
                        return try_join_all(halves).await.map(|_| ());
                    }
                };
                sleep_until(until).await;
                sending.again().await.map_err(|stopped| self.stopped(stopped))?;
            }
        }
        .boxed()
    }

    async fn send_part(self: &Arc<Self>, mut part: Sending, caller: &dyn Caller) -> Result<()> {
        if part.jobs.is_empty() {
            return Ok(());
        }
        part.again().await.map_err(|stopped| self.stopped(stopped))?;
        self.send(part, caller).await
    }

    /// Whether an input that was refused, for a reason that does not say what is to blame, is not to blame but the query.
    /// What goes alone is expected to be refused, and says nothing; after some others a plain input tells.
    async fn blames_the_query(
        self: &Arc<Self>,
        sending: &mut Sending,
        reason: &str,
        caller: &dyn Caller,
    ) -> Result<bool> {
        if !sending.is_alone() || sending.jobs[0].alone {
            return Ok(false);
        }
        let Some(_suspicion) = sending.suspects_the_query(reason) else { return Ok(false) };
        sending.end();
        let (sending, probed) = (&*sending, sending.probed());
        let plain = || async move {
            let (input, tokens) = plain_input(self.model.kind)?;
            let job = Arc::new(Job::new([0; 32], input, tokens, true));
            self.send_part(sending.with(&job), caller).await?;
            Ok(job.outcome().is_some_and(Result::is_ok))
        };
        Ok(!*probed.get_or_try_init(plain).await?)
    }

    /// When a request that failed is sent again. An error if too many have failed.
    fn again_at(
        &self,
        sending: &mut Sending,
        refused: bool,
        wait: Option<Duration>,
        reason: &str,
    ) -> Result<Instant> {
        let failures = sending.fail_once(reason);
        let until = match (refused, wait) {
            (false, None) => Instant::now() + backoff(failures.saturating_sub(1)),
            // nobody else asks before then
            (_, wait) => sending.refused(wait),
        };
        sending.end();
        self.give_up(sending, Some(until))?;
        Ok(until)
    }

    /// The same for a request that no server listens for, though one may be about to start; `not_running` is how many
    /// connections were refused in succession, and since when.
    fn again_if_started(
        &self,
        sending: &mut Sending,
        not_running: &mut Option<(u32, Instant)>,
        reason: &str,
    ) -> Result<Instant> {
        let failures = sending.fail_once(reason) as usize;
        sending.end();
        let now = Instant::now();
        let (before, since) = not_running.unwrap_or((0, now));
        let until = now + FIRST_START.saturating_mul(1 << before.min(16));
        *not_running = Some((before + 1, since));
        let longest = LONGEST_START.min(self.retry_timeout);
        if failures <= self.max_retries && until.duration_since(since) <= longest {
            return Ok(until);
        }
        let reason = format!(
            "no server listens at {} ({reason}, {} times): {}, or SET semantic.providers.{}.base_url to where it listens",
            self.base_url,
            before + 1,
            self.protocol.how_to_start(),
            self.model.provider,
        );
        Err(self.fail_for_now(sending, &reason))
    }

    /// An error if too many requests with one of the inputs have failed, or it would be sent again too late.
    fn give_up(&self, sending: &mut Sending, until: Option<Instant>) -> Result<()> {
        let exceeded = sending.jobs.iter().filter_map(|job| job.failures()).find(|failures| {
            failures.requests as usize > self.max_retries
                || until.is_some_and(|until| until.duration_since(failures.first_sent) > self.retry_timeout)
        });
        let Some(failures) = exceeded else { return Ok(()) };
        let reason = format!(
            "{}; given up after {} requests in {} s (semantic.max_retries = {}, semantic.providers.{}.retry_timeout = {})",
            failures.reason,
            failures.requests,
            failures.first_sent.elapsed().as_secs(),
            self.max_retries,
            self.model.provider,
            self.retry_timeout.as_secs()
        );
        Err(self.fail_for_now(sending, &reason))
    }

    /// The error of the query, in all its calls. It says nothing to other queries that wait for the same inputs.
    fn fail_query(&self, sending: &mut Sending, reason: &str) -> Error {
        let error = self.error(reason);
        sending.fail_query(&error);
        error
    }

    /// The same, where the endpoint is to blame: the query may succeed later.
    fn fail_for_now(&self, sending: &mut Sending, reason: &str) -> Error {
        let error = Error::Unavailable(self.of_model(reason));
        sending.fail_query(&error);
        error
    }

    async fn exchange(self: &Arc<Self>, sending: &Sending) -> Result<Answer, Failure> {
        let inputs = sending.jobs.len();
        let body = {
            let inputs: Vec<_> = sending.jobs.iter().map(|job| &job.input).collect();
            let body = self.protocol.body(&self.model, &inputs);
            body.map_err(|error| Failure::Query(format!("the request cannot be written: {error}")))?
        };
        let reply = http::post(&self.url, self.headers.clone(), body, self.timeout).await?;
        sending.told(&reply.told);
        if reply.status != reqwest::StatusCode::OK {
            return Err(Failure::of_answer(reply.status, &reply.told, &reply.body, self.key.as_ref()));
        }
        let answer = if reply.body.len() > LONG_ANSWER {
            let this = Arc::clone(self);
            blocking(move || this.protocol.answer(&this.model, &reply.body, inputs)).await
        } else {
            self.protocol.answer(&self.model, &reply.body, inputs)
        };
        answer.map_err(Failure::of_malformed)
    }

    /// About how many tokens the endpoint reads, which counts images as it likes.
    fn expected_tokens(&self, sending: &Sending) -> usize {
        match self.model.kind {
            Kind::Text => sending.tokens,
            Kind::Image => sending.tokens.max(sending.jobs.len().saturating_mul(TOKENS_OF_IMAGE)),
        }
    }

    fn stopped(&self, stopped: Stopped) -> Error {
        match stopped {
            Stopped::Failed(error) => error,
            Stopped::Paused(pause) => Error::Unavailable(self.of_model(format_args!(
                "it has asked another request to wait, {} s from now, longer than the {} s that a query waits: try again \
                 later",
                pause.as_secs(),
                LONGEST_PAUSE.as_secs()
            ))),
        }
    }

    /// What is wrong with the query, the configuration or the endpoint.
    fn error(&self, reason: impl std::fmt::Display) -> Error {
        Error::Query(self.of_model(reason))
    }

    fn of_model(&self, reason: impl std::fmt::Display) -> String {
        format!("provider '{}', model '{}': {reason}", self.model.provider, self.model.name)
    }

    /// What is wrong with one input.
    fn refusal(&self, job: &Job, reason: &str) -> Error {
        let Model { provider, name, kind, .. } = &self.model;
        let shown = match kind {
            Kind::Image => "an image".to_owned(),
            Kind::Text => {
                let text = job.input.as_str();
                let shown: String = text.chars().take(LONGEST_INPUT).collect();
                let more = if shown.len() < text.len() { "..." } else { "" };
                format!("the text {shown:?}{more}")
            }
        };
        let long = if *kind == Kind::Text && job.tokens > self.max_input_tokens {
            format!(
                " (it has about {} tokens, the model reads {}; SET semantic.providers.{provider}.long_text = 'truncate' or \
                 'average' embeds such texts)",
                job.tokens, self.max_input_tokens
            )
        } else {
            String::new()
        };
        Error::Data(format!("provider '{provider}', model '{name}': {shown} was refused with {reason}{long}"))
    }
}
