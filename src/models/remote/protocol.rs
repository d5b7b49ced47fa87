//! What providers differ in: where they are, which models they have, and how a request and an answer look.
use std::fmt::Debug;
use std::sync::Arc;

use crate::models::InputType;

use super::vectors::{Answer, Malformed};

/// An input as a request carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Text(Arc<str>),
    /// A `data:` URL of a PNG file.
    Image(Arc<str>),
}

impl Input {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Image(text) => text,
        }
    }
}

/// What a model makes vectors of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Text,
    Image,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "images",
        }
    }
}

/// The lengths that the vectors of a model can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lengths {
    /// Its own only.
    One,
    /// Any up to its own.
    UpTo,
    /// Some.
    Some(&'static [usize]),
}

/// A model as its provider has published it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownModel {
    pub(crate) name: &'static str,
    /// The length of its vectors where no other is asked for.
    pub(crate) dimensions: usize,
    pub(crate) lengths: Lengths,
    /// The most tokens of an input.
    pub(crate) max_input_tokens: usize,
    /// The most tokens of a request, where the provider's own limit does not hold.
    pub(crate) max_request_tokens: Option<usize>,
    pub(crate) kinds: &'static [Kind],
    /// What the model expects before a query and before a document.
    pub(crate) prefixes: Option<(&'static str, &'static str)>,
}

impl KnownModel {
    /// A model of texts, of one length.
    pub(crate) const fn text(name: &'static str, dimensions: usize, max_input_tokens: usize) -> Self {
        Self {
            name,
            dimensions,
            lengths: Lengths::One,
            max_input_tokens,
            max_request_tokens: None,
            kinds: &[Kind::Text],
            prefixes: None,
        }
    }

    /// The same with vectors of other lengths.
    pub(crate) const fn with_lengths(self, lengths: Lengths) -> Self {
        Self { lengths, ..self }
    }
}

/// The most of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) inputs: usize,
    pub(crate) tokens: usize,
    pub(crate) bytes: usize,
}

/// A model as a call uses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    /// The name of the provider in SQL.
    pub(crate) provider: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) input_type: Option<InputType>,
    /// The length that the vectors must have, where it is known.
    pub(crate) dimensions: Option<usize>,
    /// The length that is asked for, where it is not the model's own.
    pub(crate) asked_dimensions: Option<usize>,
    /// Whether vectors are asked for as JSON numbers although the protocol knows base64.
    pub(crate) json_floats: bool,
    pub(crate) api_version: Option<String>,
}

/// The API of a provider.
///
/// Methods make and read what is sent; that it is sent, when, and what follows is the same for all.
pub(crate) trait Protocol: Debug + Send + Sync {
    /// The name of the provider in SQL.
    fn name(&self) -> &'static str;

    /// Where its endpoint is if neither an option nor one of the variables says so.
    fn base_url(&self) -> Option<&'static str>;

    /// Environment variables that may have the base URL.
    fn base_url_variables(&self) -> &'static [&'static str] {
        &[]
    }

    /// The base URL for the one that was given, which may lack what everybody leaves out.
    fn complete_base_url(&self, given: &str) -> String {
        given.to_owned()
    }

    /// Environment variables that may have the key.
    fn key_variables(&self) -> &'static [&'static str];

    /// Whether there is no use without a key.
    fn needs_key(&self) -> bool {
        true
    }

    /// How its server is started, where that is on the user's machine.
    fn how_to_start(&self) -> &'static str {
        "start its server"
    }

    /// The header that carries the key, and what is before the key.
    fn key_header(&self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }

    /// The models that are known by name.
    fn models(&self) -> &'static [KnownModel];

    /// Whether models of other names may be there, as the endpoint is somebody's own.
    fn any_model(&self) -> bool {
        false
    }

    /// The model that is known by this name.
    fn known(&self, name: &str) -> Option<&'static KnownModel> {
        self.models().iter().find(|model| model.name == name)
    }

    /// The most of a request to a model.
    fn limits(&self, model: &Model) -> Limits;

    /// Whether the endpoint cuts texts that are too long without saying so.
    fn cuts_silently(&self) -> bool {
        false
    }

    /// Why a text is not even sent.
    fn refuses(&self, _: &str) -> Option<&'static str> {
        None
    }

    /// Where a request goes.
    fn url(&self, base_url: &str, model: &Model) -> String;

    /// The JSON body of a request.
    fn body(&self, model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>>;

    /// The vectors of `inputs` inputs in an answer.
    fn answer(&self, model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed>;
}
