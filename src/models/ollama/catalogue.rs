//! Models of <https://ollama.com/search?c=embedding>; those of which tags differ in length are left out.
use crate::models::remote::protocol::{KnownModel, Lengths};

pub(super) const MODELS: &[KnownModel] = &[
    KnownModel {
        prefixes: Some(("search_query: ", "search_document: ")),
        ..KnownModel::text("nomic-embed-text", 768, 2048).with_lengths(Lengths::UpTo)
    },
    KnownModel::text("mxbai-embed-large", 1024, 512),
    KnownModel::text("bge-m3", 1024, 8192),
];
