//! One exchange with an endpoint.
use std::sync::LazyLock;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use super::failure::Failure;
use super::headers::Told;
use crate::error::{Error, Result};

/// The most bytes of an answer: 2,048 vectors of 4,096 numbers of twenty characters and more.
const MAX_BYTES: usize = 256 << 20;

/// One client for the process, so that connections are shared. A redirect is not followed: the key would go with it.
static CLIENT: LazyLock<Result<Client>> = LazyLock::new(|| {
    Client::builder()
        .user_agent(concat!("semsql/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
        .redirect(Policy::none())
        .http2_adaptive_window(true)
        .build()
        .map_err(|error| Error::Query(format!("cannot start the HTTP client: {error}")))
});

/// A whole answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) told: Told,
    pub(super) body: Vec<u8>,
}

/// Posts a JSON body.
pub(super) async fn post(
    url: &str,
    headers: HeaderMap,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<Reply, Failure> {
    let client = CLIENT.as_ref().map_err(|error| Failure::Query(error.to_string()))?;
    let request = client
        .post(url)
        .headers(headers)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .timeout(timeout)
        .body(body);
    let reply = request.send().await.map_err(|error| Failure::of_exchange(error, url))?;
    let (status, told) = (reply.status(), Told::read(reply.headers(), Utc::now()));
    let length = reply.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut body = Vec::with_capacity(length.min(MAX_BYTES));
    let mut parts = reply.bytes_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| Failure::of_exchange(error, url))?;
        if body.len() + part.len() > MAX_BYTES {
            return Err(Failure::Inputs(format!("its answer has more than {MAX_BYTES} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(Reply { status, told, body })
}
