//! Requests and answers.
use serde::{Deserialize, Serialize};

use crate::models::InputType;
use crate::models::remote::protocol::{Input, Model};
use crate::models::remote::vectors::{Answer, Malformed, Vector};

#[derive(Debug, Serialize)]
struct Request<'a> {
    requests: Vec<One<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Part<'a> {
    text: &'a str,
}

pub(super) fn body(model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
    let name = format!("models/{}", model.name);
    let task_type = model.input_type.map(|input_type| match input_type {
        InputType::Query => "RETRIEVAL_QUERY",
        InputType::Document => "RETRIEVAL_DOCUMENT",
    });
    let requests = inputs.iter().map(|input| One {
        model: &name,
        content: Content { parts: [Part { text: input.as_str() }] },
        task_type,
        output_dimensionality: model.asked_dimensions,
    });
    serde_json::to_vec(&Request { requests: requests.collect() })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow)]
    embeddings: Vec<Values<'a>>,
    usage_metadata: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Values<'a> {
    #[serde(borrow)]
    values: Vector<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: Option<usize>,
}

pub(super) fn answer(model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
    let Response { embeddings, usage_metadata } = serde_json::from_slice(body)?;
    let vectors = embeddings.into_iter().map(|embedding| (None, embedding.values));
    let tokens = usage_metadata.and_then(|usage| usage.prompt_token_count);
    Answer::new(vectors, inputs, model.dimensions, tokens)
}
