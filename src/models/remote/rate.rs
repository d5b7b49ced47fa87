//! The rate that refusals teach, of an endpoint that does not tell its limits; or that they teach nothing.
//!
//! A limit is met again and again by who sends as fast as before, and rarely by who sends as many requests in a while as
//! were taken before: these are worth pacing. Refusals for other reasons, such as the load by others, come as often at
//! any pace: a slower one would only take longer. So it is counted which part of the requests is refused of those that
//! were paced and of those that were not, and requests are paced for as long as that spares refusals.
use std::time::Duration;

use tokio::time::Instant;

/// How an answer raises the rate, and how after [`MANY`] requests without a refusal.
const RAISE: (f64, f64) = (1.02, 1.1);
const MANY: u32 = 64;

/// The least of a rate that a refusal leaves: not every refusal is about the rate.
const LOWERED: f64 = 0.7;

/// A rate of more is none.
const FASTEST: f64 = 1000.0;

/// Where a smaller part of the requests is refused, nothing is gained by pacing.
const FEW: f64 = 0.05;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Rate {
    /// Requests a second, while they are paced.
    a_second: Option<f64>,
    paced: Refusals,
    free: Refusals,
    /// When the wait of the last refusal was over, or later by the time that nothing was to be sent.
    since: Instant,
    /// Requests since then, and those of them that were refused.
    sent: u32,
    refused: u32,
    /// The first refusal since then, and for how long nothing is sent.
    refusal: Option<(Instant, Duration)>,
    last_wait: Duration,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            a_second: None,
            paced: Refusals::default(),
            free: Refusals::default(),
            since: now,
            sent: 0,
            refused: 0,
            refusal: None,
            last_wait: Duration::MAX,
        }
    }

    /// How far requests are apart.
    pub(super) fn gap(&self) -> Duration {
        self.a_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate))
    }

    /// How many requests were sent since the wait of the last refusal was over.
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// Whether pacing has spared no refusals.
    pub(super) fn is_in_vain(&self) -> bool {
        self.a_second.is_none() && self.free.part() > FEW
    }

    /// A request is sent, which could have been sent `idle` before. Whether it is the first one after a refusal.
    pub(super) fn send(&mut self, idle: Duration, now: Instant) -> bool {
        let first = self.refusal.take().inspect(|(at, wait)| self.learn(*at, *wait, now)).is_some();
        if !first {
            self.since += idle;
        }
        self.sent = self.sent.saturating_add(1);
        first
    }

    /// A request was taken.
    pub(super) fn taken(&mut self) {
        let raise = if self.sent < MANY { RAISE.0 } else { RAISE.1 };
        self.a_second = self.a_second.map(|rate| rate * raise).filter(|rate| *rate < FASTEST);
    }

    /// A request was refused, and nothing is sent for `wait`.
    pub(super) fn refused(&mut self, wait: Duration, now: Instant) {
        self.refused = self.refused.saturating_add(1);
        self.refusal.get_or_insert((now, wait));
    }

    /// All that was sent before a refusal has its answer, or nearly all: whether requests are paced from now on.
    fn learn(&mut self, refusal: Instant, wait: Duration, now: Instant) {
        let (sent, refused) = (f64::from(self.sent.max(1)), f64::from(self.refused));
        let (known, other) = match self.a_second {
            Some(_) => (&mut self.paced, &mut self.free),
            None => (&mut self.free, &mut self.paced),
        };
        known.add(sent, refused);
        other.forget();
        let pays = self.free.part() > FEW && self.paced.part() < self.free.part() / 2.0;
        // a limit's bucket fills up during a wait, or its window ends after one: of two waits the requests had one
        let waited = wait.min(self.last_wait).as_secs_f64().max(0.001);
        let elapsed = refusal.duration_since(self.since).as_secs_f64() + waited;
        let least = self.a_second.map_or(0.0, |rate| rate * LOWERED).max(1.0 / waited);
        self.a_second = pays.then(|| ((sent - refused) / elapsed).max(least));
        (self.since, self.sent, self.refused, self.last_wait) = (now, 0, 0, wait);
    }
}

/// How many requests were refused of late.
#[derive(Debug, Default)]
struct Refusals {
    sent: f64,
    refused: f64,
}

impl Refusals {
    /// What is left of what was known before, at each refusal.
    const REMEMBERED: f64 = 0.8;

    /// As many that were taken are supposed: it takes some to know better.
    const SUPPOSED: f64 = 4.0;

    fn add(&mut self, sent: f64, refused: f64) {
        self.forget();
        self.sent += sent;
        self.refused += refused;
    }

    fn forget(&mut self) {
        self.sent *= Self::REMEMBERED;
        self.refused *= Self::REMEMBERED;
    }

    fn part(&self) -> f64 {
        self.refused / (self.sent + Self::SUPPOSED)
    }
}
