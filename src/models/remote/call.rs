//! A call on its way: requests are taken from the line, sent, sent again, and cut in halves.
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use reqwest::header::HeaderMap;
use tokio::time::{Instant, sleep_until};

use super::endpoint::{Endpoint, Job, LineId, Outcome, Sending};
use super::failure::Failure;
use super::http;
use super::pace::backoff;
use super::protocol::{Input, Kind, Limits, Model, Protocol};
use super::secret::Key;
use super::vectors::Answer;
use crate::error::{Error, Result};
use crate::models::Caller;

/// A longer wait is not waited for.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// The longest part of an input that an error shows.
const LONGEST_INPUT: usize = 60;

/// Where requests go, and how.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) protocol: &'static dyn Protocol,
    pub(super) model: Model,
    pub(super) endpoint: Arc<Endpoint>,
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
    /// An error of the query, of the configuration or of the endpoint as a whole is an error of all.
    pub(super) async fn run(&self, inputs: Vec<(Input, usize)>, caller: &dyn Caller) -> Result<Vec<Outcome>> {
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
                next = entered.next(&self.limits), if more => match next {
                    Some(sending) => requests.push(self.send(sending, caller)),
                    None => more = false,
                },
            }
        }
        Ok(entered.jobs.iter().filter_map(|job| job.outcome().cloned()).collect())
    }

    /// Sends a request until its inputs have their outcomes.
    fn send<'a>(&'a self, mut sending: Sending, caller: &'a dyn Caller) -> BoxFuture<'a, Result<()>> {
        async move {
            loop {
                caller.begin_request(sending.tokens, sending.failures > 0)?;
                let (wait, refused, reason) = match self.exchange(&sending).await {
                    Ok(answer) => {
                        caller.end_request(sending.tokens, answer.tokens.unwrap_or(sending.tokens));
                        return sending
                            .succeed(answer.embeddings, answer.tokens)
                            .map_err(|wrong| self.error(format_args!("it sent {wrong}")));
                    }
                    Err(failure) => {
                        caller.end_request(sending.tokens, 0);
                        match failure {
                            Failure::Again { refused, wait, reason } => (wait, refused, reason),
                            Failure::Query(reason) => return Err(self.error(reason)),
                            Failure::Inputs(reason) if sending.jobs.len() == 1 => {
                                let error = self.refusal(&sending.jobs[0], &reason);
                                sending.fail(&error);
                                return Ok(());
                            }
                            Failure::Inputs(_) => {
                                let halves = sending.halves().map(|mut half| async {
                                    half.again().await;
                                    self.send(half, caller).await
                                });
                                return futures::future::try_join_all(halves).await.map(|_| ());
                            }
                        }
                    }
                };
                sending.failures += 1;
                if let Some(wait) = wait.filter(|wait| *wait > LONGEST_WAIT) {
                    // nobody else asks before then
                    let _ = sending.refused(Some(wait));
                    return Err(self.error(format_args!(
                        "{reason}; it asks to wait {} s, longer than the {} s that a query waits: try again later",
                        wait.as_secs(),
                        LONGEST_WAIT.as_secs()
                    )));
                }
                let until = match (refused, wait) {
                    (false, None) => Instant::now() + backoff(sending.failures - 1),
                    (_, wait) => sending.refused(wait),
                };
                sending.end();
                let elapsed = until.duration_since(sending.first_sent);
                if sending.failures as usize > self.max_retries || elapsed > self.retry_timeout {
                    return Err(self.error(format_args!(
                        "{reason}; given up after {} requests in {} s (semantic.max_retries = {}, \
                         semantic.providers.{}.retry_timeout = {})",
                        sending.failures,
                        sending.first_sent.elapsed().as_secs(),
                        self.max_retries,
                        self.model.provider,
                        self.retry_timeout.as_secs()
                    )));
                }
                sleep_until(until).await;
                sending.again().await;
            }
        }
        .boxed()
    }

    async fn exchange(&self, sending: &Sending) -> Result<Answer, Failure> {
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
        let answer = self.protocol.answer(&self.model, &reply.body, sending.jobs.len());
        answer.map_err(Failure::of_malformed)
    }

    /// What is wrong with the query, the configuration or the endpoint.
    fn error(&self, reason: impl std::fmt::Display) -> Error {
        Error::Query(format!("provider '{}', model '{}': {reason}", self.model.provider, self.model.name))
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
