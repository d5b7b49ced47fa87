//! The APIs of the providers, as a server has them: which inputs a request has, and how an answer looks.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::server::{Reply, Request};

/// The vector of a text: its bytes, their sum, 1.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub fn vector(text: &str) -> Vec<f32> {
    let sum: u32 = text.bytes().map(u32::from).sum();
    vec![text.len() as f32, sum as f32, 1.0]
}

pub fn json(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// The inputs of a request in whatever API.
pub fn inputs(request: &Request) -> Vec<String> {
    let body = json(request);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for name in ["input", "texts", "images"] {
        if let Some(inputs) = body[name].as_array() {
            return inputs.iter().map(text).collect();
        }
    }
    if let Some(inputs) = body["inputs"].as_array() {
        let part = |input: &Value| {
            let part = &input["content"][0];
            text(if part["type"] == "text" { &part["text"] } else { &part["image_base64"] })
        };
        return inputs.iter().map(part).collect();
    }
    let contents = body["requests"].as_array().unwrap();
    contents.iter().map(|content| text(&content["content"]["parts"][0]["text"])).collect()
}

/// The answer with vectors, in the API of the request.
pub fn answer(request: &Request, vectors: &[Vec<f32>]) -> Value {
    let body = json(request);
    let base64 = |vector: &Vec<f32>| {
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        json!(STANDARD.encode(bytes))
    };
    let wants_base64 = ["encoding_format", "output_encoding"].iter().any(|name| body[name] == "base64")
        || body["embedding_types"][0] == "base64";
    let shown: Vec<Value> =
        vectors.iter().map(|vector| if wants_base64 { base64(vector) } else { json!(vector) }).collect();
    let tokens = vectors.len() * 2;
    let path = request.path.split('?').next().unwrap();
    if path.ends_with("/api/embed") {
        json!({"model": body["model"], "embeddings": shown, "prompt_eval_count": tokens})
    } else if path.ends_with("/embed") {
        let kind = body["embedding_types"][0].as_str().unwrap();
        json!({"id": "1", "embeddings": {kind: shown}, "meta": {"billed_units": {"input_tokens": format!("{tokens}.0").parse::<f64>().unwrap()}}})
    } else if path.ends_with(":batchEmbedContents") {
        let embeddings: Vec<_> = shown.into_iter().map(|values| json!({"values": values})).collect();
        json!({"embeddings": embeddings, "usageMetadata": {"promptTokenCount": tokens}})
    } else {
        let data: Vec<_> = shown
            .into_iter()
            .enumerate()
            .map(|(index, embedding)| json!({"object": "embedding", "index": index, "embedding": embedding}))
            .collect();
        json!({"object": "list", "data": data, "model": body["model"], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
    }
}

/// The right answer to a request: the vectors of its texts; an error if one has `poison` in it.
pub fn embed(request: &Request) -> Reply {
    let inputs = inputs(request);
    if inputs.iter().any(|input| input.contains("poison")) {
        let error = json!({"error": {"message": "the input is poisoned", "type": "invalid_request_error", "code": "bad_input", "param": "input"}});
        return Reply::new(400, error.to_string());
    }
    let vectors: Vec<_> = inputs.iter().map(|input| vector(input)).collect();
    Reply::new(200, answer(request, &vectors).to_string())
}
