//! Requests and answers.
use serde::{Deserialize, Serialize};

use crate::models::remote::protocol::{Input, Model};
use crate::models::remote::vectors::{Answer, Malformed, Vector};

#[derive(Debug, Serialize)]
struct Request<'a> {
    model: &'a str,
    input: Vec<&'a str>,
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

pub(in crate::models) fn body(model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Request {
        model: &model.name,
        input: inputs.iter().map(|input| input.as_str()).collect(),
        encoding_format: if model.json_floats { "float" } else { "base64" },
        dimensions: model.asked_dimensions,
    })
}

/// Also Voyage's.
#[derive(Debug, Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    data: Vec<Item<'a>>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Item<'a> {
    index: Option<usize>,
    #[serde(borrow)]
    embedding: Vector<'a>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    total_tokens: Option<usize>,
    prompt_tokens: Option<usize>,
}

pub(in crate::models) fn answer(model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
    let Response { data, usage } = serde_json::from_slice(body)?;
    let tokens = usage.and_then(|usage| usage.total_tokens.or(usage.prompt_tokens));
    let vectors = data.into_iter().map(|item| (item.index, item.embedding));
    Answer::new(vectors, inputs, model.dimensions, tokens)
}
