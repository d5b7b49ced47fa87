//! Published models: <https://ai.google.dev/gemini-api/docs/embeddings>
use crate::models::remote::protocol::{KnownModel, Lengths};

pub(super) const MODELS: &[KnownModel] =
    &[KnownModel::text("gemini-embedding-001", 3072, 2048).with_lengths(Lengths::UpTo)];
