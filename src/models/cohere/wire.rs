//! Requests and answers.
use serde::{Deserialize, Serialize};

use crate::models::InputType;
use crate::models::remote::protocol::{Input, Kind, Model};
use crate::models::remote::vectors::{Answer, Malformed, Vector};

#[derive(Debug, Serialize)]
struct Request<'a> {
    model: &'a str,
    input_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    texts: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<&'a str>>,
    embedding_types: [&'static str; 1],
    /// A text that is too long is an error, not cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<usize>,
}

pub(super) fn body(model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
    let inputs = inputs.iter().map(|input| input.as_str()).collect();
    let (input_type, texts, images) = match (model.kind, model.input_type) {
        (Kind::Image, _) => ("image", None, Some(inputs)),
        // the API wants one: what is not said to be a query is searched
        (Kind::Text, None | Some(InputType::Document)) => ("search_document", Some(inputs), None),
        (Kind::Text, Some(InputType::Query)) => ("search_query", Some(inputs), None),
    };
    serde_json::to_vec(&Request {
        model: &model.name,
        input_type,
        truncate: texts.is_some().then_some("NONE"),
        texts,
        images,
        embedding_types: [if model.json_floats { "float" } else { "base64" }],
        output_dimension: model.asked_dimensions,
    })
}

#[derive(Debug, Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    embeddings: ByType<'a>,
    meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
struct ByType<'a> {
    #[serde(borrow)]
    base64: Option<Vec<Vector<'a>>>,
    #[serde(borrow)]
    float: Option<Vec<Vector<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    billed_units: Option<BilledUnits>,
}

/// Numbers are whole, and written as 12 or as 12.0.
#[derive(Debug, Deserialize)]
struct BilledUnits {
    input_tokens: Option<f64>,
    image_tokens: Option<f64>,
}

pub(super) fn answer(model: &Model, body: &[u8], inputs: usize) -> Result<Answer, Malformed> {
    let Response { embeddings, meta } = serde_json::from_slice(body)?;
    let vectors = embeddings.base64.or(embeddings.float).unwrap_or_default();
    let billed = meta.and_then(|meta| meta.billed_units);
    let tokens = billed.and_then(|billed| match (billed.input_tokens, billed.image_tokens) {
        (None, None) => None,
        (texts, images) => Some(texts.unwrap_or_default() + images.unwrap_or_default()),
    });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of tokens")]
    let tokens = tokens.map(|tokens| tokens as usize);
    Answer::new(vectors.into_iter().map(|vector| (None, vector)), inputs, model.dimensions, tokens)
}
