//! A limit a minute of the options, as a token bucket.
use std::time::Duration;

use tokio::time::Instant;

/// In no minute more than the limit is taken, a second's share of it at once. A request that takes more than there is
/// makes the next ones wait.
///
/// The level outlives a change of the limit: what was taken under one limit was taken under the next one too.
#[derive(Debug)]
pub(super) struct Bucket {
    a_minute: Option<usize>,
    /// What may be taken at once, as of a time.
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full one; without a limit anything may be taken.
    pub(super) fn new(a_minute: Option<usize>, now: Instant) -> Self {
        Self { a_minute, level: a_minute.map_or(f64::MAX, |limit| Flow::of(limit).capacity), at: now }
    }

    /// Takes another limit.
    pub(super) fn configure(&mut self, a_minute: Option<usize>, now: Instant) {
        if a_minute == self.a_minute {
            return;
        }
        self.refill(now);
        self.a_minute = a_minute;
        if let Some(limit) = a_minute {
            self.level = self.level.min(Flow::of(limit).capacity);
        }
    }

    /// When the next request may take from it.
    pub(super) fn ready_at(&mut self, now: Instant) -> Instant {
        let Some(limit) = self.a_minute else { return now };
        self.refill(now);
        let flow = Flow::of(limit);
        let least = flow.capacity.min(1.0) - 1e-6;
        let missing = (least - self.level).max(0.0);
        // a little more than the time, so that it is there when the clock is read again
        if missing == 0.0 { now } else { now + Duration::from_secs_f64(missing / flow.a_second + 0.001) }
    }

    /// Takes `number`, or gives back what was taken too much where it is negative.
    pub(super) fn take(&mut self, number: f64) {
        if let Some(limit) = self.a_minute {
            self.level = (self.level - number).min(Flow::of(limit).capacity);
        }
    }

    /// Without a limit nothing flows, and the level waits for the next limit.
    fn refill(&mut self, now: Instant) {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        if let Some(limit) = self.a_minute {
            let flow = Flow::of(limit);
            self.level = (self.level + passed * flow.a_second).min(flow.capacity);
        }
    }
}

/// What a limit a minute means for a bucket.
struct Flow {
    capacity: f64,
    a_second: f64,
}

impl Flow {
    fn of(a_minute: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "limits are fewer than 2^52")]
        let a_minute = (a_minute as f64).max(1.0);
        let capacity = (a_minute / 60.0).max(1.0);
        Self { capacity, a_second: ((a_minute - capacity) / 60.0).max(a_minute / 120.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_limit_does_not_refill_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Some(600), start);
        bucket.take(10.0);
        assert!(bucket.ready_at(start) > start);
        for limit in [Some(601), Some(600), None, Some(600)] {
            bucket.configure(limit, start);
        }
        assert!(bucket.ready_at(start) > start);
        // a limit that was not there before begins with all of it
        let mut bucket = Bucket::new(None, start);
        bucket.take(1e6);
        bucket.configure(Some(600), start);
        assert_eq!(bucket.ready_at(start), start);
    }

    #[test]
    fn what_was_taken_too_little_is_taken_later() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Some(6000), start);
        bucket.take(50.0);
        assert_eq!(bucket.ready_at(start), start);
        bucket.take(1000.0);
        assert!(bucket.ready_at(start) > start + Duration::from_secs(9));
        bucket.take(-1000.0);
        assert_eq!(bucket.ready_at(start), start);
    }
}
