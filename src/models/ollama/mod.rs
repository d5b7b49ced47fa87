//! The provider `ollama`: models on this machine, <https://github.com/ollama/ollama/blob/main/docs/api.md>
use super::remote::protocol::{Input, KnownModel, Limits, Model, Protocol};
use super::remote::vectors::{Answer, Malformed};

mod catalogue;
mod wire;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ollama;

impl Protocol for Ollama {
    fn name(&self) -> &'static str {
        "ollama"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some("http://localhost:11434")
    }

    fn base_url_variables(&self) -> &'static [&'static str] {
        &["OLLAMA_HOST"]
    }

    /// `OLLAMA_HOST` may be a host, or a host and a port.
    fn complete_base_url(&self, given: &str) -> String {
        let with_scheme = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
        let has_port = with_scheme.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if has_port || given.contains("://") { with_scheme } else { format!("{with_scheme}:11434") }
    }

    fn key_variables(&self) -> &'static [&'static str] {
        &["OLLAMA_API_KEY"]
    }

    fn needs_key(&self) -> bool {
        false
    }

    fn how_to_start(&self) -> &'static str {
        "start it by 'ollama serve'"
    }

    fn models(&self) -> &'static [KnownModel] {
        catalogue::MODELS
    }

    /// `name:tag` is a variant of `name`.
    fn known(&self, name: &str) -> Option<&'static KnownModel> {
        let name = name.split(':').next().unwrap_or(name);
        self.models().iter().find(|model| model.name == name)
    }

    fn any_model(&self) -> bool {
        true
    }

    fn limits(&self, _: &Model) -> Limits {
        // one machine answers: smaller requests come back sooner, and larger ones are not cheaper
        Limits { inputs: 256, tokens: usize::MAX, bytes: 32 << 20 }
    }

    fn url(&self, base_url: &str, _: &Model) -> String {
        format!("{base_url}/api/embed")
    }

    fn body(&self, model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
        wire::body(model, inputs)
    }

    fn answer(&self, model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
        wire::answer(model, body, inputs)
    }
}
