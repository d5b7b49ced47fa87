//! Models that are often loaded, by the names that LM Studio gives them; their cards have the lengths and prefixes.
use crate::models::remote::protocol::{KnownModel, Lengths};

const fn with_prefixes(model: KnownModel, query: &'static str, document: &'static str) -> KnownModel {
    KnownModel { prefixes: Some((query, document)), ..model }
}

pub(super) const MODELS: &[KnownModel] = &[
    with_prefixes(
        KnownModel::text("text-embedding-nomic-embed-text-v1.5", 768, 2048).with_lengths(Lengths::UpTo),
        "search_query: ",
        "search_document: ",
    ),
    KnownModel::text("text-embedding-all-minilm-l6-v2-embedding", 384, 512),
    KnownModel::text("text-embedding-bge-m3", 1024, 8192),
    KnownModel::text("text-embedding-mxbai-embed-large-v1", 1024, 512),
    with_prefixes(
        KnownModel::text("text-embedding-multilingual-e5-large", 1024, 512),
        "query: ",
        "passage: ",
    ),
];
