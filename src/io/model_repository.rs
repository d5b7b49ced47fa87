//! A model's repository at the hub: its commits, the files of one, and their content.
use std::sync::Arc;

use datafusion::physical_plan::metrics::Count;
use futures::TryStreamExt;
use reqwest::StatusCode;
use reqwest::header;
use serde::Deserialize;

use super::FileOptions;
use super::http::{Answer, Failure, Http, body};
use super::hub::{Entry, Hub, HubPath, Kind, first_page, list_page};
use crate::error::{Error, Result, data_err};

/// What the hub says about a repository is no longer than this.
const MAX_DESCRIPTION_BYTES: u64 = 16 << 20;
/// A repository with more files than these pages hold is no model.
const MAX_PAGES: usize = 20;

/// The models of the hub as an entry of `semantic.allow_hosts`.
pub(crate) const MODELS_OF_HUB: &str = "hf://models";

/// A repository of models, at a revision.
#[derive(Debug)]
pub(crate) struct ModelRepository {
    hub: Arc<Hub>,
    http: Http,
    at: HubPath,
}

/// A state of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The hash by which git knows it.
    pub(crate) id: String,
    /// As the repository's card names it: `apache-2.0`.
    pub(crate) licence: Option<String>,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepositoryFile {
    /// With `/` between its parts, relative to the repository.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) hash: FileHash,
}

/// How the hub names the content of a file, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileHash {
    /// Of a file in large file storage.
    Sha256(String),
    /// Of another: SHA-1 of `blob SIZE`, a zero byte and the content.
    Git(String),
}

/// `/api/models/OWNER/NAME/revision/REVISION`
#[derive(Debug, Deserialize)]
struct Description {
    sha: String,
    #[serde(default, rename = "cardData")]
    card: Option<Card>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Card {
    /// A name, or a list of them.
    license: Option<serde_json::Value>,
}

impl Description {
    fn licence(&self) -> Option<String> {
        let of_card = self.card.as_ref().and_then(|card| match card.license.as_ref()? {
            serde_json::Value::String(name) => Some(name.clone()),
            serde_json::Value::Array(names) => {
                Some(names.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(", "))
            }
            _ => None,
        });
        of_card.or_else(|| self.tags.iter().find_map(|tag| tag.strip_prefix("license:")).map(str::to_owned))
    }
}

/// Whether the options allow models to be fetched from the hub; an error says that they do not.
pub(crate) fn check_allowed(options: &FileOptions) -> Result<()> {
    let url = url::Url::parse(MODELS_OF_HUB).map_err(|error| Error::Query(error.to_string()))?;
    options.allow_hosts.check_store(&url)
}

impl ModelRepository {
    /// The repository of `OWNER/NAME[@REVISION]`, if the options allow to reach it. Nothing is asked yet.
    pub(crate) fn open(name: &str, options: &Arc<FileOptions>) -> Result<Self> {
        let Some(at) = HubPath::in_kind(Kind::Models, name).filter(|at| at.path.is_empty()) else {
            return data_err!("'{name}' names no model of the hub: write OWNER/NAME or OWNER/NAME@REVISION");
        };
        check_allowed(options)?;
        let hub = Arc::new(Hub::from_environment()?);
        let http = Http { options: Arc::clone(options), hub: Some(Arc::clone(&hub)), retries: Count::new() };
        Ok(Self { hub, http, at })
    }

    fn failed(&self, what: &str, failure: &Failure) -> Error {
        Error::Data(format!("cannot read {what} of '{}': {}", self.at, failure.reason))
    }

    /// The commit that the revision stands for now.
    pub(crate) async fn commit(&self) -> Result<Commit> {
        let failed = |failure| self.failed("the state", &failure);
        let url = self.hub.revision_url(&self.at);
        let (_, body) = self.http.fetch(&url, MAX_DESCRIPTION_BYTES).await.map_err(failed)?;
        let description: Description = serde_json::from_slice(&body)
            .map_err(|_| failed(Failure::new("the answer cannot be read: is HF_ENDPOINT a hub?")))?;
        let id = &description.sha;
        if id.len() != 40 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(failed(Failure::new("the answer names no commit: is HF_ENDPOINT a hub?")));
        }
        Ok(Commit { licence: description.licence(), id: description.sha })
    }

    /// All files of a commit.
    pub(crate) async fn files(&self, commit: &Commit) -> Result<Vec<RepositoryFile>> {
        let failed = |failure| self.failed("the list of files", &failure);
        let mut files = vec![];
        let mut next = Some(first_page(&self.hub, &self.at.with_revision(&commit.id), true));
        for _ in 0..MAX_PAGES {
            let Some(url) = next else { return Ok(files) };
            let (entries, following) = list_page(&self.http, &url).await.map_err(failed)?;
            files.extend(entries.into_iter().filter(Entry::is_file).filter_map(Entry::into_file));
            next = following;
        }
        Err(failed(Failure::new("it has too many files for a model")))
    }

    /// The content of a file from a byte on, part by part. `part` is told where each begins: where the server does not
    /// give ranges, at the beginning again.
    ///
    /// The request, not the body, is made again where it fails for no fault of its own. A body that breaks off is an
    /// error like any other; what was read stays useful.
    pub(crate) async fn read(
        &self,
        commit: &Commit,
        path: &str,
        from: u64,
        mut part: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<(), Broken> {
        let failed = |failure: Failure| {
            let error = Error::Data(format!("cannot fetch {path} of '{}': {}", self.at, failure.reason));
            Broken { error, again: failure.is_temporary() }
        };
        let url = self.hub.file_url(&self.at.with_revision(&commit.id).with_path(path));
        let range = (from > 0).then(|| format!("{from}-"));
        let Answer { response, .. } = self.http.open(&url, range.as_deref()).await.map_err(failed)?;
        let mut at = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, from) => from,
            StatusCode::PARTIAL_CONTENT => return Err(failed(Failure::new("the answer is another range"))),
            _ => 0,
        };
        let mut body = std::pin::pin!(body(response));
        while let Some(bytes) = body.try_next().await.map_err(failed)? {
            part(at, &bytes).map_err(|error| Broken { error, again: false })?;
            at += bytes.len() as u64;
        }
        Ok(())
    }
}

/// Why a file was not read to its end.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) error: Error,
    /// Whether another try may read the rest.
    pub(crate) again: bool,
}

/// Whether `Content-Range: bytes FIRST-LAST/SIZE` begins at a byte.
fn starts_at(response: &reqwest::Response, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()) == Some(from)
}
