//! The object stores of a session: those that are registered, and those that a URL is enough to open.
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::physical_plan::metrics::Count;
use datafusion::prelude::SessionContext;
use object_store::ObjectStore;
use url::Url;

use super::guard::Guarded;
use super::http::Http;
use super::http_store::HttpStore;
use super::hub::{Hub, Kind};
use super::options::FileOptions;
use crate::config::SemanticOptions;
use crate::error::{Error, Result, query_err};

/// A registry of DataFusion around another: it opens `http://`, `https://` and `hf://` stores, with the feature `cloud`
/// also `s3://`, `gs://` and `az://` ones, and lets nobody past the options of the session.
///
/// Credentials come from the environment: `AWS_*`, `GOOGLE_*`, `AZURE_*`, `HF_TOKEN`.
pub(crate) struct Stores {
    registered: Arc<dyn ObjectStoreRegistry>,
    opened: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    /// The options of the session whose registry this is, as they are when they are asked for.
    session: OnceLock<Box<dyn Fn() -> Arc<FileOptions> + Send + Sync>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("registered", &self.registered).finish_non_exhaustive()
    }
}

impl Stores {
    pub(crate) fn new(registered: Arc<dyn ObjectStoreRegistry>) -> Self {
        Self { registered, opened: Mutex::default(), session: OnceLock::new() }
    }

    /// Makes this the registry of `ctx`, whose options it asks for from now on. Until then nothing is allowed.
    pub(crate) fn belong_to(&self, ctx: &SessionContext) {
        // weak: the session owns its registry
        let state = ctx.state_weak_ref();
        let options = move || state.upgrade().map_or_else(Arc::default, |state| of_session(&state.read()));
        // a registry has one session: the first
        let _ = self.session.set(Box::new(options));
    }

    /// The store of a URL that has no path, if the options allow it. Nothing is asked of it yet.
    pub(super) fn open(
        &self,
        url: &Url,
        options: &Arc<FileOptions>,
        retries: &Count,
    ) -> Result<Arc<dyn ObjectStore>> {
        let http = || Http { options: Arc::clone(options), hub: None, retries: retries.clone() };
        match url.scheme() {
            "http" | "https" => {
                // a listed host; its address, and where it redirects to, is checked with each request
                options.allow_hosts.reach(url)?;
                if let Ok(store) = self.registered.get_store(url) {
                    return Ok(Guarded::store(store, options));
                }
                Ok(Arc::new(HttpStore::web(url.clone(), http())))
            }
            "hf" => {
                options.allow_hosts.check_store(url)?;
                let Some(kind) = url.host_str().and_then(Kind::of) else {
                    return query_err!(
                        "'{url}' names no part of the hub: write hf://datasets/ or hf://models/"
                    );
                };
                Ok(Arc::new(HttpStore::hub(Arc::new(Hub::from_environment()?), kind, http())))
            }
            "file" => {
                let store = self.registered.get_store(url).map_err(|_| no_store(url))?;
                Ok(Guarded::files(store, options))
            }
            _ => {
                options.allow_hosts.check_store(url)?;
                let store = match self.registered.get_store(url) {
                    Ok(store) => store,
                    Err(_) => self.cloud(url, options)?,
                };
                Ok(Guarded::store(store, options))
            }
        }
    }

    /// A store in a cloud. It is kept, with its connections and the credentials that it has fetched.
    fn cloud(&self, url: &Url, options: &FileOptions) -> Result<Arc<dyn ObjectStore>> {
        let (scheme, name) = (url.scheme(), url.host_str().unwrap_or_default());
        // clients take a user name for a container, and the name behind it for an account
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return query_err!(
                "a '{scheme}://' location names more than a bucket or container: write {scheme}://NAME/path; where it \
                 is and who asks for it is the configuration of the process"
            );
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let root = format!("{scheme}://{name}");
        if let Some(store) = opened.get(&root) {
            return Ok(Arc::clone(store));
        }
        let store = super::cloud::open(url, options)?;
        opened.insert(root, Arc::clone(&store));
        Ok(store)
    }
}

/// What the queries of a session may reach: nothing where it does not have the options.
pub(super) fn of_session(state: &SessionState) -> Arc<FileOptions> {
    let options = state.config_options().extensions.get::<SemanticOptions>();
    options.map(|options| Arc::clone(&options.settings().files)).unwrap_or_default()
}

pub(super) fn no_store(url: &Url) -> Error {
    Error::Query(format!(
        "there is no object store for '{}://' in this session: http, https, hf, s3, gs and az need none, others are \
         registered by the program",
        url.scheme()
    ))
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.registered.register_store(url, store)
    }

    fn deregister_store(&self, url: &Url) -> datafusion::common::Result<Arc<dyn ObjectStore>> {
        self.registered.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> datafusion::common::Result<Arc<dyn ObjectStore>> {
        let options = self.session.get().map_or_else(Arc::default, |options| options());
        // listing URLs carry a path, stores do not
        let mut root = url.clone();
        root.set_path("");
        root.set_query(None);
        root.set_fragment(None);
        self.open(&root, &options, &Count::new()).map_err(DataFusionError::from)
    }
}
