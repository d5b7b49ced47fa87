//! When an endpoint may be sent its next request.
//!
//! - After a refusal (429, 503, 529) nobody sends before the endpoint's `Retry-After` is over, or a backoff that
//!   doubles where it says nothing.
//! - What the endpoint's headers say is left is not exceeded, and neither are the limits a minute of the options.
//! - The requests in flight are halved by a refusal and grow by one for each round of answers.
//! - The rate at which requests were taken is kept for as long as that spares refusals (`rate`): an endpoint whose limit
//!   nobody has told is found out with few of them.
//! - The first requests to an endpoint, and the first after a refusal, are a few milliseconds apart: a refusal comes
//!   back sooner than vectors, so that few are sent in vain.
//! - Where refusals come at any pace, they are waited for, and change nothing else.
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::headers::{Left, Told};
use super::rate::Rate;

/// Between the first requests.
const FIRST_GAP: Duration = Duration::from_millis(3);

/// As many requests are the first ones.
const FIRST_REQUESTS: u32 = 16;

/// Without a `Retry-After`: the first wait and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// A query does not wait longer than this for an endpoint that wants a rest.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_mins(2);

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
    in_flight_at_refusal: f64,
    rate: Rate,
    /// Since when a request may be sent, as far as the pace is concerned.
    next_at: Instant,
    /// When a request ended last.
    ended: Instant,
    requests_left: Window,
    tokens_left: Window,
    requests: Bucket,
    tokens: Bucket,
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
            in_flight_at_refusal: 0.0,
            rate: Rate::new(now),
            next_at: now,
            ended: now,
            requests_left: Window::default(),
            tokens_left: Window::default(),
            requests: Bucket::new(options.requests_per_minute, now),
            tokens: Bucket::new(options.tokens_per_minute, now),
        }
    }

    /// Takes other options. What was sent and what was learned holds on.
    pub(super) fn configure(&mut self, options: PaceOptions, now: Instant) {
        if options == self.options {
            return;
        }
        let (before, after) = (real(self.options.max_concurrency), real(options.max_concurrency));
        self.most_in_flight =
            if self.most_in_flight < before { self.most_in_flight.min(after) } else { after };
        self.requests.configure(options.requests_per_minute, now);
        self.tokens.configure(options.tokens_per_minute, now);
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
        let windows = windows.into_iter().filter_map(|ready| match ready {
            Ready::At(at) => Some(at),
            _ => None,
        });
        let others =
            [self.requests.ready_at(now), self.tokens.ready_at(now), self.paused_until, self.next_at];
        let at = windows.chain(others).max().unwrap_or(now);
        if at <= now { Ready::Now } else { Ready::At(at) }
    }

    /// A request of `tokens` is sent.
    pub(super) fn send(&mut self, tokens: usize, now: Instant) {
        let idle = match self.in_flight {
            0 => now.saturating_duration_since(self.next_at.max(self.paused_until).max(self.ended)),
            _ => Duration::ZERO,
        };
        if self.rate.send(idle, now) {
            self.most_in_flight = match self.rate.is_in_vain() {
                true => real(self.options.max_concurrency),
                false => (self.in_flight_at_refusal / 2.0).max(1.0),
            };
        }
        let first = self.rate.sent() <= FIRST_REQUESTS && !self.rate.is_in_vain();
        self.in_flight += 1;
        self.tokens_in_flight += tokens;
        self.requests.take(1.0);
        self.tokens.take(real(tokens));
        self.next_at = now + if first { FIRST_GAP.max(self.rate.gap()) } else { self.rate.gap() };
    }

    /// A request of `tokens` is no longer in flight, whatever became of it.
    pub(super) fn end(&mut self, tokens: usize, now: Instant) {
        self.ended = now;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.tokens_in_flight = self.tokens_in_flight.saturating_sub(tokens);
    }

    /// An answer says how much is left.
    pub(super) fn told(&mut self, told: &Told, now: Instant) {
        self.requests_left.told(told.requests, now);
        self.tokens_left.told(told.tokens, now);
    }

    /// A request was taken, which was thought to have `thought` tokens; the answer may tell how many it `used`.
    pub(super) fn taken(&mut self, thought: usize, used: Option<usize>) {
        self.refusals = 0;
        self.most_in_flight =
            (self.most_in_flight + 1.0 / self.most_in_flight).min(real(self.options.max_concurrency));
        self.rate.taken();
        if let Some(used) = used {
            self.tokens.take(real(used) - real(thought));
        }
    }

    /// A request was refused: too many. Nothing is sent before the time that is returned.
    pub(super) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) -> Instant {
        let wait = retry_after.unwrap_or_else(|| backoff(self.refusals));
        // of several that were in flight together the first one tells
        if self.paused_until <= now {
            self.refusals = self.refusals.saturating_add(1);
            self.in_flight_at_refusal = real(self.in_flight);
            self.next_at = now + wait;
        }
        self.rate.refused(wait, now);
        self.paused_until = self.paused_until.max(now + wait);
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
                    pace.end(tokens, now);
                    pace.taken(tokens, None);
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
                        pace.refused(wait, now);
                        pace.end(tokens, now);
                    }
                }
            }
            now += Duration::from_millis(1);
        }
        for _ in answers {
            pace.end(tokens, end);
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

    /// Refuses a part of the requests, whatever their rate, the same ones in each run.
    fn at_random(of_a_hundred: u64) -> impl FnMut(Duration) -> Option<Duration> {
        let mut number = 0_u64;
        move |_| {
            number += 1;
            let draw = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 100;
            (draw < of_a_hundred).then_some(Duration::from_secs(1))
        }
    }

    #[test]
    fn refusals_that_come_at_any_pace_cost_their_waits() {
        let start = Instant::now();
        for (of_a_hundred, least) in [(20, 140), (5, 500)] {
            let mut pace = Pace::new(FREE, start);
            let (sent, refused) = run(&mut pace, start, 60, 1, at_random(of_a_hundred));
            assert!(
                sent.len() - refused >= least,
                "{} of {}, {of_a_hundred} %",
                sent.len() - refused,
                sent.len()
            );
        }
    }

    #[test]
    fn idle_time_says_nothing_about_a_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(FREE, start);
        run(&mut pace, start, 1, 1, |_| None);
        let later = start + Duration::from_hours(1);
        let mut refusals = 0;
        let (sent, _) = run(&mut pace, later, 3, 1, |_| {
            refusals += 1;
            (refusals == 1).then_some(Duration::from_secs(1))
        });
        // two seconds are left, of 8 each 50 ms
        assert!(sent.len() >= 250, "{}", sent.len());
    }

    #[test]
    fn other_options_keep_what_was_sent_and_learned() {
        let start = Instant::now();
        let limit = |number| PaceOptions { requests_per_minute: Some(number), ..FREE };
        let mut pace = Pace::new(limit(60), start);
        let mut sent = 0;
        for millisecond in 0..10_000 {
            let now = start + Duration::from_millis(millisecond);
            // two queries by turns
            pace.configure(limit(60 + usize::from(millisecond % 2 == 0)), now);
            while pace.ready(1, now) == Ready::Now {
                pace.send(1, now);
                pace.end(1, now);
                sent += 1;
            }
        }
        assert!((10..=12).contains(&sent), "{sent}");
        pace.most_in_flight = 2.0;
        pace.configure(PaceOptions { max_concurrency: 64, ..FREE }, start);
        assert!(pace.most_in_flight < 3.0);
    }

    #[test]
    fn tokens_are_charged_as_they_were_read() {
        let start = Instant::now();
        let later = start + FIRST_GAP;
        for (used, ready) in [(Some(6000), false), (Some(10), true), (None, true)] {
            let options = PaceOptions { tokens_per_minute: Some(6000), ..FREE };
            let mut pace = Pace::new(options, start);
            pace.send(90, start);
            pace.end(90, start);
            pace.taken(90, used);
            assert_eq!(pace.ready(1, later) == Ready::Now, ready, "{used:?}");
        }
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
        pace.end(400, later);
        pace.told(&Told { requests: left(0), ..Told::default() }, later);
        assert_eq!(pace.ready(1, later), Ready::At(later + Duration::from_secs(5)));
        assert_eq!(pace.ready(1, later + Duration::from_secs(5)), Ready::Now);
    }
}
