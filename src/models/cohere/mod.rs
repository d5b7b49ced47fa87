//! The provider `cohere`: <https://docs.cohere.com/reference/embed>
use super::remote::protocol::{Input, Kind, KnownModel, Limits, Model, Protocol};
use super::remote::vectors::{Answer, Malformed};

mod catalogue;
mod wire;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Cohere;

impl Protocol for Cohere {
    fn name(&self) -> &'static str {
        "cohere"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some("https://api.cohere.com/v2")
    }

    fn base_url_variables(&self) -> &'static [&'static str] {
        &["COHERE_BASE_URL"]
    }

    fn key_variables(&self) -> &'static [&'static str] {
        &["COHERE_API_KEY", "CO_API_KEY"]
    }

    fn models(&self) -> &'static [KnownModel] {
        catalogue::MODELS
    }

    /// 96 texts, or one image, a request.
    fn limits(&self, model: &Model) -> Limits {
        let inputs = match model.kind {
            Kind::Text => 96,
            Kind::Image => 1,
        };
        Limits { inputs, tokens: usize::MAX, bytes: 32 << 20 }
    }

    fn url(&self, base_url: &str, _: &Model) -> String {
        format!("{base_url}/embed")
    }

    fn body(&self, model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
        wire::body(model, inputs)
    }

    fn answer(&self, model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
        wire::answer(model, body, inputs)
    }
}
