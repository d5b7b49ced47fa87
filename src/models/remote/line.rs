//! The line of a query and a model at an endpoint: what waits in it, and what the query has learned of the model.
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::job::Job;
use super::protocol::Limits;
use crate::error::Error;

/// A query and a model, as its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LineId {
    pub(super) query: u64,
    pub(super) model: [u8; 32],
}

#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) waiting: VecDeque<Arc<Job>>,
    /// Requests in flight, and the most of them.
    pub(super) in_flight: usize,
    pub(super) max_in_flight: usize,
    /// Calls that put inputs here.
    pub(super) calls: usize,
    /// Tokens that were sent, counted from the turn at which there was something to send: see [`Line::begin`].
    pub(super) sent: usize,
    /// Since when it could have sent something and did not.
    pub(super) due: Option<Instant>,
    /// Calls that ask whether the query is to blame. Nothing else is sent before they know.
    pub(super) suspicions: usize,
    /// Why the query can have no vectors of the model; others may.
    pub(super) failed: Option<Error>,
    pub(super) known: Known,
}

impl Line {
    pub(super) fn may_send(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.max_in_flight && self.suspicions == 0
    }

    /// Something is about to wait here at a turn of the endpoint, the tokens that the line had sent whose request was
    /// sent last. Who had nothing to send has saved nothing up: start-time fair queueing (Goyal, Vin and Cheng, 1996).
    pub(super) fn begin(&mut self, turn: usize) {
        if self.waiting.is_empty() {
            self.sent = self.sent.max(turn);
        }
    }
}

/// What a query has learned of a model.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The length of its vectors.
    pub(super) dimensions: Option<usize>,
    /// Whether it has returned a vector.
    pub(super) works: bool,
    /// Whether it embeds an input with which nothing is wrong, once that was asked.
    pub(super) probed: Arc<OnceCell<bool>>,
    /// Why inputs that were sent alone were refused, and how many in succession for that reason.
    refused: Option<(String, usize)>,
}

impl Known {
    /// So many inputs, each alone, are refused for the same reason: it may not be about them.
    const ENOUGH: usize = 3;

    /// An input that was sent alone was refused for a reason that does not say what is to blame. Whether it may be
    /// the query: as no input has a vector, and others were refused for the same reason.
    pub(super) fn suspects_the_query(&mut self, reason: &str) -> bool {
        let before = self.refused.take().filter(|(known, _)| known == reason).map_or(0, |(_, times)| times);
        self.refused = Some((reason.to_owned(), before + 1));
        !self.works && before + 1 >= Self::ENOUGH
    }
}

/// How many of the first inputs a request takes, and their tokens. One is always taken.
pub(super) fn first_request(waiting: &VecDeque<Arc<Job>>, limits: &Limits) -> (usize, usize) {
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
