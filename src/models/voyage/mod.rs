//! The provider `voyage`: <https://docs.voyageai.com/reference/embeddings-api>
use super::openai::wire as openai;
use super::remote::protocol::{Input, KnownModel, Limits, Model, Protocol};
use super::remote::vectors::{Answer, Malformed};

mod catalogue;
mod wire;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Voyage;

/// Whether a model is used by the endpoint for texts and images.
fn is_multimodal(model: &Model) -> bool {
    model.name.starts_with("voyage-multimodal")
}

impl Protocol for Voyage {
    fn name(&self) -> &'static str {
        "voyage"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some("https://api.voyageai.com/v1")
    }

    fn base_url_variables(&self) -> &'static [&'static str] {
        &["VOYAGE_BASE_URL"]
    }

    fn key_variables(&self) -> &'static [&'static str] {
        &["VOYAGE_API_KEY"]
    }

    fn models(&self) -> &'static [KnownModel] {
        catalogue::MODELS
    }

    /// 1,000 inputs a request, and 120,000 tokens where the model does not allow more.
    fn limits(&self, _: &Model) -> Limits {
        Limits { inputs: 1000, tokens: 120_000, bytes: 32 << 20 }
    }

    fn url(&self, base_url: &str, model: &Model) -> String {
        format!("{base_url}/{}", if is_multimodal(model) { "multimodalembeddings" } else { "embeddings" })
    }

    fn body(&self, model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
        if is_multimodal(model) { wire::multimodal_body(model, inputs) } else { wire::body(model, inputs) }
    }

    fn answer(&self, model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
        openai::answer(model, body, inputs)
    }
}
