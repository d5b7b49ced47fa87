//! What http(s) serves as an [`ObjectStore`] that can be read: the files of a site, or of a hub, which can be listed too.
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, coalesce_ranges,
};
use reqwest::header::{self, HeaderMap};
use reqwest::{Response, StatusCode};
use url::Url;

use super::failure::HTTP;
use super::http::{Answer, Failure, Http, body};
use super::hub::{self, Entry, Hub, HubPath, Kind};
use super::location::without_secrets;

/// A range up to this size is read before it is handed on, and read again where the connection breaks.
const HELD_RANGE: u64 = 8 << 20;

#[derive(Debug)]
pub(super) struct HttpStore {
    site: Site,
    http: Http,
}

#[derive(Debug)]
enum Site {
    /// scheme, host and port
    Web(Url),
    Hub(Arc<Hub>, Kind),
}

/// A file of a store: where it is, and what it is called.
struct File {
    url: Url,
    shown: String,
}

impl HttpStore {
    pub(super) fn web(origin: Url, http: Http) -> Self {
        Self { site: Site::Web(origin), http }
    }

    pub(super) fn hub(hub: Arc<Hub>, kind: Kind, http: Http) -> Self {
        Self { http: Http { hub: Some(Arc::clone(&hub)), ..http }, site: Site::Hub(hub, kind) }
    }

    fn file(&self, location: &Path) -> Result<File> {
        match &self.site {
            Site::Web(origin) => {
                let mut url = origin.clone();
                if let Ok(mut path) = url.path_segments_mut() {
                    path.clear().extend(location.parts().map(|part| part.as_ref().to_owned()));
                }
                Ok(File { shown: without_secrets(&url), url })
            }
            Site::Hub(hub, kind) => {
                let path = hub_path(*kind, location)?;
                Ok(File { url: hub.file_url(&path), shown: path.to_string() })
            }
        }
    }

    /// What is in a folder, each entry with the repository as `prefix` spells it: who lists expects keys that begin
    /// with what was asked for.
    fn entries(
        &self,
        prefix: Option<&Path>,
        recursive: bool,
    ) -> Result<impl Stream<Item = Result<(Arc<str>, Entry)>> + Send + 'static> {
        let Site::Hub(hub, kind) = &self.site else {
            return Err(self.cannot("list files: http(s) has no listing; name a file by its URL"));
        };
        let prefix = prefix.cloned().unwrap_or_default();
        let folder = hub_path(*kind, &prefix)?;
        let repository = prefix.as_ref().strip_suffix(folder.path.as_str()).unwrap_or(prefix.as_ref());
        let repository: Arc<str> = repository.trim_end_matches('/').into();
        let first = hub::first_page(hub, &folder, recursive);
        let http = self.http.clone();
        let pages = stream::try_unfold((Some(first), HashSet::new()), move |(page, mut listed)| {
            let (http, folder, repository) = (http.clone(), folder.clone(), Arc::clone(&repository));
            async move {
                let Some(page) = page else { return Ok(None) };
                let failed = |failure| failed("cannot list", &folder.to_string(), failure);
                let (entries, next) = hub::list_page(&http, &page).await.map_err(failed)?;
                listed.insert(page);
                if next.as_ref().is_some_and(|next| listed.contains(next)) {
                    let reason = "its listing does not end: a page of it is listed twice";
                    return Err(failed(Failure::new(reason)));
                }
                let entries = entries.into_iter().map(move |entry| Ok((Arc::clone(&repository), entry)));
                Ok::<_, Error>(Some((stream::iter(entries), (next, listed))))
            }
        });
        Ok(pages.try_flatten())
    }

    fn cannot(&self, what: &str) -> Error {
        let source = format!("{self} cannot {what}").into();
        Error::NotSupported { source }
    }

    fn cannot_write(&self) -> Error {
        self.cannot("be written to; write to a local file or to an object store")
    }
}

impl fmt::Display for HttpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Site::Web(origin) => f.write_str(without_secrets(origin).trim_end_matches('/')),
            Site::Hub(_, kind) => write!(f, "hf://{}", kind.name()),
        }
    }
}

fn hub_path(kind: Kind, location: &Path) -> Result<HubPath> {
    HubPath::in_kind(kind, location.as_ref()).ok_or_else(|| Error::NotFound {
        path: format!("hf://{}/{location}", kind.name()),
        source: "it names no repository: write OWNER/NAME/path".into(),
    })
}

fn failed(what: &str, shown: &str, failure: Failure) -> Error {
    if failure.status == Some(StatusCode::NOT_FOUND) {
        return Error::NotFound { path: shown.to_owned(), source: failure.into() };
    }
    Error::Generic { store: HTTP, source: format!("{what} '{shown}': {}", failure.reason).into() }
}

/// What an answer says about the file and about the bytes that it carries.
struct Described {
    size: u64,
    range: Range<u64>,
    etag: Option<String>,
    last_modified: DateTime<Utc>,
}

impl Described {
    fn new(answer: &Answer) -> Result<Self, Failure> {
        let headers = answer.response.headers();
        let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let etag = answer.linked_etag.as_deref().or_else(|| text(header::ETAG));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let date = text(header::LAST_MODIFIED).filter(|_| answer.linked_etag.is_none());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let described = if answer.response.status() == StatusCode::PARTIAL_CONTENT {
            // bytes of which nobody knows where they belong are none
            content_range(headers)
        } else {
            answer.response.content_length().map(|size| (size, 0..size))
        };
        let Some((size, range)) = described else {
            return Err(Failure::new(
                "the server does not say how large it is, or which part of it this is; download it instead",
            ));
        };
        let last_modified = match (date, &etag) {
            (Some(date), _) => date.to_utc(),
            (None, Some(etag)) => stand_in(etag),
            (None, None) => DateTime::UNIX_EPOCH,
        };
        Ok(Self { size, range, etag, last_modified })
    }

    fn meta(self, location: &Path) -> ObjectMeta {
        ObjectMeta {
            location: location.clone(),
            last_modified: self.last_modified,
            size: self.size,
            e_tag: self.etag,
            version: None,
        }
    }
}

/// DataFusion takes a file for unchanged by its size and time. Where the server tells no time, one that changes with
/// the identity of the content stands in. It is before 1970.
fn stand_in(etag: &str) -> DateTime<Utc> {
    let hash = blake3::hash(etag.as_bytes());
    let [a, b, c, d, ..] = hash.as_bytes();
    DateTime::UNIX_EPOCH - TimeDelta::seconds(i64::from(u32::from_le_bytes([*a, *b, *c, *d])))
}

/// Size and range of `Content-Range: bytes 0-9/100`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Range<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, size) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (size, first..last + 1))
}

/// The bytes of `wanted` in an answer that carries those of `sent`, all of them or an error. A server may send more than
/// it is asked for: what comes after is not waited for.
fn cut(
    response: Response,
    sent: Range<u64>,
    wanted: Range<u64>,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    stream::try_unfold((body(response).boxed(), sent.start), move |(mut parts, mut at)| {
        let wanted = wanted.clone();
        async move {
            if !wanted.is_empty() && wanted.start < sent.start {
                return Err(missing(wanted.start, &wanted));
            }
            while at < wanted.end {
                let Some(part) = parts.try_next().await? else { return Err(missing(at, &wanted)) };
                let start = at;
                at = start.saturating_add(part.len() as u64);
                let index =
                    |place: u64| usize::try_from(place.clamp(start, at) - start).unwrap_or(part.len());
                let part = part.slice(index(wanted.start)..index(wanted.end));
                if !part.is_empty() {
                    return Ok(Some((part, (parts, at))));
                }
            }
            Ok(None)
        }
    })
}

/// Of an answer that has no byte at `at`.
fn missing(at: u64, wanted: &Range<u64>) -> Failure {
    let Range { start, end } = wanted;
    Failure::new(format!("the server did not send byte {at} of the bytes from {start} to {end}"))
}

async fn collect(parts: impl Stream<Item = Result<Bytes, Failure>>) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let mut parts = std::pin::pin!(parts);
    while let Some(part) = parts.try_next().await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.into())
}

#[async_trait]
impl ObjectStore for HttpStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let file = self.file(location)?;
        let failed = |failure| failed("cannot read", &file.shown, failure);
        let asked = match (&options.range, options.head) {
            // asks for one byte: links that are signed for GET refuse HEAD
            (_, true) => Some("0-0".to_owned()),
            (Some(GetRange::Bounded(range)), _) if range.is_empty() => {
                return Err(failed(Failure::new("the range is empty")));
            }
            (Some(GetRange::Bounded(range)), _) => Some(format!("{}-{}", range.start, range.end - 1)),
            (Some(GetRange::Offset(offset)), _) => Some(format!("{offset}-")),
            (Some(GetRange::Suffix(length)), _) => Some(format!("-{length}")),
            (None, _) => None,
        };
        let result = |described: Described, range: Range<u64>, payload| -> Result<GetResult> {
            let meta = described.meta(location);
            options.check_preconditions(&meta)?;
            Ok(GetResult {
                payload: GetResultPayload::Stream(payload),
                meta,
                range,
                attributes: Attributes::default(),
            })
        };
        // a range may end behind the file, but not begin there
        let wanted = |size: u64| match &options.range {
            _ if options.head => Ok(0..0),
            None => Ok(0..size),
            Some(range) => range.as_range(size).map_err(|error| Failure::new(error.to_string())),
        };
        if let Some(GetRange::Bounded(range)) = &options.range
            && !options.head
            && range.end - range.start <= HELD_RANGE
        {
            let read = async |answer: Answer| {
                let described = Described::new(&answer)?;
                let wanted = wanted(described.size)?;
                let bytes = collect(cut(answer.response, described.range.clone(), wanted.clone())).await?;
                Ok((described, wanted, bytes))
            };
            let read = self.http.read(&file.url, asked.as_deref(), read).await;
            let (described, range, bytes) = read.map_err(failed)?;
            return result(described, range, stream::iter([Ok(bytes)]).boxed());
        }
        let answer = match self.http.open(&file.url, asked.as_deref()).await {
            // an empty file has no first byte
            Err(failure) if options.head && failure.status == Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
                self.http.open(&file.url, None).await
            }
            answer => answer,
        };
        let answer = answer.map_err(failed)?;
        let described = Described::new(&answer).map_err(failed)?;
        let range = wanted(described.size).map_err(failed)?;
        let shown = file.shown.clone();
        let parts = cut(answer.response, described.range.clone(), range.clone())
            .map_err(move |failure| self::failed("cannot read", &shown, failure));
        let payload = if options.head { stream::empty().boxed() } else { parts.boxed() };
        result(described, range, payload)
    }

    /// A file that has become shorter than it was when the ranges were chosen is an error.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let whole = async |range: Range<u64>| {
            let bytes = self.get_range(location, range.clone()).await?;
            if bytes.len() as u64 == range.end - range.start {
                return Ok(bytes);
            }
            let failure = Failure::new("it has become shorter while it was read");
            Err(failed("cannot read", &self.file(location)?.shown, failure))
        };
        coalesce_ranges(ranges, whole, OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.entries(prefix, true) {
            Ok(entries) => {
                entries.try_filter_map(async |(repository, entry)| object(&repository, &entry)).boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = ListResult { common_prefixes: vec![], objects: vec![] };
        let mut entries = std::pin::pin!(self.entries(prefix, false)?);
        while let Some((repository, entry)) = entries.try_next().await? {
            if entry.is_folder() {
                listed.common_prefixes.push(key(&repository, &entry)?);
            }
            listed.objects.extend(object(&repository, &entry)?);
        }
        Ok(listed)
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(self.cannot_write())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(self.cannot_write())
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::iter([Err(self.cannot_write())]).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(self.cannot_write())
    }
}

fn key(repository: &str, entry: &Entry) -> Result<Path> {
    Ok(Path::parse(format!("{repository}/{}", entry.path))?)
}

/// An entry as an object of the store, if it is a file.
fn object(repository: &str, entry: &Entry) -> Result<Option<ObjectMeta>> {
    if !entry.is_file() {
        return Ok(None);
    }
    let e_tag = entry.etag();
    Ok(Some(ObjectMeta {
        location: key(repository, entry)?,
        last_modified: e_tag.as_deref().map_or(DateTime::UNIX_EPOCH, stand_in),
        size: entry.size,
        e_tag,
        version: None,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use datafusion::physical_plan::metrics::Count;

    use super::*;

    #[test]
    fn ranges_of_answers() {
        let parsed = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, value.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(parsed("bytes 0-9/100"), Some((100, 0..10)));
        for wrong in
            ["bytes */0", "bytes 9-0/100", "bytes 0-9/*", "bytes 0-18446744073709551615/9", "0-9/100", ""]
        {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        for wrong in ["bytes 18446744073709551600-18446744073709551610/5", "bytes 0-9/9"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    /// A store whose server gives every request this answer, and keeps the connection open.
    fn store(head: &'static str, body: &'static [u8]) -> HttpStore {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut open = vec![];
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
                let _ = connection.read(&mut [0; 4096]);
                // the client may have gone
                let _ = connection.write_all(&[head.as_bytes(), body].concat());
                open.push(connection);
            }
        });
        let options = Arc::new(super::super::FileOptions::unrestricted());
        HttpStore::web(Url::parse(&origin).unwrap(), Http { options, hub: None, retries: Count::new() })
    }

    #[tokio::test]
    async fn bytes_are_those_that_are_wanted_or_an_error() {
        let path = Path::from("x");
        // more than asked for, which is not waited for
        let whole = store("200 OK\r\ncontent-length: 1000000", b"0123456789");
        let read = async {
            assert_eq!(whole.get_range(&path, 2..5).await.unwrap(), "234".as_bytes());
            let large = GetOptions { range: Some((4..9_000_009).into()), ..GetOptions::default() };
            let mut parts = whole.get_opts(&path, large).await.unwrap().into_stream();
            assert_eq!(parts.try_next().await.unwrap().unwrap(), "456789".as_bytes());
        };
        tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();

        // which part it is, is not said, or is not true
        for head in [
            "206 Partial Content\r\ncontent-length: 10",
            "206 Partial Content\r\ncontent-length: 10\r\ncontent-range: bytes 100-109/*",
            "206 Partial Content\r\ncontent-length: 10\r\ncontent-range: bytes 18446744073709551600-18446744073709551610/5",
        ] {
            let store = store(head, b"0123456789");
            let error = store.get_range(&path, 100..110).await.unwrap_err().to_string();
            assert!(error.contains("does not say how large it is, or which part"), "{error}");
        }
        // another part than was asked for
        let other = store(
            "206 Partial Content\r\ncontent-length: 10\r\ncontent-range: bytes 100-109/20000000",
            b"0123456789",
        );
        for range in [(50..60).into(), (105..9_000_105).into(), GetRange::Offset(90), GetRange::Offset(105)] {
            let options = GetOptions { range: Some(range), ..GetOptions::default() };
            let read = async { other.get_opts(&path, options).await?.bytes().await };
            let error = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap_err();
            assert!(error.to_string().contains("the server did not send byte"), "{error}");
        }
        assert_eq!(other.get_range(&path, 103..105).await.unwrap(), "34".as_bytes());
    }

    #[tokio::test]
    async fn ranges_behind_the_end_are_errors() {
        let path = Path::from("x");
        let small = store("200 OK\r\ncontent-length: 10", b"0123456789");
        // the end may be cut off
        assert_eq!(small.get_range(&path, 8..20).await.unwrap(), "89".as_bytes());
        assert!(small.get_range(&path, 10..20).await.is_err());
        assert!(
            small.get_opts(&path, GetOptions::new().with_range(Some(GetRange::Offset(11)))).await.is_err()
        );
        // ranges that were chosen when it was larger
        let error = small.get_ranges(&path, &[0..5, 15..20]).await.unwrap_err().to_string();
        assert!(error.contains("it has become shorter while it was read"), "{error}");
        assert_eq!(
            small.get_ranges(&path, &[0..2, 8..10]).await.unwrap(),
            ["01".as_bytes(), "89".as_bytes()]
        );
    }
}
