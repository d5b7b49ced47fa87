//! The provider `lm_studio`: models on this machine behind OpenAI's API, <https://lmstudio.ai/docs/app/api>
use super::openai::{self, wire};
use super::remote::protocol::{Input, KnownModel, Limits, Model, Protocol};
use super::remote::vectors::{Answer, Malformed};

mod catalogue;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct LmStudio;

impl Protocol for LmStudio {
    fn name(&self) -> &'static str {
        "lm_studio"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some("http://localhost:1234/v1")
    }

    fn base_url_variables(&self) -> &'static [&'static str] {
        &["LM_STUDIO_BASE_URL"]
    }

    fn complete_base_url(&self, given: &str) -> String {
        if given.ends_with("/v1") { given.to_owned() } else { format!("{given}/v1") }
    }

    fn key_variables(&self) -> &'static [&'static str] {
        &["LM_STUDIO_API_KEY"]
    }

    fn needs_key(&self) -> bool {
        false
    }

    fn how_to_start(&self) -> &'static str {
        "start its server in LM Studio, or by 'lms server start'"
    }

    fn models(&self) -> &'static [KnownModel] {
        catalogue::MODELS
    }

    fn any_model(&self) -> bool {
        true
    }

    fn limits(&self, _: &Model) -> Limits {
        // one machine answers: smaller requests come back sooner, and larger ones are not cheaper
        Limits { inputs: 256, ..openai::LIMITS }
    }

    fn url(&self, base_url: &str, _: &Model) -> String {
        format!("{base_url}/embeddings")
    }

    fn body(&self, model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
        wire::body(model, inputs)
    }

    fn answer(&self, model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
        wire::answer(model, body, inputs)
    }
}
