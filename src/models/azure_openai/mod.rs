//! The provider `azure_openai`: OpenAI's models in a resource of the user's, where a model's name is that of a
//! deployment, <https://learn.microsoft.com/azure/ai-foundry/openai/reference>
use super::openai::{self, OpenAi, wire};
use super::remote::protocol::{Input, KnownModel, Limits, Model, Protocol};
use super::remote::vectors::{Answer, Malformed};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct AzureOpenAi;

/// The version of the API where the option `api_version` names none.
const API_VERSION: &str = "2024-10-21";

impl Protocol for AzureOpenAi {
    fn name(&self) -> &'static str {
        "azure_openai"
    }

    fn base_url(&self) -> Option<&'static str> {
        None
    }

    fn base_url_variables(&self) -> &'static [&'static str] {
        &["AZURE_OPENAI_ENDPOINT"]
    }

    fn key_variables(&self) -> &'static [&'static str] {
        &["AZURE_OPENAI_API_KEY"]
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("api-key", "")
    }

    /// Of deployments that have the name of their model.
    fn models(&self) -> &'static [KnownModel] {
        OpenAi.models()
    }

    fn any_model(&self) -> bool {
        true
    }

    fn limits(&self, _: &Model) -> Limits {
        openai::LIMITS
    }

    fn refuses(&self, text: &str) -> Option<&'static str> {
        OpenAi.refuses(text)
    }

    fn url(&self, base_url: &str, model: &Model) -> String {
        let version = model.api_version.as_deref().unwrap_or(API_VERSION);
        format!("{base_url}/openai/deployments/{}/embeddings?api-version={version}", model.name)
    }

    fn body(&self, model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
        wire::body(model, inputs)
    }

    fn answer(&self, model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
        wire::answer(model, body, inputs)
    }
}
