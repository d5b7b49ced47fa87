//! GET requests whose every hop is allowed: checked by name before the look-up, by address before the connection.
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use datafusion::physical_plan::metrics::Count;
use futures::Stream;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::access::{Reach, is_public, not_public};
use super::failure::causes;
use super::hub::Hub;
use super::options::FileOptions;
use crate::error::{Error, Result};

const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a byte for so long, a connection is given up.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// The first pause before another try; each is twice the one before, and up to half a second longer by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// A server that asks for more patience than this gets none.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(2);

/// Clients for the process, so that connections are shared: one may connect to any address, and uses the proxies of
/// the environment; the other connects to public addresses alone, and to the very ones that were checked.
static ANYWHERE: LazyLock<Result<Client>> = LazyLock::new(|| build(client()));
static PUBLIC: LazyLock<Result<Client>> = LazyLock::new(|| build(public_client(look_up)));

fn client() -> reqwest::ClientBuilder {
    let mut headers = HeaderMap::new();
    // a range of what is compressed on the way would be another range
    headers.insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
    Client::builder()
        .user_agent(concat!("semsql/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        // redirects and retries are followed here, where they are checked and counted
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
}

/// A proxy would look names up itself, so this client uses none.
fn public_client<L: LookUp>(look_up: L) -> reqwest::ClientBuilder {
    client().no_proxy().dns_resolver(Arc::new(PublicOnly(look_up)))
}

/// Fails only where TLS cannot start.
fn build(builder: reqwest::ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| Error::Query(format!("cannot start the HTTP client: {error}")))
}

type LookedUp = futures::future::BoxFuture<'static, std::io::Result<Vec<SocketAddr>>>;
trait LookUp: Fn(String) -> LookedUp + Send + Sync + 'static {}
impl<L: Fn(String) -> LookedUp + Send + Sync + 'static> LookUp for L {}

fn look_up(name: String) -> LookedUp {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

/// Gives the client the public addresses of a name. It connects to no others: what is checked is what is used, whatever
/// the name resolves to a moment later.
struct PublicOnly<L>(L);

impl<L: LookUp> Resolve for PublicOnly<L> {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let looked_up = (self.0)(name.clone());
        Box::pin(async move {
            let mut addresses = looked_up.await?;
            addresses.retain(|address| is_public(address.ip()));
            if addresses.is_empty() {
                return Err(not_public(&name).into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Why a request failed, in words that follow `cannot read '...': `.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// The answer, where there was one.
    pub(super) status: Option<StatusCode>,
    retry: Retry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Never,
    Later,
    After(Duration),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl StdError for Failure {}

impl Failure {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), status: None, retry: Retry::Never }
    }

    fn refused(error: &Error) -> Self {
        Self::new(error.to_string())
    }

    /// Of a request that got no answer, or not all of it.
    fn broken(error: reqwest::Error) -> Self {
        // the error's own text would repeat the URL
        let error = error.without_url();
        if let Some(refused) = causes(&error).find_map(|cause| cause.downcast_ref::<Error>()) {
            return Self::refused(refused);
        }
        let reason = causes(&error).last().map(ToString::to_string).unwrap_or_default();
        Self { reason, status: None, retry: if error.is_builder() { Retry::Never } else { Retry::Later } }
    }

    fn answered(response: &Response, hub: Option<&Hub>) -> Self {
        let (status, headers) = (response.status(), response.headers());
        let temporary = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        let retry = match retry_after(headers) {
            _ if !temporary => Retry::Never,
            None => Retry::Later,
            Some(pause) if pause <= LONGEST_RETRY_AFTER => Retry::After(pause),
            Some(_) => Retry::Never,
        };
        let reason = hub
            .and_then(|hub| hub.reason(status, headers))
            .unwrap_or_else(|| format!("the server answered {status}"));
        Self { reason, status: Some(status), retry }
    }

    /// Whether another request may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        self.retry != Retry::Never
    }

    /// The pause before another try, if one is worth it, given the pause that is next in turn.
    fn pause(&self, next: Option<Duration>) -> Option<Duration> {
        match self.retry {
            Retry::Never => None,
            Retry::Later => next,
            Retry::After(pause) => next.map(|_| pause),
        }
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => (DateTime::parse_from_rfc2822(value).ok()?.to_utc() - Utc::now()).to_std().ok(),
    }
}

/// The answer of the last hop.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    /// The identity of the content, as a hub that redirects gives it.
    pub(super) linked_etag: Option<String>,
}

/// How requests of one query are made.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) options: Arc<FileOptions>,
    /// Set where the requests are those of a hub: it has been allowed, and its token goes to it and nowhere else.
    pub(super) hub: Option<Arc<Hub>>,
    /// Tries after the first.
    pub(super) retries: Count,
}

impl Http {
    /// Which addresses `url` may have: who allows the hub allows its hosts, and a list may allow more.
    pub(super) fn reach(&self, url: &Url) -> Result<Reach> {
        let of_hub = self.hub.as_ref().and_then(|hub| hub.reach(url));
        match (of_hub, self.options.allow_hosts.reach(url)) {
            (Some(Reach::Anywhere), _) | (_, Ok(Reach::Anywhere)) => Ok(Reach::Anywhere),
            (Some(reach), _) => Ok(reach),
            (None, listed) => listed,
        }
    }

    /// Which client may ask `url`; the error says that none may.
    fn client(&self, url: &Url) -> Result<&'static Client> {
        let client = match self.reach(url)? {
            Reach::Anywhere => &ANYWHERE,
            Reach::Public => &PUBLIC,
        };
        client.as_ref().map_err(Clone::clone)
    }

    /// Asks once, and follows redirects, each of which is checked like the first URL. The answer is a success.
    ///
    /// `range` is that of the `Range` header.
    async fn ask(&self, url: &Url, range: Option<&str>) -> Result<Answer, Failure> {
        let mut url = url.clone();
        let mut linked_etag = None;
        for _ in 0..=MAX_REDIRECTS {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(Failure::new(format!("it redirects to a '{}' URL", url.scheme())));
            }
            let client = self.client(&url).map_err(|error| Failure::refused(&error))?;
            let mut request = client.get(url.clone());
            if let Some(range) = range {
                request = request.header(header::RANGE, format!("bytes={range}"));
            }
            if let Some(token) = self.hub.as_ref().and_then(|hub| hub.token_for(&url)) {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.map_err(Failure::broken)?;
            if let Some(etag) = response.headers().get("x-linked-etag") {
                linked_etag = etag.to_str().ok().map(ToOwned::to_owned);
            }
            let location = match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => response.headers().get(header::LOCATION),
                _ if response.status().is_success() => return Ok(Answer { response, linked_etag }),
                _ => None,
            };
            let Some(location) = location else {
                return Err(Failure::answered(&response, self.hub.as_deref()));
            };
            let next = location.to_str().ok().and_then(|location| url.join(location).ok());
            url = next.ok_or_else(|| Failure::new("it redirects to what is not a URL"))?;
        }
        Err(Failure::new(format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    /// Makes `once` again where it fails for no fault of the request, with growing pauses.
    async fn retried<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        once: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(self.options.max_retries)
            .with_jitter();
        once.retry(pauses)
            .when(|failure: &Failure| failure.retry != Retry::Never)
            .adjust(Failure::pause)
            .notify(|_, _| self.retries.add(1))
            .await
    }

    /// The whole body, of at most `max_bytes`, within the time that a file may take; and the headers.
    pub(super) async fn fetch(&self, url: &Url, max_bytes: u64) -> Result<(HeaderMap, Vec<u8>), Failure> {
        let once = || async {
            let Answer { mut response, .. } = self.ask(url, None).await?;
            let headers = std::mem::take(response.headers_mut());
            // the header may lie: it is no reason to take memory
            check_size(response.content_length().unwrap_or_default(), max_bytes)?;
            let mut body = Vec::new();
            while let Some(part) = response.chunk().await.map_err(Failure::broken)? {
                check_size((body.len() + part.len()) as u64, max_bytes)?;
                body.extend_from_slice(&part);
            }
            Ok((headers, body))
        };
        self.in_time(self.retried(once)).await
    }

    /// What `tries` makes within the time that a file may take.
    async fn in_time<T>(&self, tries: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let timeout = self.options.timeout;
        match tokio::time::timeout(timeout, tries).await {
            Ok(made) => made,
            Err(_) => Err(Failure::new(format!(
                "it took longer than {} s: semantic.file_timeout is how long a file may take",
                timeout.as_secs()
            ))),
        }
    }

    /// The answer to a request for a range, whose body is still to be read: as fast as its reader wants to, so that only
    /// the time between two of its parts is bounded.
    pub(super) async fn open(&self, url: &Url, range: Option<&str>) -> Result<Answer, Failure> {
        self.in_time(self.retried(|| self.ask(url, range))).await
    }

    /// As [`Self::open`], with the body, which `read` makes of the answer.
    pub(super) async fn read<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        url: &Url,
        range: Option<&str>,
        read: impl Fn(Answer) -> F,
    ) -> Result<T, Failure> {
        self.in_time(self.retried(|| async { read(self.ask(url, range).await?).await })).await
    }
}

/// The parts of the body, in their order.
pub(super) fn body(response: Response) -> impl Stream<Item = Result<Bytes, Failure>> {
    futures::TryStreamExt::map_err(response.bytes_stream(), Failure::broken)
}

fn check_size(bytes: u64, max_bytes: u64) -> Result<(), Failure> {
    if bytes > max_bytes {
        return Err(Failure::new(super::too_large(max_bytes)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    /// A name that is public when it is looked up first, and then this machine.
    fn rebinding() -> impl LookUp {
        let looked_up = AtomicUsize::new(0);
        move |_| {
            let first = looked_up.fetch_add(1, Ordering::Relaxed) == 0;
            let address = if first { "1.1.1.1:0" } else { "127.0.0.1:0" };
            let address = address.parse().unwrap();
            Box::pin(async move { Ok(vec![address, "10.0.0.1:0".parse().unwrap()]) })
        }
    }

    #[tokio::test]
    async fn the_address_that_is_checked_is_the_one_that_is_used() {
        let resolver = PublicOnly(rebinding());
        let resolve = || resolver.resolve("rebinding.example".parse().unwrap());
        let addresses: Vec<_> = resolve().await.unwrap().collect();
        assert_eq!(addresses, ["1.1.1.1:0".parse().unwrap()]);
        let error = resolve().await.err().unwrap().to_string();
        assert!(
            error.contains("host 'rebinding.example' is not allowed: its address is not public"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn no_socket_opens_to_a_private_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asked = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&asked);
        let look_up = move |name: String| -> LookedUp {
            log.lock().unwrap().push(name);
            Box::pin(async { Ok(vec!["127.0.0.1:0".parse().unwrap()]) })
        };
        let client = build(public_client(look_up)).unwrap();
        let url = format!("http://private.example:{}/", listener.local_addr().unwrap().port());
        let failure = Failure::broken(client.get(url).send().await.unwrap_err());
        assert!(failure.reason.contains("'private.example' is not allowed"), "{failure:?}");
        assert_eq!(failure.retry, Retry::Never);
        assert_eq!(*asked.lock().unwrap(), ["private.example"]);
        let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(accepted.is_err(), "a socket was opened");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parsed = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(parsed("3"), Some(Duration::from_secs(3)));
        assert_eq!(parsed("-1"), None);
        assert_eq!(parsed("soon"), None);
        assert_eq!(parsed("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        let soon = (Utc::now() + Duration::from_mins(1)).to_rfc2822();
        let pause = parsed(&soon).unwrap();
        assert!(pause > Duration::from_secs(55) && pause <= Duration::from_mins(1), "{pause:?}");
    }
}
