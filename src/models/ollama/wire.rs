//! Requests and answers.
use serde::{Deserialize, Serialize};

use crate::models::remote::protocol::{Input, Model};
use crate::models::remote::vectors::{Answer, Malformed, Vector};

#[derive(Debug, Serialize)]
struct Request<'a> {
    model: &'a str,
    input: Vec<&'a str>,
    /// A text that is too long is an error, not cut.
    truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

pub(super) fn body(model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Request {
        model: &model.name,
        input: inputs.iter().map(|input| input.as_str()).collect(),
        truncate: false,
        dimensions: model.asked_dimensions,
    })
}

#[derive(Debug, Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    embeddings: Vec<Vector<'a>>,
    prompt_eval_count: Option<usize>,
}

pub(super) fn answer(model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
    let Response { embeddings, prompt_eval_count } = serde_json::from_slice(body)?;
    let vectors = embeddings.into_iter().map(|vector| (None, vector));
    Answer::new(vectors, inputs, model.dimensions, prompt_eval_count)
}
