//! What the headers of an answer say about when the next request may come.
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;

/// How much of a limit is left, and when all of it is there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) remaining: u64,
    pub(super) reset: Duration,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// How long to wait before the next request.
    pub(super) retry_after: Option<Duration>,
    /// Whether to make the request again, whatever the status says.
    pub(super) should_retry: Option<bool>,
    pub(super) requests: Option<Left>,
    pub(super) tokens: Option<Left>,
}

impl Told {
    /// Reads `retry-after-ms`, `retry-after`, `x-should-retry` and `x-ratelimit-{remaining,reset}-{requests,tokens}`.
    /// What cannot be understood is as if it were not there.
    pub(super) fn read(headers: &HeaderMap, now: DateTime<Utc>) -> Self {
        let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let milliseconds = header("retry-after-ms").and_then(|value| value.parse::<f64>().ok());
        let milliseconds = milliseconds.and_then(|value| Duration::try_from_secs_f64(value / 1000.0).ok());
        let left = |kind: &str| {
            // some servers say -1 for what they do not know
            let remaining = header(&format!("x-ratelimit-remaining-{kind}"))?.parse().ok()?;
            let reset = wait(header(&format!("x-ratelimit-reset-{kind}"))?, now)?;
            // what lasts longer, a quota of a day, is an error once a request is refused
            (reset <= LONGEST_RESET).then_some(Left { remaining, reset })
        };
        Self {
            retry_after: milliseconds
                .or_else(|| wait(header("retry-after")?, now))
                .filter(|wait| !wait.is_zero())
                .map(|wait| wait.min(LONGEST_WAIT)),
            should_retry: header("x-should-retry").and_then(|value| value.parse().ok()),
            requests: left("requests"),
            tokens: left("tokens"),
        }
    }
}

/// A wait of more is as long, so that it can be added to any time.
pub(super) const LONGEST_WAIT: Duration = Duration::from_hours(365 * 24);

/// Windows of limits are minutes, as a rule.
const LONGEST_RESET: Duration = Duration::from_mins(2);

/// Seconds from `1`, `0.5`, `20ms`, `1s`, `6m0s`, `1h2m3.5s`, seconds since 1970, an ISO 8601 time or an HTTP date.
fn wait(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    /// Later than any number of seconds that is meant as a wait: 2001.
    const EPOCH: f64 = 1.0e9;
    if let Ok(seconds) = value.parse::<f64>() {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^52")]
        let since_1970 = now.timestamp_millis() as f64 / 1000.0;
        return Duration::try_from_secs_f64(if seconds >= EPOCH { seconds - since_1970 } else { seconds })
            .ok();
    }
    let date = DateTime::parse_from_rfc3339(value).or_else(|_| DateTime::parse_from_rfc2822(value));
    if let Ok(date) = date {
        return Some((date.to_utc() - now).to_std().unwrap_or_default());
    }
    units(value)
}

/// Numbers with units: `1h2m3.5s`, `20ms`.
fn units(mut value: &str) -> Option<Duration> {
    let mut total = 0.0;
    if value.is_empty() {
        return None;
    }
    while !value.is_empty() {
        let (number, rest) = value.split_at(value.find(|c: char| c.is_ascii_alphabetic())?);
        let (unit, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()));
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        value = rest;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn told(headers: &[(&'static str, &'static str)]) -> Told {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Told::read(&headers.collect(), "2026-11-23T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn waits_have_many_forms() {
        for (value, expected) in [
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("20ms", Some(20)),
            ("1s", Some(1000)),
            ("6m0s", Some(360_000)),
            ("1h2m3.5s", Some(3_723_500)),
            ("1795435210", Some(10_000)),
            ("2026-11-23T12:00:07Z", Some(7000)),
            ("2026-11-23T13:00:07.5+01:00", Some(7500)),
            ("Mon, 23 Nov 2026 12:00:30 GMT", Some(30_000)),
            // over already
            ("Mon, 23 Nov 2026 11:59:00 GMT", None),
            ("0", None),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("5 parsecs", None),
            ("NaN", None),
            ("1e300", None),
        ] {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(told(&[("retry-after", value)]).retry_after, expected, "{value}");
        }
        for (header, value) in
            [("retry-after", "1e19"), ("retry-after", "10000000000000d"), ("retry-after-ms", "1e20")]
        {
            assert_eq!(told(&[(header, value)]).retry_after, Some(LONGEST_WAIT), "{value}");
        }
        let both = told(&[("retry-after", "7"), ("retry-after-ms", "250")]);
        assert_eq!(both.retry_after, Some(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_left_of_a_limit() {
        let left = told(&[
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-remaining-tokens", "-1"),
            ("x-ratelimit-reset-tokens", "0s"),
            ("x-should-retry", "false"),
        ]);
        assert_eq!(left.requests, Some(Left { remaining: 499, reset: Duration::from_millis(120) }));
        assert_eq!((left.tokens, left.should_retry, left.retry_after), (None, Some(false), None));
    }
}
