//! What a query has sent to providers on the network, and what it may send.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Result, query_err};

/// What a query may send; 0 is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Budget {
    pub(crate) max_tokens: usize,
    pub(crate) max_requests: usize,
}

/// Of one query, over all its operators and partitions.
#[derive(Debug)]
pub(crate) struct Spend {
    /// Tells queries of the process apart.
    query: u64,
    budget: Budget,
    spent: Mutex<Spent>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    tokens: usize,
    requests: usize,
}

impl Spend {
    /// Of a new query.
    pub(crate) fn new(budget: Budget) -> Self {
        static QUERIES: AtomicU64 = AtomicU64::new(0);
        Self { query: QUERIES.fetch_add(1, Ordering::Relaxed), budget, spent: Mutex::default() }
    }

    pub(super) fn query(&self) -> u64 {
        self.query
    }

    /// Counts a request of about `tokens` before it is sent; an error if it would exceed the budget.
    pub(super) fn begin(&self, tokens: usize) -> Result<()> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let Budget { max_tokens, max_requests } = self.budget;
        let exceeded = [
            ("max_requests_per_query", max_requests, spent.requests.saturating_add(1)),
            ("max_tokens_per_query", max_tokens, spent.tokens.saturating_add(tokens)),
        ];
        if let Some((option, max, _)) = exceeded.into_iter().find(|(_, max, next)| *max > 0 && next > max) {
            return query_err!(
                "the query stops before it exceeds semantic.{option} = {max}: it has sent {} requests with {} tokens, and \
                 the next one has about {tokens}",
                spent.requests,
                spent.tokens
            );
        }
        spent.requests = spent.requests.saturating_add(1);
        spent.tokens = spent.tokens.saturating_add(tokens);
        Ok(())
    }

    /// A request has taken `used` tokens, not the number that it began with.
    pub(super) fn end(&self, tokens: usize, used: usize) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.tokens = spent.tokens.saturating_sub(tokens).saturating_add(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_stops_before_it_exceeds_its_budget() {
        let spend = Spend::new(Budget { max_tokens: 100, max_requests: 3 });
        spend.begin(60).unwrap();
        assert!(spend.begin(60).unwrap_err().to_string().contains("max_tokens_per_query = 100"));
        spend.end(60, 40);
        spend.begin(60).unwrap();
        spend.end(60, 0);
        spend.begin(1).unwrap();
        let error = spend.begin(1).unwrap_err().to_string();
        assert!(
            error.contains("max_requests_per_query = 3: it has sent 3 requests with 41 tokens"),
            "{error}"
        );
        let unlimited = Spend::new(Budget::default());
        unlimited.begin(usize::MAX / 2).unwrap();
        for used in [usize::MAX, usize::MAX] {
            unlimited.begin(usize::MAX / 2).unwrap();
            unlimited.end(usize::MAX / 2, used);
        }
        assert_ne!(unlimited.query(), spend.query());
    }
}
