//! The providers of a session.

use std::sync::Arc;

use super::local::LocalProvider;
use super::remote::RemoteProvider;
use super::{ImageEmbedder, ModelInfo, ModelRequest, Provider, RemoteOptions, TextEmbedder};
use crate::error::{Result, query_err};

/// The providers that a session knows, by name and alias: those that were added, then those on the network, which are
/// built in or defined by options.
#[derive(Debug, Clone)]
pub struct Registry {
    providers: Vec<Arc<dyn Provider>>,
}

/// A model, and who serves it.
#[derive(Debug)]
pub struct Served<E: ?Sized> {
    /// The model.
    pub embedder: Arc<E>,
    /// `provider/model`.
    pub name: String,
}

impl Default for Registry {
    /// The local provider, `transformers`, beside those on the network.
    fn default() -> Self {
        Self { providers: vec![Arc::new(LocalProvider::new())] }
    }
}

impl Registry {
    /// Adds a provider; one of the same name is replaced.
    #[must_use]
    pub fn with_provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.providers.retain(|known| known.name() != provider.name());
        self.providers.push(provider);
        self
    }

    /// The text model of a request; an error names the providers or models there are.
    ///
    /// The provider is `provider` where it is given, else the one whose name the model's starts with, as in
    /// `'openai/text-embedding-3-small'`, else `default`.
    pub fn text_embedder(
        &self,
        provider: Option<&str>,
        default: &str,
        request: ModelRequest,
    ) -> Result<Served<dyn TextEmbedder>> {
        let (provider, request) = self.resolve(provider, default, request)?;
        Ok(Served { embedder: provider.text_embedder(&request)?, name: name(&*provider, &request) })
    }

    /// The image model of a request, otherwise as [`text_embedder`](Self::text_embedder).
    pub fn image_embedder(
        &self,
        provider: Option<&str>,
        default: &str,
        request: ModelRequest,
    ) -> Result<Served<dyn ImageEmbedder>> {
        let (provider, request) = self.resolve(provider, default, request)?;
        Ok(Served { embedder: provider.image_embedder(&request)?, name: name(&*provider, &request) })
    }

    /// The models that are known by name, with the names of their providers.
    #[must_use]
    pub fn models(&self) -> Vec<(String, ModelInfo)> {
        let of = |name: &str, models: Vec<ModelInfo>| {
            let name = name.to_owned();
            models.into_iter().map(move |model| (name.clone(), model))
        };
        let added = self.providers.iter().flat_map(|provider| of(provider.name(), provider.models()));
        let remote = RemoteProvider::names().flat_map(|name| of(name, RemoteProvider::catalogue(name)));
        added.chain(remote).collect()
    }

    fn resolve(
        &self,
        provider: Option<&str>,
        default: &str,
        request: ModelRequest,
    ) -> Result<(Arc<dyn Provider>, ModelRequest)> {
        if provider.is_none()
            && let Some((prefix, model)) = request.model.split_once('/')
            && let Some(named) = self.find(prefix, Some(model), &request.remote)?
        {
            return Ok((named, ModelRequest { model: model.to_owned(), ..request }));
        }
        let name = provider.unwrap_or(default);
        match self.find(name, None, &request.remote)? {
            Some(provider) => Ok((provider, request)),
            None => query_err!(
                "unknown provider '{name}': known are {}; another endpoint that speaks OpenAI's API gets a name by \
                 SET semantic.providers.<name>.base_url",
                self.names(&request.remote).join(", ")
            ),
        }
    }

    /// By name, or else by alias; then the one on the network, if it has the `model`.
    fn find(
        &self,
        name: &str,
        model: Option<&str>,
        options: &RemoteOptions,
    ) -> Result<Option<Arc<dyn Provider>>> {
        let by_name = self.providers.iter().find(|provider| provider.name() == name);
        let added =
            by_name.or_else(|| self.providers.iter().find(|provider| provider.aliases().contains(&name)));
        if let Some(added) = added {
            return Ok(Some(Arc::clone(added)));
        }
        let remote = RemoteProvider::find(name, options);
        let Some(remote) = remote.filter(|remote| model.is_none_or(|model| remote.has(model))) else {
            return Ok(None);
        };
        options.allowed.check(name)?;
        Ok(Some(Arc::new(remote)))
    }

    fn names(&self, options: &RemoteOptions) -> Vec<String> {
        let added = self.providers.iter().map(|provider| match provider.aliases() {
            [] => format!("'{}'", provider.name()),
            aliases => format!("'{}' (or '{}')", provider.name(), aliases.join("', '")),
        });
        let built_in = RemoteProvider::names().map(ToOwned::to_owned);
        let defined = options.providers.keys().filter(|name| {
            let is_added = self.providers.iter().any(|provider| provider.name() == *name);
            !is_added && RemoteProvider::names().all(|known| known != *name)
        });
        added.chain(built_in.chain(defined.cloned()).map(|name| format!("'{name}'"))).collect()
    }
}

fn name(provider: &dyn Provider, request: &ModelRequest) -> String {
    format!("{}/{}", provider.name(), request.model)
}
