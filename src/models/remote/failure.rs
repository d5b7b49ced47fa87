//! What an answer without vectors means: whose fault it is, and whether to ask again.
use std::io::ErrorKind;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use url::{Host, Url};

use super::headers::{LONGEST_WAIT, Told};
use super::pace::LONGEST_PAUSE;
use super::secret::Key;
use super::vectors::Malformed;

/// The longest part of a provider's own message that is passed on.
const LONGEST_MESSAGE: usize = 200;

/// Why a request has no vectors; each with what happened, for the person who asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// It may succeed when it is sent again.
    Again {
        /// The endpoint has too much to do, and wants a rest from everybody.
        refused: bool,
        wait: Option<Duration>,
        reason: String,
    },
    /// It may succeed when it is sent again, later than a query waits.
    Later {
        /// Whether a limit of the model says so, which holds for all its requests, and not a fault of this one.
        limit: bool,
        wait: Duration,
        reason: String,
    },
    /// Nobody listens where it was sent, on this machine: a server that is not running.
    NotRunning(String),
    /// One of the inputs, or all of them together, are to blame.
    Inputs(String),
    /// It does not say what is to blame: the inputs, or the query or the configuration.
    Unclear(String),
    /// The query, the configuration or the key is to blame: every request would fail.
    Query(String),
}

impl Failure {
    /// Of an answer with another status than 200.
    pub(super) fn of_answer(status: StatusCode, told: &Told, body: &[u8], key: Option<&Key>) -> Self {
        let said = Said::read(body);
        let reason = said.reason(status, key);
        let refused = matches!(status.as_u16(), 429 | 503 | 529);
        let again = match told.should_retry {
            Some(again) => again,
            None => refused || status.is_server_error() || matches!(status.as_u16(), 408 | 409),
        };
        let wait = told.retry_after.or(said.wait);
        match status.as_u16() {
            429 if said.is_quota() => Self::Query(format!(
                "{reason}; the quota of this key is used up: see the provider's billing page"
            )),
            _ if matches!(status.as_u16(), 401 | 403) || said.is_about_key => {
                Self::Query(format!("{reason}; check the key: where it comes from, and what it may do"))
            }
            404 => Self::Query(format!("{reason}; check the model's name and the base_url")),
            300..=399 => Self::Query(format!("{reason}; redirects are not followed: check the base_url")),
            code if again => match wait.filter(|wait| *wait > LONGEST_PAUSE) {
                Some(wait) => Self::Later { limit: code == 429, wait, reason },
                None => Self::Again { refused, wait, reason },
            },
            413 => Self::Inputs(reason),
            400 | 422 => match said.blames_inputs() {
                Some(true) => Self::Inputs(reason),
                Some(false) => Self::Query(reason),
                None => Self::Unclear(reason),
            },
            _ => Self::Query(reason),
        }
    }

    /// Of an exchange with `url` that broke: no connection, no whole answer in time.
    pub(super) fn of_exchange(error: reqwest::Error, url: &str) -> Self {
        // the URL is known to whoever reads this, and the error's own text may have more of it
        let error = error.without_url();
        let causes = || std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let cause = causes().last().map(ToString::to_string).unwrap_or_default();
        let reason = if error.is_timeout() { format!("no answer in time ({cause})") } else { cause };
        let mut io = causes().filter_map(|error| error.downcast_ref::<std::io::Error>());
        if error.is_builder() {
            Self::Query(format!("the request cannot be made: {reason}"))
        } else if io.any(|error| error.kind() == ErrorKind::ConnectionRefused) && is_loopback(url) {
            Self::NotRunning(reason)
        } else {
            Self::Again { refused: false, wait: None, reason }
        }
    }

    pub(super) fn of_malformed(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Broken(reason) => Self::Again { refused: false, wait: None, reason },
            Malformed::Wrong(reason) => Self::Query(format!("it sent {reason}")),
        }
    }
}

/// Whether a URL is on this machine by its address or name.
fn is_loopback(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// What the body of an error says, in any of the forms that providers have for it.
#[derive(Debug, Default)]
struct Said {
    code: Option<String>,
    kind: Option<String>,
    parameter: Option<String>,
    message: Option<String>,
    wait: Option<Duration>,
    /// Google says so with status 400.
    is_about_key: bool,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let error = if body["error"].is_object() { &body["error"] } else { &body };
        let word = |value: &Value| {
            let word = value.as_str().filter(|word| (1..=64).contains(&word.len()))?;
            word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)).then(|| word.to_owned())
        };
        let message =
            [&error["message"], &error["detail"], &error["error"]].into_iter().find_map(Value::as_str);
        let details = error["details"].as_array().into_iter().flatten();
        let reason = details.clone().find_map(|detail| word(&detail["reason"]));
        Self {
            is_about_key: reason.is_some_and(|reason| reason.starts_with("API_KEY_")),
            // some give the status once more as the code
            code: word(&error["code"])
                .filter(|code| code.parse::<u16>().is_err())
                .or_else(|| word(&error["status"])),
            kind: word(&error["type"]),
            parameter: word(&error["param"]),
            message: message.map(ToOwned::to_owned),
            wait: details
                .filter_map(|detail| detail["retryDelay"].as_str()?.strip_suffix('s')?.parse().ok())
                .find_map(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
                .map(|wait| wait.min(LONGEST_WAIT)),
        }
    }

    /// `HTTP 400 Bad Request (code): message`. The message stays away where it has a part of the key, and where it is
    /// about the key.
    fn reason(&self, status: StatusCode, key: Option<&Key>) -> String {
        let safe = |text: &&String| !key.is_some_and(|key| key.is_in(text));
        let mut reason = format!("HTTP {status}");
        if let Some(code) = self.code.as_ref().or(self.kind.as_ref()).filter(safe) {
            reason = format!("{reason} ({code})");
        }
        let about_key =
            self.is_about_key || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if let Some(message) = self.message.as_ref().filter(safe).filter(|_| !about_key) {
            let message: Vec<_> = message.split_whitespace().collect();
            let message: String = message.join(" ").chars().take(LONGEST_MESSAGE).collect();
            reason = format!("{reason}: {}", message.trim_end_matches('.'));
        }
        reason
    }

    fn is_quota(&self) -> bool {
        let words = [&self.code, &self.kind];
        words.into_iter().flatten().any(|word| word == "insufficient_quota" || word.starts_with("billing"))
    }

    /// Whether the inputs are wrong or something else of the request is, as far as it says so.
    fn blames_inputs(&self) -> Option<bool> {
        let inputs = ["input", "inputs", "texts", "text", "images", "messages", "content", "prompt"];
        match self.code.as_deref() {
            Some("model_not_found") => Some(false),
            Some("context_length_exceeded") => Some(true),
            _ => self.parameter.as_deref().map(|name| {
                let name = name.split(['.', '[']).next().unwrap_or_default();
                inputs.contains(&name)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wrong key is wrong for every input: no request is halved for it.
    #[test]
    fn a_wrong_key_with_status_400() {
        let body = r#"{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}}"#;
        let Failure::Query(reason) = failure(400, body) else { panic!("not the query's") };
        assert!(reason.contains("check the key"), "{reason}");
    }

    fn failure(status: u16, body: &str) -> Failure {
        Failure::of_answer(StatusCode::from_u16(status).unwrap(), &Told::default(), body.as_bytes(), None)
    }

    #[test]
    fn the_forms_of_errors() {
        for (status, body, failed, expected) in [
            (
                400,
                r#"{"error":{"message":"bad\n input.","type":"invalid_request_error","param":"input","code":null}}"#,
                Failure::Inputs as fn(String) -> Failure,
                "HTTP 400 Bad Request (invalid_request_error): bad input",
            ),
            (
                422,
                r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#,
                Failure::Unclear,
                "HTTP 422 Unprocessable Entity (BadRequestError): too long",
            ),
            (400, r#"{"detail":"no text"}"#, Failure::Unclear, "HTTP 400 Bad Request: no text"),
            (
                400,
                r#"{"error":"input too large"}"#,
                Failure::Unclear,
                "HTTP 400 Bad Request: input too large",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}"#,
                Failure::Unclear,
                "HTTP 400 Bad Request (INVALID_ARGUMENT): m",
            ),
            (400, "<html>oh no</html>", Failure::Unclear, "HTTP 400 Bad Request"),
            (413, "", Failure::Inputs, "HTTP 413 Payload Too Large"),
        ] {
            assert_eq!(failure(status, body), failed(expected.to_owned()));
        }
    }

    #[test]
    fn what_is_on_this_machine() {
        for url in
            ["http://localhost:1234/v1", "http://127.0.0.2/", "http://[::1]:80/x", "http://a.localhost/"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://example.com/localhost", "http://10.0.0.1", "http://localhost.example.com", "no"] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn whose_fault_it_is() {
        for status in [408, 409, 500, 502, 503, 504, 529, 429] {
            assert!(matches!(failure(status, "{}"), Failure::Again { .. }), "{status}");
        }
        for status in [301, 401, 402, 403, 404, 405, 415, 451] {
            assert!(matches!(failure(status, "{}"), Failure::Query(_)), "{status}");
        }
        let parameter = r#"{"error":{"message":"no such dimensions","param":"dimensions"}}"#;
        assert!(matches!(failure(400, parameter), Failure::Query(_)));
        let quota =
            r#"{"error":{"message":"quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        assert!(matches!(failure(429, quota), Failure::Query(_)));
        let delay = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"x":1},{"retryDelay":"34.5s"}]}}"#;
        let Failure::Again { refused: true, wait, .. } = failure(429, delay) else { panic!() };
        assert_eq!(wait, Some(Duration::from_millis(34_500)));
        for (status, limited) in [(429, true), (503, false), (500, false)] {
            let told = Told { retry_after: Some(Duration::from_hours(1)), ..Told::default() };
            let failure = Failure::of_answer(StatusCode::from_u16(status).unwrap(), &told, b"", None);
            assert!(matches!(failure, Failure::Later { limit, .. } if limit == limited), "{failure:?}");
        }
        let told = |again| Told { should_retry: Some(again), ..Told::default() };
        let status = |code| StatusCode::from_u16(code).unwrap();
        assert!(matches!(Failure::of_answer(status(500), &told(false), b"", None), Failure::Query(_)));
        assert!(matches!(Failure::of_answer(status(400), &told(true), b"", None), Failure::Again { .. }));
    }

    #[test]
    fn what_a_body_says_about_a_key_is_not_passed_on() {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-TEST*****1234","code":"invalid_api_key"}}"#;
        let Failure::Query(reason) = failure(401, body) else { panic!() };
        assert!(reason.starts_with("HTTP 401 Unauthorized (invalid_api_key); check the key"), "{reason}");
    }
}
