//! The provider `openai`, and the API that most others speak: <https://platform.openai.com/docs/api-reference/embeddings>
use super::remote::protocol::{Input, KnownModel, Limits, Model, Protocol};
use super::remote::vectors::{Answer, Malformed};

mod catalogue;
pub(super) mod wire;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct OpenAi;

/// OpenAI's own: 2,048 inputs and 300,000 tokens a request.
pub(super) const LIMITS: Limits = Limits { inputs: 2048, tokens: 300_000, bytes: 32 << 20 };

impl Protocol for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some("https://api.openai.com/v1")
    }

    fn base_url_variables(&self) -> &'static [&'static str] {
        &["OPENAI_BASE_URL"]
    }

    fn key_variables(&self) -> &'static [&'static str] {
        &["OPENAI_API_KEY"]
    }

    fn models(&self) -> &'static [KnownModel] {
        catalogue::MODELS
    }

    fn limits(&self, _: &Model) -> Limits {
        LIMITS
    }

    fn refuses(&self, text: &str) -> Option<&'static str> {
        text.is_empty().then_some("an empty text cannot be embedded")
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
