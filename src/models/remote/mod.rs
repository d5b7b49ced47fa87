//! Providers on the network. What they share is here: endpoints and whose turn it is, when a request may be sent,
//! what is sent again, vectors in answers, keys. What they differ in is a [`Protocol`], one in the folder of each
//! provider beside this one.
//!
//! From a call to its vectors: texts are prefixed, images written as PNG (`embedder`); they wait for the endpoint with
//! those of all other calls of the process (`job`, `line`, `endpoint`) until it may be sent a request (`pace`: what
//! refusals teach, `rate`, limits of the options, `bucket`, and of the endpoint, `headers`), which takes as many of them
//! as fit (`sending`); it is sent (`http`), sent again, or cut in halves (`call`, `failure`); vectors are read from the
//! answer (`vectors`) without a copy between.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName};

use super::{ImageEmbedder, InputType, ModelInfo, ModelRequest, Provider, TextEmbedder};
use crate::error::{Result, query_err};
use crate::types::embedding::EmbeddingSpace;

mod allowed;
mod bucket;
mod call;
mod embedder;
mod endpoint;
mod failure;
mod headers;
mod http;
mod job;
mod line;
mod options;
mod pace;
pub(super) mod protocol;
mod protocols;
mod rate;
mod secret;
mod sending;
mod tokens;
pub(super) mod vectors;

pub use allowed::AllowProviders;
pub use options::{LongText, ProviderOptions, RemoteOptions, Seconds};

use call::Target;
use endpoint::Endpoint;
use pace::PaceOptions;
use protocol::{Kind, KnownModel, Lengths, Limits, Model, Protocol};
use secret::Key;

/// Requests in flight to one endpoint, of all queries, where an option does not say so.
const MAX_CONCURRENCY: usize = 64;
const TIMEOUT: Duration = Duration::from_mins(1);
const RETRY_TIMEOUT: Duration = Duration::from_mins(3);

/// A provider by its name in SQL: one that is built in, or one that options define.
#[derive(Debug)]
pub(super) struct RemoteProvider {
    name: String,
    protocol: &'static dyn Protocol,
    /// Whether options say something about it.
    configured: bool,
}

impl RemoteProvider {
    /// The provider of that name, if there is one.
    pub(super) fn find(name: &str, options: &RemoteOptions) -> Option<Self> {
        let configured = options.providers.get(name);
        let protocol = configured.and_then(|options| options.protocol.as_deref()).unwrap_or(name);
        // what speaks no protocol of its own speaks OpenAI's
        let protocol = protocols::by_name(protocol)
            .or_else(|| configured.and_then(|_| protocols::by_name(protocols::DEFAULT)))?;
        Some(Self { name: name.to_owned(), protocol, configured: configured.is_some() })
    }

    /// The names of those that are built in.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        protocols::ALL.iter().map(|protocol| protocol.name())
    }

    /// The models of a provider that is built in, as far as they are known by name.
    pub(super) fn catalogue(name: &str) -> Vec<ModelInfo> {
        let models = protocols::by_name(name).map_or(&[][..], |protocol| protocol.models());
        let describe = |model: &KnownModel| ModelInfo {
            name: model.name.to_owned(),
            text: model.kinds.contains(&Kind::Text),
            images: model.kinds.contains(&Kind::Image),
            dimensions: Some(model.dimensions),
            max_tokens: Some(model.max_input_tokens),
            ..ModelInfo::default()
        };
        models.iter().map(describe).collect()
    }

    /// Whether `provider/model` names one of its models: names of Hugging Face look the same.
    pub(super) fn has(&self, model: &str) -> bool {
        self.configured || self.protocol.any_model() || self.protocol.known(model).is_some()
    }

    /// Where its endpoint is.
    fn base_url(&self, options: &ProviderOptions) -> Result<String> {
        let variables =
            self.protocol.base_url_variables().iter().filter(|_| self.name == self.protocol.name());
        let given = options
            .base_url
            .clone()
            .or_else(|| variables.filter_map(|name| std::env::var(name).ok()).find(|url| !url.is_empty()));
        let url = match given {
            Some(given) => self.protocol.complete_base_url(given.trim_end_matches('/')),
            None if self.name == self.protocol.name() && self.protocol.base_url().is_some() => {
                self.protocol.base_url().unwrap_or_default().to_owned()
            }
            None => {
                return query_err!(
                    "provider '{0}' has no base_url: SET semantic.providers.{0}.base_url = 'https://host/v1'",
                    self.name
                );
            }
        };
        options::check_url(&self.name, &url)?;
        Ok(url)
    }

    fn model(&self, request: &ModelRequest, kind: Kind) -> Result<RemoteModel> {
        let options = request.remote.providers.get(&self.name).cloned().unwrap_or_default();
        let base_url = self.base_url(&options)?;
        let known = self.protocol.known(&request.model);
        let own = self.protocol.base_url() == Some(base_url.as_str());
        let any = self.protocol.any_model() || !own || request.dimensions.or(options.dimensions).is_some();
        if known.is_none() && !any {
            let names: Vec<_> = self.protocol.models().iter().map(|model| model.name).collect();
            return query_err!(
                "provider '{}' has no model '{}' that is known here: known are {}; give the dimensions of another one, \
                 dimensions => n",
                self.name,
                request.model,
                names.join(", ")
            );
        }
        if let Some(known) = known.filter(|known| !known.kinds.contains(&kind)) {
            return query_err!(
                "model '{}' of provider '{}' does not embed {}: it embeds {}",
                known.name,
                self.name,
                kind.name(),
                known.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" and ")
            );
        }
        let native = options.dimensions.or(known.map(|known| known.dimensions));
        if let (Some(known), Some(asked)) = (known, request.dimensions) {
            check_length(known, asked)?;
        }
        let model = Model {
            provider: self.name.clone(),
            name: request.model.clone(),
            kind,
            input_type: request.input_type,
            dimensions: request.dimensions.or(native),
            asked_dimensions: request.dimensions.filter(|asked| native != Some(*asked)),
            json_floats: options.json_floats,
            api_version: options.api_version.clone(),
        };
        let space = format!("{}/{}", self.name, request.model);
        let space = match model.dimensions {
            // whether vectors have length 1 is not relied on
            Some(dimensions) => EmbeddingSpace::new(space, dimensions, false),
            None => EmbeddingSpace::of_any_dimensions(space),
        };
        let prefixes = known.and_then(|known| known.prefixes).unwrap_or_default();
        let prefix = match request.input_type {
            None => None,
            Some(InputType::Query) => Some(options.query_prefix.as_deref().unwrap_or(prefixes.0)),
            Some(InputType::Document) => Some(options.document_prefix.as_deref().unwrap_or(prefixes.1)),
        };
        let prefix = prefix.unwrap_or_default().to_owned();
        let max_retries = request.remote.max_retries;
        let protocol = self.protocol;
        Ok(RemoteModel { protocol, model, known, base_url, options, max_retries, prefix, space })
    }
}

fn check_length(known: &KnownModel, asked: usize) -> Result<()> {
    let one_of = |lengths: &[usize]| lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let (fits, expected) = match known.lengths {
        Lengths::One => (asked == known.dimensions, format!("{}", known.dimensions)),
        Lengths::UpTo => (asked <= known.dimensions, format!("1 to {}", known.dimensions)),
        Lengths::Some(lengths) => (lengths.contains(&asked), one_of(lengths)),
    };
    if fits {
        return Ok(());
    }
    query_err!("model '{}' has no vectors of {asked} dimensions: it has {expected}", known.name)
}

impl Provider for RemoteProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn text_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn TextEmbedder>> {
        Ok(Arc::new(self.model(request, Kind::Text)?))
    }

    fn image_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn ImageEmbedder>> {
        Ok(Arc::new(self.model(request, Kind::Image)?))
    }
}

/// A model of a remote provider, as a call uses it. Nothing of it is asked before the call is made.
#[derive(Debug)]
struct RemoteModel {
    protocol: &'static dyn Protocol,
    model: Model,
    known: Option<&'static KnownModel>,
    base_url: String,
    options: ProviderOptions,
    max_retries: usize,
    /// What is put before each text.
    prefix: String,
    space: EmbeddingSpace,
}

impl RemoteModel {
    /// Where requests go. Reads the key.
    fn target(&self) -> Result<Arc<Target>> {
        let options = &self.options;
        let key = Key::read(&self.model.provider, options, self.protocol)?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &key {
            let (name, prefix) = self.protocol.key_header();
            if let Some(value) = key.header(prefix) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let limits = self.protocol.limits(&self.model);
        let of_model = self.known.and_then(|known| known.max_request_tokens).unwrap_or(limits.tokens);
        let limits = Limits {
            inputs: options.max_inputs.map_or(limits.inputs, |inputs| inputs.min(limits.inputs)),
            // a request of more would be refused each time
            tokens: options
                .max_request_tokens
                .unwrap_or(of_model)
                .min(options.tokens_per_minute.unwrap_or(usize::MAX)),
            bytes: limits.bytes,
        };
        let pace = PaceOptions {
            max_concurrency: options.max_concurrency.unwrap_or(MAX_CONCURRENCY),
            requests_per_minute: options.requests_per_minute,
            tokens_per_minute: options.tokens_per_minute,
        };
        let of_model = self.known.map(|known| known.max_input_tokens);
        Ok(Arc::new(Target {
            protocol: self.protocol,
            model: self.model.clone(),
            endpoint: Endpoint::of(&self.base_url, key.as_ref().map(Key::identity), pace),
            base_url: self.base_url.clone(),
            url: self.protocol.url(&self.base_url, &self.model),
            headers,
            key,
            limits,
            max_input_tokens: options.max_input_tokens.or(of_model).unwrap_or(usize::MAX),
            timeout: options.timeout.map_or(TIMEOUT, Duration::from),
            max_retries: self.max_retries,
            retry_timeout: options.retry_timeout.map_or(RETRY_TIMEOUT, Duration::from),
        }))
    }
}
