//! The provider `google`, Gemini's API: <https://ai.google.dev/api/embeddings>
use super::remote::protocol::{Input, KnownModel, Limits, Model, Protocol};
use super::remote::vectors::{Answer, Malformed};

mod catalogue;
mod wire;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Google;

impl Protocol for Google {
    fn name(&self) -> &'static str {
        "google"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some("https://generativelanguage.googleapis.com/v1beta")
    }

    fn base_url_variables(&self) -> &'static [&'static str] {
        &["GEMINI_BASE_URL"]
    }

    fn key_variables(&self) -> &'static [&'static str] {
        &["GEMINI_API_KEY", "GOOGLE_API_KEY"]
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("x-goog-api-key", "")
    }

    fn models(&self) -> &'static [KnownModel] {
        catalogue::MODELS
    }

    /// 100 inputs a request.
    fn limits(&self, _: &Model) -> Limits {
        Limits { inputs: 100, tokens: usize::MAX, bytes: 32 << 20 }
    }

    fn cuts_silently(&self) -> bool {
        true
    }

    fn refuses(&self, text: &str) -> Option<&'static str> {
        text.is_empty().then_some("an empty text cannot be embedded")
    }

    fn url(&self, base_url: &str, model: &Model) -> String {
        format!("{base_url}/models/{}:batchEmbedContents", model.name)
    }

    fn body(&self, model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
        wire::body(model, inputs)
    }

    fn answer(&self, model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
        wire::answer(model, body, inputs)
    }
}
