//! The files of a session, wherever they are: finding, reading and writing them, within what its options allow.
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use datafusion::physical_plan::metrics::Count;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use url::Url;

use super::failure::explain;
use super::glob::{self, FoundFile};
use super::http::Http;
use super::hub::{Hub, HubPath};
use super::location::{Location, object_path, without_secrets};
use super::options::FileOptions;
use super::stores::Stores;
use crate::blocking::blocking;
use crate::error::{Error, Result, data_err, query_err};

/// What one query may do with files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) stores: Arc<Stores>,
    pub(crate) options: Arc<FileOptions>,
    /// Requests that were made again.
    pub(crate) retries: Count,
}

impl Files {
    /// The content of a file. Errors carry the location without its query string, in which signatures are kept.
    pub(crate) async fn download(&self, location: &str, max_bytes: u64) -> Result<Vec<u8>> {
        match Location::parse(location)? {
            Location::Local(path) => self.read(&path, max_bytes).await,
            Location::Web(url) => self.fetch(&self.http(), &url, &without_secrets(&url), max_bytes).await,
            Location::Hub(file) => {
                let hub = self.hub(&file)?;
                let http = Http { hub: Some(Arc::clone(&hub)), ..self.http() };
                self.fetch(&http, &hub.file_url(&file), &file.to_string(), max_bytes).await
            }
            Location::Store(url, key) => {
                let failed = |error| explain("cannot read", location, &error);
                let store = self.stores.open(&url, &self.options, &self.retries)?;
                let answer = store.get(&object_path(&key)?).await.map_err(failed)?;
                let size = answer.meta.size;
                check_size(size, max_bytes, location)?;
                let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
                let mut parts = answer.into_stream();
                while let Some(part) = parts.try_next().await.map_err(failed)? {
                    bytes.extend_from_slice(&part);
                    check_size(bytes.len() as u64, max_bytes, location)?;
                }
                Ok(bytes)
            }
        }
    }

    async fn fetch(&self, http: &Http, url: &Url, shown: &str, max_bytes: u64) -> Result<Vec<u8>> {
        let fetched = http.fetch(url, max_bytes).await;
        fetched
            .map(|(_, body)| body)
            .map_err(|failure| Error::Data(format!("cannot read '{shown}': {}", failure.reason)))
    }

    async fn read(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        let shown = path.display().to_string();
        let path = self.options.allow_paths.check(path)?;
        let (file, length) = blocking({
            let shown = shown.clone();
            move || open(&path, &shown)
        })
        .await?;
        check_size(length, max_bytes, &shown)?;
        // taken here, not on one of the many threads for blocking work: an allocator keeps some of the memory of each thread
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        blocking(move || {
            // the file may grow, or not know its length
            let read = file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
            read.map_err(|error| unreadable(&shown, &error))?;
            check_size(bytes.len() as u64, max_bytes, &shown)?;
            Ok(bytes)
        })
        .await
    }

    /// Writes a file whole or not at all, with the folders that it is in. A file that is there is replaced only with
    /// `overwrite`.
    pub(crate) async fn upload(&self, bytes: Vec<u8>, location: &str, overwrite: bool) -> Result<()> {
        let (url, path) = match self.options.writable(location)? {
            Location::Local(path) if path.is_dir() || location.ends_with('/') => {
                return data_err!("cannot write '{location}': it is a folder, name a file in it");
            }
            Location::Local(path) => {
                let object = object_store::path::Path::from_absolute_path(&path);
                let failed = |error| Error::Data(format!("cannot write '{location}': {error}"));
                (local_root(&path)?, object.map_err(failed)?)
            }
            Location::Store(url, key) if !key.is_empty() => (url, object_path(&key)?),
            _ => return data_err!("cannot write '{location}': it names no file"),
        };
        let store = self.stores.open(&url, &self.options, &self.retries)?;
        let mode = if overwrite { PutMode::Overwrite } else { PutMode::Create };
        match store.put_opts(&path, PutPayload::from(bytes), PutOptions::from(mode)).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => data_err!(
                "cannot write '{location}': there is a file of this name already; overwrite => true replaces it"
            ),
            Err(error) => Err(explain("cannot write", location, &error)),
        }
    }

    /// The files that match a pattern, sorted by path. No match is an empty list.
    pub(crate) async fn glob(&self, pattern: &str) -> Result<Vec<FoundFile>> {
        match Location::parse(pattern)? {
            Location::Local(path) => {
                let (path, allowed) = (path.to_string_lossy().into_owned(), self.options.allow_paths.clone());
                blocking(move || glob::local(&path, &allowed)).await
            }
            Location::Web(url) => {
                let store = self.stores.open(&origin(&url), &self.options, &self.retries)?;
                let shown = without_secrets(&url);
                if url.query().is_some() {
                    return query_err!(
                        "'{shown}' has a query string: only its content can be read, with download"
                    );
                }
                let path = object_store::path::Path::from_url_path(url.path())
                    .map_err(|error| Error::Query(format!("'{shown}' cannot be listed: {error}")))?;
                glob::one(store.as_ref(), &path, url.as_str(), &shown).await
            }
            Location::Hub(file) => {
                let store = self.stores.open(&file.root()?, &self.options, &self.retries)?;
                let prefix = format!("hf://{}/", file.kind.name());
                glob::in_store(store.as_ref(), &prefix, &file.key()).await
            }
            Location::Store(url, key) => {
                let store = self.stores.open(&url, &self.options, &self.retries)?;
                glob::in_store(store.as_ref(), &format!("{}/", url.as_str().trim_end_matches('/')), &key)
                    .await
            }
        }
    }

    /// A folder of a store, as its listing spells it, and the paths of all files below it, in that folder.
    pub(super) async fn below(&self, location: &Location) -> Result<(String, Vec<String>)> {
        let (root, key) = match location {
            Location::Hub(file) => (file.root()?, file.key()),
            Location::Store(url, key) => (url.clone(), key.clone()),
            Location::Local(_) | Location::Web(_) => return query_err!("only folders of stores are listed"),
        };
        let store = self.stores.open(&root, &self.options, &self.retries)?;
        let folder = object_path(&key)?;
        let shown = format!("{}/{folder}", root.as_str().trim_end_matches('/'));
        let shown = shown.trim_end_matches('/').to_owned();
        let below = glob::below(store.as_ref(), &folder, &shown).await?;
        Ok((shown, below))
    }

    fn http(&self) -> Http {
        Http { options: Arc::clone(&self.options), hub: None, retries: self.retries.clone() }
    }

    fn hub(&self, file: &HubPath) -> Result<Arc<Hub>> {
        self.options.allow_hosts.check_store(&file.root()?)?;
        Ok(Arc::new(Hub::from_environment()?))
    }
}

/// A file and its length.
fn open(path: &Path, shown: &str) -> Result<(File, u64)> {
    let failed = |error| unreadable(shown, &error);
    // before it is opened: a pipe would wait for a writer
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return data_err!("cannot read '{shown}': it is not a file");
    }
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    Ok((file, length))
}

fn unreadable(shown: &str, error: &std::io::Error) -> Error {
    Error::Data(format!("cannot read '{shown}': {error}"))
}

fn local_root(path: &Path) -> Result<Url> {
    let url = Url::from_file_path(path);
    url.map(|url| origin(&url))
        .map_err(|()| Error::Data(format!("'{}' is not an absolute path", path.display())))
}

/// The URL of the store in which a URL is a file.
fn origin(url: &Url) -> Url {
    let mut origin = url.clone();
    origin.set_path("");
    origin.set_query(None);
    origin.set_fragment(None);
    origin
}

fn check_size(bytes: u64, max_bytes: u64, location: &str) -> Result<()> {
    if bytes > max_bytes {
        return data_err!("cannot read '{location}': {}", super::too_large(max_bytes));
    }
    Ok(())
}
