//! Requests; answers are as OpenAI's.
use serde::Serialize;

use crate::models::InputType;
use crate::models::remote::protocol::{Input, Model};

#[derive(Debug, Serialize)]
struct Request<'a> {
    model: &'a str,
    input: Vec<&'a str>,
    #[serde(flatten)]
    options: Options,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<usize>,
}

#[derive(Debug, Serialize)]
struct MultimodalRequest<'a> {
    model: &'a str,
    inputs: Vec<Content<'a>>,
    #[serde(flatten)]
    options: Options,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_encoding: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    input_type: Option<&'static str>,
    /// A text that is too long is an error, not cut.
    truncation: bool,
}

#[derive(Debug, Serialize)]
struct Content<'a> {
    content: [Part<'a>; 1],
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageBase64 { image_base64: &'a str },
}

fn options(model: &Model) -> Options {
    let input_type = model.input_type.map(|input_type| match input_type {
        InputType::Query => "query",
        InputType::Document => "document",
    });
    Options { input_type, truncation: false }
}

pub(super) fn body(model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Request {
        model: &model.name,
        input: inputs.iter().map(|input| input.as_str()).collect(),
        options: options(model),
        // numbers are what an answer has without it
        encoding_format: (!model.json_floats).then_some("base64"),
        output_dimension: model.asked_dimensions,
    })
}

pub(super) fn multimodal_body(model: &Model, inputs: &[&Input]) -> serde_json::Result<Vec<u8>> {
    let inputs = inputs.iter().map(|input| match input {
        Input::Text(text) => Content { content: [Part::Text { text }] },
        Input::Image(image_base64) => Content { content: [Part::ImageBase64 { image_base64 }] },
    });
    serde_json::to_vec(&MultimodalRequest {
        model: &model.name,
        inputs: inputs.collect(),
        options: options(model),
        output_encoding: (!model.json_floats).then_some("base64"),
    })
}
