//! What http(s) serves as an [`ObjectStore`] that can be read: the files of a site, or of a hub, which can be listed too.
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
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
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

    /// The pages of what is in a folder.
    fn entries(
        &self,
        prefix: Option<&Path>,
        recursive: bool,
    ) -> Result<impl Stream<Item = Result<(HubPath, Entry)>> + Send + 'static> {
        let Site::Hub(hub, kind) = &self.site else {
            return Err(self.cannot("list files: http(s) has no listing; name a file by its URL"));
        };
        let folder = hub_path(*kind, prefix.unwrap_or(&Path::default()))?;
        let first = hub::first_page(hub, &folder, recursive);
        let http = self.http.clone();
        let pages = stream::try_unfold(Some(first), move |page| {
            let (http, folder) = (http.clone(), folder.clone());
            async move {
                let Some(page) = page else { return Ok(None) };
                let listed = hub::list_page(&http, &page).await;
                let (entries, next) =
                    listed.map_err(|failure| failed("cannot list", &folder.to_string(), failure))?;
                let entries = entries.into_iter().map(move |entry| Ok((folder.clone(), entry)));
                Ok::<_, Error>(Some((stream::iter(entries), next)))
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
        let (size, range) = match content_range(headers) {
            Some(described) if answer.response.status() == StatusCode::PARTIAL_CONTENT => described,
            _ => match answer.response.content_length() {
                Some(size) => (size, 0..size),
                None => {
                    return Err(Failure::new("the server does not say how large it is; download it instead"));
                }
            },
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
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((size.parse().ok()?, first..last.checked_add(1)?))
}

/// The bytes of `wanted` in an answer that begins at `start`: a server may send more than it is asked for.
fn cut(
    response: Response,
    start: u64,
    wanted: Range<u64>,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let mut at = start;
    body(response)
        .map_ok(move |part| {
            let range = at..at + part.len() as u64;
            at = range.end;
            let (from, to) =
                (wanted.start.clamp(range.start, range.end), wanted.end.clamp(range.start, range.end));
            let index = |place: u64| usize::try_from(place - range.start).unwrap_or(part.len());
            part.slice(index(from)..index(to.max(from)))
        })
        .try_filter(|part| futures::future::ready(!part.is_empty()))
}

async fn collect(
    parts: impl Stream<Item = Result<Bytes, Failure>>,
    wanted: &Range<u64>,
) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let mut parts = std::pin::pin!(parts);
    while let Some(part) = parts.try_next().await? {
        bytes.extend_from_slice(&part);
    }
    if bytes.len() as u64 == wanted.end - wanted.start {
        return Ok(bytes.into());
    }
    Err(Failure::new(format!("the server sent {} of {} bytes", bytes.len(), wanted.end - wanted.start)))
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
        let wanted = |size: u64| match &options.range {
            _ if options.head => 0..0,
            None => 0..size,
            Some(GetRange::Bounded(range)) => range.start.min(size)..range.end.min(size),
            Some(GetRange::Offset(offset)) => (*offset).min(size)..size,
            Some(GetRange::Suffix(length)) => size.saturating_sub(*length)..size,
        };
        if let Some(GetRange::Bounded(range)) = &options.range
            && !options.head
            && range.end - range.start <= HELD_RANGE
        {
            let read = async |answer: Answer| {
                let described = Described::new(&answer)?;
                let wanted = wanted(described.size);
                let bytes =
                    collect(cut(answer.response, described.range.start, wanted.clone()), &wanted).await?;
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
        let range = wanted(described.size);
        let shown = file.shown.clone();
        let parts = cut(answer.response, described.range.start, range.clone())
            .map_err(move |failure| self::failed("cannot read", &shown, failure));
        let payload = if options.head { stream::empty().boxed() } else { parts.boxed() };
        result(described, range, payload)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.entries(prefix, true) {
            Ok(entries) => entries.try_filter_map(async |(folder, entry)| object(&folder, &entry)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = ListResult { common_prefixes: vec![], objects: vec![] };
        let mut entries = std::pin::pin!(self.entries(prefix, false)?);
        while let Some((folder, entry)) = entries.try_next().await? {
            if entry.is_folder() {
                listed.common_prefixes.push(Path::parse(folder.with_path(&entry.path).key())?);
            }
            listed.objects.extend(object(&folder, &entry)?);
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

/// An entry as an object of the store, if it is a file.
fn object(folder: &HubPath, entry: &Entry) -> Result<Option<ObjectMeta>> {
    if !entry.is_file() {
        return Ok(None);
    }
    let e_tag = entry.etag();
    Ok(Some(ObjectMeta {
        location: Path::parse(folder.with_path(&entry.path).key())?,
        last_modified: e_tag.as_deref().map_or(DateTime::UNIX_EPOCH, stand_in),
        size: entry.size,
        e_tag,
        version: None,
    }))
}

#[cfg(test)]
mod tests {
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
    }
}
