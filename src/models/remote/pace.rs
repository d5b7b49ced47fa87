//! When an endpoint may be sent its next request.
//!
//! - After a refusal (429, 503, 529) nobody sends before the endpoint's `Retry-After` is over, or a backoff that
//!   doubles where it says nothing.
//! - What the endpoint's headers say is left is not exceeded, and neither are the limits a minute of the options.
//! - The requests in flight are halved by a refusal and grow by one for each round of answers.
//! - After a refusal the rate at which requests were taken, counting the wait, is kept, and raised by a few per cent
//!   an answer: an endpoint whose limit nobody has told is found out with few refusals.
//! - The first requests to an endpoint, and the first after a refusal, are a few milliseconds apart: a refusal comes
//!   back sooner than vectors, so that few are sent in vain.
use std::time::Duration;

use tokio::time::Instant;

use super::headers::{Left, Told};

/// Between the first requests.
const FIRST_GAP: Duration = Duration::from_millis(3);

/// As many requests are the first ones.
const FIRST_REQUESTS: u32 = 16;

/// How an answer raises the rate that was found after a refusal.
const RAISE: f64 = 1.03;

/// Without a `Retry-After`: the first wait and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// The limits of the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PaceOptions {
    /// The most requests in flight.
    pub(super) max_concurrency: usize,
    pub(super) requests_per_minute: Option<usize>,
    pub(super) tokens_per_minute: Option<usize>,
}

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    Now,
    /// Not before this time.
    At(Instant),
    /// Not before an answer comes.
    AfterAnswer,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pace {
    options: PaceOptions,
    paused_until: Instant,
    /// Refusals since the last request that was taken.
    refusals: u32,
    in_flight: usize,
    tokens_in_flight: usize,
    /// The most in flight; a part of one more is kept.
    most_in_flight: f64,
    /// Requests a second, where a refusal has told.
    rate: Option<f64>,
    next_at: Instant,
    /// Since the last refusal: when it was over, and how many requests were sent.
    since: Instant,
    sent: u32,
    requests_left: Window,
    tokens_left: Window,
    request_bucket: Option<Bucket>,
    token_bucket: Option<Bucket>,
}

impl Pace {
    pub(super) fn new(options: PaceOptions, now: Instant) -> Self {
        Self {
            options,
            paused_until: now,
            refusals: 0,
            in_flight: 0,
            tokens_in_flight: 0,
            most_in_flight: real(options.max_concurrency),
            rate: None,
            next_at: now,
            since: now,
            sent: 0,
            requests_left: Window::default(),
            tokens_left: Window::default(),
            request_bucket: options.requests_per_minute.map(|number| Bucket::new(number, now)),
            token_bucket: options.tokens_per_minute.map(|number| Bucket::new(number, now)),
        }
    }

    /// Takes other options.
    pub(super) fn configure(&mut self, options: PaceOptions, now: Instant) {
        if options == self.options {
            return;
        }
        let fresh = Self::new(options, now);
        self.most_in_flight = fresh.most_in_flight;
        self.request_bucket = fresh.request_bucket;
        self.token_bucket = fresh.token_bucket;
        self.options = options;
    }

    /// Whether a request of `tokens` may be sent.
    pub(super) fn ready(&mut self, tokens: usize, now: Instant) -> Ready {
        if real(self.in_flight) >= self.most_in_flight.max(1.0).floor() {
            return Ready::AfterAnswer;
        }
        let windows = [
            self.requests_left.ready(1, self.in_flight, self.in_flight, now),
            self.tokens_left.ready(tokens, self.tokens_in_flight, self.in_flight, now),
        ];
        if windows.contains(&Ready::AfterAnswer) {
            return Ready::AfterAnswer;
        }
        let buckets = [&mut self.request_bucket, &mut self.token_bucket];
        let buckets = buckets.into_iter().flatten().map(|bucket| bucket.ready_at(now));
        let windows = windows.into_iter().filter_map(|ready| match ready {
            Ready::At(at) => Some(at),
            _ => None,
        });
        let at = buckets.chain(windows).chain([self.paused_until, self.next_at]).max().unwrap_or(now);
        if at <= now { Ready::Now } else { Ready::At(at) }
    }

    /// A request of `tokens` is sent.
    pub(super) fn send(&mut self, tokens: usize, now: Instant) {
        self.in_flight += 1;
        self.tokens_in_flight += tokens;
        if let Some(bucket) = &mut self.request_bucket {
            bucket.take(1.0);
        }
        if let Some(bucket) = &mut self.token_bucket {
            bucket.take(real(tokens));
        }
        let first = if self.sent < FIRST_REQUESTS { FIRST_GAP } else { Duration::ZERO };
        let found = self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        self.next_at = now + first.max(found);
        self.sent = self.sent.saturating_add(1);
    }

    /// A request of `tokens` is no longer in flight, whatever became of it.
    pub(super) fn end(&mut self, tokens: usize) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.tokens_in_flight = self.tokens_in_flight.saturating_sub(tokens);
    }

    /// An answer says how much is left.
    pub(super) fn told(&mut self, told: &Told, now: Instant) {
        self.requests_left.told(told.requests, now);
        self.tokens_left.told(told.tokens, now);
    }

    /// A request was taken, and had `unused` tokens less than were thought.
    pub(super) fn taken(&mut self, unused: f64) {
        self.refusals = 0;
        self.most_in_flight =
            (self.most_in_flight + 1.0 / self.most_in_flight).min(real(self.options.max_concurrency));
        self.rate = self.rate.map(|rate| rate * RAISE).filter(|rate| *rate < 1000.0);
        if let Some(bucket) = &mut self.token_bucket {
            bucket.take(-unused);
        }
    }

    /// A request was refused: too many. Nothing is sent before the time that is returned.
    pub(super) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) -> Instant {
        let wait = retry_after.unwrap_or_else(|| backoff(self.refusals));
        // of several that were in flight together the first one tells
        if self.paused_until <= now {
            self.refusals = self.refusals.saturating_add(1);
            let elapsed = (now.duration_since(self.since) + wait).as_secs_f64().max(0.001);
            let taken = f64::from(self.sent.saturating_sub(1).max(1)) / elapsed;
            let least = self.rate.map_or(0.0, |rate| rate / 2.0).max(1.0 / wait.as_secs_f64().max(0.001));
            self.rate = Some(taken.max(least));
            self.most_in_flight = (real(self.in_flight) / 2.0).max(1.0);
            self.sent = 0;
        }
        self.paused_until = self.paused_until.max(now + wait);
        self.since = self.paused_until;
        self.paused_until
    }
}

/// 0.5 s doubled for each failure before, at most 8 s, less up to a quarter by chance.
pub(super) fn backoff(failures: u32) -> Duration {
    let (first, longest) = BACKOFF;
    first.saturating_mul(1 << failures.min(16)).min(longest).mul_f64(1.0 - 0.25 * fastrand::f64())
}

/// What the endpoint says is left.
#[derive(Debug, Default)]
struct Window(Option<(u64, Instant)>);

impl Window {
    fn told(&mut self, left: Option<Left>, now: Instant) {
        if let Some(left) = left {
            self.0 = Some((left.remaining, now + left.reset));
        }
    }

    /// Whether `needed` may be sent while `in_flight` are on their way in some `requests`. The endpoint may have
    /// counted these already: their answers will tell.
    fn ready(&mut self, needed: usize, in_flight: usize, requests: usize, now: Instant) -> Ready {
        match self.0 {
            Some((remaining, reset)) if now < reset => match usize::try_from(remaining) {
                Ok(remaining) if remaining < in_flight + needed && requests > 0 => Ready::AfterAnswer,
                Ok(remaining) if remaining < needed => Ready::At(reset),
                _ => Ready::Now,
            },
            _ => {
                self.0 = None;
                Ready::Now
            }
        }
    }
}

/// A token bucket: in no minute more than its number is taken, a second's share of it at once. A request that takes
/// more than there is makes the next ones wait.
#[derive(Debug)]
struct Bucket {
    level: f64,
    capacity: f64,
    a_second: f64,
    at: Instant,
}

impl Bucket {
    fn new(a_minute: usize, now: Instant) -> Self {
        let a_minute = real(a_minute).max(1.0);
        let capacity = (a_minute / 60.0).max(1.0);
        let a_second = ((a_minute - capacity) / 60.0).max(a_minute / 120.0);
        Self { level: capacity, capacity, a_second, at: now }
    }

    fn ready_at(&mut self, now: Instant) -> Instant {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.a_second).min(self.capacity);
        self.at = now;
        let least = self.capacity.min(1.0) - 1e-6;
        let missing = (least - self.level).max(0.0);
        // a little more than the time, so that it is there when the clock is read again
        if missing == 0.0 { now } else { now + Duration::from_secs_f64(missing / self.a_second + 0.001) }
    }

    fn take(&mut self, number: f64) {
        self.level = (self.level - number).min(self.capacity);
    }
}

#[expect(clippy::cast_precision_loss, reason = "requests and tokens are fewer than 2^52")]
fn real(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: PaceOptions =
        PaceOptions { max_concurrency: 8, requests_per_minute: None, tokens_per_minute: None };

    /// Sends requests of `tokens` for a time, as soon as they may be, each answered after 50 ms unless `refuse` says
    /// so at once; when they were sent, and how many were refused.
    fn run(
        pace: &mut Pace,
        start: Instant,
        seconds: u64,
        tokens: usize,
        mut refuse: impl FnMut(Duration) -> Option<Duration>,
    ) -> (Vec<Duration>, usize) {
        let (mut now, end) = (start, start + Duration::from_secs(seconds));
        let (mut sent, mut refused, mut answers) = (vec![], 0, vec![]);
        while now < end {
            answers.retain(|at: &Instant| {
                if *at <= now {
                    pace.end(tokens);
                    pace.taken(0.0);
                }
                *at > now
            });
            while pace.ready(tokens, now) == Ready::Now {
                pace.send(tokens, now);
                sent.push(now - start);
                match refuse(now - start) {
                    None => answers.push(now + Duration::from_millis(50)),
                    wait => {
                        refused += 1;
                        pace.end(tokens);
                        pace.refused(wait, now);
                    }
                }
            }
            now += Duration::from_millis(1);
        }
        (sent, refused)
    }

    #[test]
    fn as_many_in_flight_as_allowed() {
        let start = Instant::now();
        let (sent, _) = run(&mut Pace::new(FREE, start), start, 10, 1, |_| None);
        // 8 each 50 ms, less what the first ones wait for each other
        assert!((1500..=1600).contains(&sent.len()), "{}", sent.len());
    }

    #[test]
    fn the_limits_of_the_options_hold_in_any_minute() {
        let start = Instant::now();
        for (options, tokens, most) in [
            (PaceOptions { requests_per_minute: Some(240), ..FREE }, 1, 240),
            (PaceOptions { requests_per_minute: Some(1), ..FREE }, 1, 1),
            (PaceOptions { tokens_per_minute: Some(60_000), ..FREE }, 500, 120),
        ] {
            let (sent, _) = run(&mut Pace::new(options, start), start, 300, tokens, |_| None);
            for (position, first) in sent.iter().enumerate() {
                let in_minute =
                    sent[position..].iter().take_while(|at| **at < *first + Duration::from_mins(1));
                assert!(in_minute.count() <= most);
            }
            assert!(sent.len() >= 5 * most * 9 / 10 - 1 || most == 1, "{} of {most}", sent.len());
        }
    }

    #[test]
    fn nothing_is_sent_while_the_endpoint_wants_to_rest() {
        let start = Instant::now();
        let mut pace = Pace::new(FREE, start);
        let mut refusals = 0;
        let (sent, _) = run(&mut pace, start, 10, 1, |at| {
            refusals += 1;
            (refusals == 5)
                .then_some(Duration::from_secs(3))
                .inspect(|_| assert!(at < Duration::from_secs(1)))
        });
        let refused = sent[4];
        assert!(sent[5] >= refused + Duration::from_secs(3), "{sent:?}");
    }

    #[test]
    fn an_untold_limit_is_found_with_few_refusals() {
        // 240 a minute, four at once
        let (mut level, mut last) = (4.0_f64, Duration::ZERO);
        let server = |at: Duration| {
            level = (level + at.saturating_sub(last).as_secs_f64() * 4.0).min(4.0);
            last = at;
            if level < 1.0 {
                return Some(Duration::from_secs(1));
            }
            level -= 1.0;
            None
        };
        let start = Instant::now();
        let (sent, refused) = run(&mut Pace::new(FREE, start), start, 60, 1, server);
        let taken = sent.len() - refused;
        assert!(taken >= 150, "{taken}");
        assert!(refused * 10 <= taken, "{refused} of {taken}");
    }

    #[test]
    fn what_the_headers_leave_is_not_exceeded() {
        let start = Instant::now();
        let mut pace = Pace::new(FREE, start);
        let left = |remaining| Some(Left { remaining, reset: Duration::from_secs(5) });
        pace.told(&Told { requests: left(2), tokens: left(1000), ..Told::default() }, start);
        assert_eq!(pace.ready(400, start), Ready::Now);
        pace.send(400, start);
        // its answer will tell what is left
        let later = start + FIRST_GAP;
        assert_eq!(pace.ready(700, later), Ready::AfterAnswer);
        assert_eq!(pace.ready(600, later), Ready::Now);
        pace.end(400);
        pace.told(&Told { requests: left(0), ..Told::default() }, later);
        assert_eq!(pace.ready(1, later), Ready::At(later + Duration::from_secs(5)));
        assert_eq!(pace.ready(1, later + Duration::from_secs(5)), Ready::Now);
    }
}
