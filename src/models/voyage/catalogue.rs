//! Published models: <https://docs.voyageai.com/docs/embeddings>,
//! <https://docs.voyageai.com/docs/multimodal-embeddings>
use crate::models::remote::protocol::{Kind, KnownModel, Lengths};

const fn model(name: &'static str, max_request_tokens: usize) -> KnownModel {
    let model = KnownModel::text(name, 1024, 32_000).with_lengths(Lengths::Some(&[256, 512, 1024, 2048]));
    KnownModel { max_request_tokens: Some(max_request_tokens), ..model }
}

pub(super) const MODELS: &[KnownModel] = &[
    model("voyage-3.5", 320_000),
    model("voyage-3.5-lite", 1_000_000),
    model("voyage-3-large", 120_000),
    model("voyage-code-3", 120_000),
    KnownModel { max_request_tokens: Some(120_000), ..KnownModel::text("voyage-finance-2", 1024, 32_000) },
    KnownModel { max_request_tokens: Some(120_000), ..KnownModel::text("voyage-law-2", 1024, 16_000) },
    KnownModel {
        max_request_tokens: Some(320_000),
        kinds: &[Kind::Text, Kind::Image],
        ..KnownModel::text("voyage-multimodal-3", 1024, 32_000)
    },
];
