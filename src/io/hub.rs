//! The Hugging Face hub: `hf://datasets/OWNER/NAME[@REVISION]/path`.
//!
//! Two of its routes are used: `/api/datasets/OWNER/NAME/tree/REVISION/path` lists a folder, and
//! `/datasets/OWNER/NAME/resolve/REVISION/path` is a file, or redirects to it.
use std::fmt;

use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};
use serde::Deserialize;
use url::Url;

use super::access::Reach;
use super::http::{Failure, Http};
use super::model_repository::{FileHash, RepositoryFile};
use crate::error::{Error, Result, query_err};

const ENDPOINT: &str = "https://huggingface.co";
/// The domains from which the hub serves content.
const CONTENT_DOMAINS: [&str; 2] = [".huggingface.co", ".hf.co"];
/// A page of a listing has at most 1,000 entries.
const MAX_PAGE_BYTES: u64 = 16 << 20;

/// Where the hub is, and who asks it.
pub(super) struct Hub {
    endpoint: Url,
    token: Option<String>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}

impl Hub {
    /// The hub of `HF_ENDPOINT`, else huggingface.co, with the token of `HF_TOKEN`, if it is set.
    pub(super) fn from_environment() -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let token = variable("HF_TOKEN").map(|token| token.trim().to_owned());
        match Url::parse(&endpoint) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Self { endpoint: url, token }),
            _ => query_err!("HF_ENDPOINT is not the URL of a hub: write it like {ENDPOINT}"),
        }
    }

    /// The token, if `url` is the hub's own.
    pub(super) fn token_for(&self, url: &Url) -> Option<&str> {
        self.token.as_deref().filter(|_| url.origin() == self.endpoint.origin())
    }

    /// Who allows the hub allows the hosts of its content. `None` where the URL is neither's.
    pub(super) fn reach(&self, url: &Url) -> Option<Reach> {
        if url.origin() == self.endpoint.origin() {
            return Some(Reach::Anywhere);
        }
        let host = url.host_str().filter(|_| url.scheme() == "https" && url.username().is_empty())?;
        CONTENT_DOMAINS.iter().any(|domain| host.ends_with(domain)).then_some(Reach::Public)
    }

    /// What an answer that is no success means, where the hub says more than its number does.
    pub(super) fn reason(&self, status: StatusCode, headers: &HeaderMap) -> Option<String> {
        let token = if self.token.is_some() { "that of HF_TOKEN" } else { "none, HF_TOKEN is not set" };
        let code = headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        Some(match (code, status) {
            ("GatedRepo", _) => format!(
                "it asks for consent to its terms: give it on its page, and set HF_TOKEN to a token of yours (now {token})"
            ),
            ("RevisionNotFound", _) => "the repository has no such revision".to_owned(),
            ("EntryNotFound", _) => "the repository has no such file or folder at this revision".to_owned(),
            // the hub does not tell a private repository from one that is not there
            ("RepoNotFound", _) | (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                format!("there is no such repository, or the token ({token}) may not read it")
            }
            _ => return None,
        })
    }

    /// The endpoint with `segments`, each escaped, behind its path.
    fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    pub(super) fn file_url(&self, file: &HubPath) -> Url {
        let kind = matches!(file.kind, Kind::Datasets).then_some("datasets");
        let repository = [file.owner.as_str(), &file.name, "resolve", &file.revision];
        self.url(kind.into_iter().chain(repository).chain(file.path.split('/')))
    }

    /// What the hub says about a repository at a revision.
    pub(super) fn revision_url(&self, at: &HubPath) -> Url {
        self.url(["api", at.kind.name(), &at.owner, &at.name, "revision", &at.revision])
    }

    fn tree_url(&self, folder: &HubPath, recursive: bool) -> Url {
        let repository = ["api", folder.kind.name(), &folder.owner, &folder.name, "tree", &folder.revision];
        let path = folder.path.split('/').filter(|part| !part.is_empty());
        let mut url = self.url(repository.into_iter().chain(path));
        if recursive {
            url.set_query(Some("recursive=true"));
        }
        url
    }
}

/// One page of what is in a folder, and where the next one is.
pub(super) async fn list_page(http: &Http, url: &Url) -> Result<(Vec<Entry>, Option<Url>), Failure> {
    let (headers, body) = http.fetch(url, MAX_PAGE_BYTES).await?;
    let entries = serde_json::from_slice(&body)
        .map_err(|_| Failure::new("the hub's listing of it cannot be read: is HF_ENDPOINT a hub?"))?;
    let mut links = headers.get_all(header::LINK).iter().filter_map(|link| link.to_str().ok());
    let next = links.find_map(next_link).and_then(|link| url.join(link).ok());
    Ok((entries, next))
}

/// The URL of the first page of a listing.
pub(super) fn first_page(hub: &Hub, folder: &HubPath, recursive: bool) -> Url {
    hub.tree_url(folder, recursive)
}

/// The URL of `<URL>; rel="next"` (RFC 8288).
fn next_link(header: &str) -> Option<&str> {
    let links = header.split(", <").map(|link| link.trim_start_matches('<'));
    links.filter_map(|link| link.split_once('>')).find_map(|(url, parameters)| {
        let next = parameters.split(';').any(|parameter| {
            parameter.trim().strip_prefix("rel=").is_some_and(|value| value.trim_matches('"') == "next")
        });
        next.then_some(url)
    })
}

/// What is in a folder, as the hub says it.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    kind: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    oid: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    #[serde(default)]
    oid: Option<String>,
}

impl Entry {
    pub(super) fn is_file(&self) -> bool {
        self.kind == "file"
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind == "directory"
    }

    /// The file of a repository; `None` where the hub does not say what its content is.
    pub(super) fn into_file(self) -> Option<RepositoryFile> {
        let hash = match self.lfs.and_then(|lfs| lfs.oid) {
            Some(sha256) => FileHash::Sha256(sha256),
            None => FileHash::Git(self.oid?),
        };
        Some(RepositoryFile { path: self.path, size: self.size, hash })
    }

    /// The identity of the content: the one that the file's own route gives too.
    pub(super) fn etag(&self) -> Option<String> {
        self.lfs.as_ref().and_then(|lfs| lfs.oid.clone()).or_else(|| self.oid.clone())
    }
}

/// What kind of repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Datasets,
    Models,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "datasets" => Some(Self::Datasets),
            "models" => Some(Self::Models),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Datasets => "datasets",
            Self::Models => "models",
        }
    }
}

/// A file or a folder of a repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubPath {
    pub(super) kind: Kind,
    owner: String,
    name: String,
    /// A branch, a tag or a commit.
    revision: String,
    /// Empty for all of the repository.
    pub(super) path: String,
}

impl HubPath {
    /// Reads what follows `hf://`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(kind, rest)| Self::in_kind(Kind::of(kind)?, rest));
        parsed.ok_or_else(|| {
            Error::Data(format!(
                "'hf://{text}' names no repository of the hub: write hf://datasets/OWNER/NAME/path or \
                 hf://models/OWNER/NAME/path, with NAME@REVISION for another revision than main"
            ))
        })
    }

    /// Reads `OWNER/NAME[@REVISION][/path]`. A slash in a revision is written `%2F`, but in `refs/convert/NAME` and
    /// `refs/pr/NUMBER`; `~parquet` is the branch of converted files, `refs/convert/parquet`.
    pub(super) fn in_kind(kind: Kind, text: &str) -> Option<Self> {
        let (owner, rest) = text.split_once('/')?;
        let (repository, mut path) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, revision) = repository.split_once('@').unwrap_or((repository, "main"));
        let mut revision = revision.replace("%2F", "/").replace("%2f", "/");
        if let Some(branch) = revision.strip_prefix('~') {
            revision = format!("refs/convert/{branch}");
        } else if revision == "refs" {
            let mut parts = path.splitn(3, '/');
            revision = format!("refs/{}/{}", parts.next()?, parts.next()?);
            path = parts.next().unwrap_or_default();
        }
        let complete = ![owner, name, &revision].iter().any(|part| matches!(*part, "" | "." | ".."));
        let path = path.trim_end_matches('/');
        let plain = path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        (complete && plain).then(|| Self {
            kind,
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision,
            path: path.to_owned(),
        })
    }

    /// The URL of the store that it is in.
    pub(super) fn root(&self) -> Result<Url> {
        let text = format!("hf://{}", self.kind.name());
        Url::parse(&text).map_err(|error| Error::Query(format!("'{text}' is not a URL: {error}")))
    }

    /// The same repository and revision with another path.
    pub(super) fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// The same repository and path at another revision.
    pub(super) fn with_revision(&self, revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..self.clone() }
    }

    /// `OWNER/NAME[@REVISION][/path]`
    pub(super) fn key(&self) -> String {
        let revision = match self.revision.as_str() {
            "main" => String::new(),
            revision => format!("@{}", revision.replace('/', "%2F")),
        };
        let slash = if self.path.is_empty() { "" } else { "/" };
        format!("{}/{}{revision}{slash}{}", self.owner, self.name, self.path)
    }
}

impl fmt::Display for HubPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}/{}", self.kind.name(), self.key())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::physical_plan::metrics::Count;

    use super::super::FileOptions;
    use super::*;

    fn hub(endpoint: &str) -> Hub {
        Hub { endpoint: Url::parse(endpoint).unwrap(), token: Some("SECRET".to_owned()) }
    }

    #[test]
    fn paths_and_their_routes() {
        for (text, shown, file, tree) in [
            (
                "datasets/o/n/a b/c.png",
                "hf://datasets/o/n/a b/c.png",
                "datasets/o/n/resolve/main/a%20b/c.png",
                "api/datasets/o/n/tree/main/a%20b/c.png",
            ),
            (
                "models/o/n@v1/config.json",
                "hf://models/o/n@v1/config.json",
                "o/n/resolve/v1/config.json",
                "api/models/o/n/tree/v1/config.json",
            ),
            (
                "datasets/o/n@refs%2Fconvert%2Fparquet/x",
                "hf://datasets/o/n@refs%2Fconvert%2Fparquet/x",
                "datasets/o/n/resolve/refs%2Fconvert%2Fparquet/x",
                "api/datasets/o/n/tree/refs%2Fconvert%2Fparquet/x",
            ),
            (
                "datasets/o/n@~parquet/x",
                "hf://datasets/o/n@refs%2Fconvert%2Fparquet/x",
                "datasets/o/n/resolve/refs%2Fconvert%2Fparquet/x",
                "api/datasets/o/n/tree/refs%2Fconvert%2Fparquet/x",
            ),
            (
                "datasets/o/n@refs/pr/7/d/x?y#z%",
                "hf://datasets/o/n@refs%2Fpr%2F7/d/x?y#z%",
                "datasets/o/n/resolve/refs%2Fpr%2F7/d/x%3Fy%23z%25",
                "api/datasets/o/n/tree/refs%2Fpr%2F7/d/x%3Fy%23z%25",
            ),
        ] {
            let path = HubPath::parse(text).unwrap();
            assert_eq!(path.to_string(), shown);
            assert_eq!(HubPath::parse(shown.strip_prefix("hf://").unwrap()).unwrap(), path);
            let hub = hub("https://hub.example/base/");
            assert_eq!(hub.file_url(&path).as_str(), format!("https://hub.example/base/{file}"));
            assert_eq!(
                hub.tree_url(&path, true).as_str(),
                format!("https://hub.example/base/{tree}?recursive=true")
            );
        }
        for text in [
            "",
            "datasets",
            "datasets/o",
            "o/n/x",
            "spaces/o/n/x",
            "datasets/../n/x",
            "datasets/o/n/../x",
            "datasets/o/@/x",
        ] {
            assert!(HubPath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_token_is_for_the_hub_alone() {
        let hub = hub("https://huggingface.co");
        for (url, expected) in [
            ("https://huggingface.co/api", Some(Reach::Anywhere)),
            ("https://cdn-lfs.huggingface.co/x", Some(Reach::Public)),
            ("https://cas-bridge.xethub.hf.co/x", Some(Reach::Public)),
            ("http://huggingface.co/api", None),
            ("https://huggingface.co:8443/api", None),
            ("https://evilhf.co/x", None),
            ("https://hf.co.evil.net/x", None),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(hub.reach(&url), expected, "{url}");
            assert_eq!(hub.token_for(&url).is_some(), expected == Some(Reach::Anywhere), "{url}");
        }
        assert!(!format!("{hub:?}").contains("SECRET"));
    }

    #[test]
    fn the_hosts_of_its_content_are_reached_as_the_hub_or_the_list_allows() {
        let url = Url::parse("https://cdn-lfs.huggingface.co/x").unwrap();
        for (allowed, expected) in [
            ("hf://datasets", Reach::Public),
            ("hf://datasets, *", Reach::Public),
            ("hf://datasets, cdn-lfs.huggingface.co", Reach::Anywhere),
            ("all", Reach::Anywhere),
        ] {
            let options = FileOptions { allow_hosts: allowed.parse().unwrap(), ..FileOptions::default() };
            let hub = Some(Arc::new(hub("https://huggingface.co")));
            let http = Http { options: Arc::new(options), hub, retries: Count::new() };
            assert_eq!(http.reach(&url), Ok(expected), "{allowed}");
        }
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let next = "https://huggingface.co/api/x?cursor=a%3D";
        for header in [
            format!("<{next}>; rel=\"next\""),
            format!("<https://x/first>; rel=\"first\", <{next}>; rel=\"next\""),
            format!("<{next}>; title=x; rel=next"),
        ] {
            assert_eq!(next_link(&header), Some(next), "{header}");
        }
        assert_eq!(next_link("<https://x>; rel=\"prev\""), None);
    }
}
