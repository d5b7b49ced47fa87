//! The protocols there are.
use super::protocol::Protocol;
use crate::models::azure_openai::AzureOpenAi;
use crate::models::cohere::Cohere;
use crate::models::google::Google;
use crate::models::lm_studio::LmStudio;
use crate::models::ollama::Ollama;
use crate::models::openai::OpenAi;
use crate::models::voyage::Voyage;

/// Each is the provider of its name.
pub(super) const ALL: [&dyn Protocol; 7] =
    [&OpenAi, &LmStudio, &Ollama, &AzureOpenAi, &Cohere, &Voyage, &Google];

/// What an endpoint speaks that has a name of the user's choice.
pub(super) const DEFAULT: &str = "openai";

pub(super) fn by_name(name: &str) -> Option<&'static dyn Protocol> {
    ALL.into_iter().find(|protocol| protocol.name() == name)
}

/// `'openai', 'cohere'`
pub(super) fn names() -> String {
    ALL.map(|protocol| format!("'{}'", protocol.name())).join(", ")
}
