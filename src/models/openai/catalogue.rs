//! Published models: <https://platform.openai.com/docs/guides/embeddings>
use crate::models::remote::protocol::{KnownModel, Lengths};

pub(super) const MODELS: &[KnownModel] = &[
    KnownModel::text("text-embedding-3-small", 1536, 8192).with_lengths(Lengths::UpTo),
    KnownModel::text("text-embedding-3-large", 3072, 8192).with_lengths(Lengths::UpTo),
    KnownModel::text("text-embedding-ada-002", 1536, 8192),
];
