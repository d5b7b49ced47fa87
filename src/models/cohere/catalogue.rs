//! Published models: <https://docs.cohere.com/docs/cohere-embed>
use crate::models::remote::protocol::{Kind, KnownModel, Lengths};

const fn with_images(model: KnownModel) -> KnownModel {
    KnownModel { kinds: &[Kind::Text, Kind::Image], ..model }
}

pub(super) const MODELS: &[KnownModel] = &[
    with_images(
        KnownModel::text("embed-v4.0", 1536, 128_000).with_lengths(Lengths::Some(&[256, 512, 1024, 1536])),
    ),
    with_images(KnownModel::text("embed-english-v3.0", 1024, 512)),
    with_images(KnownModel::text("embed-multilingual-v3.0", 1024, 512)),
    with_images(KnownModel::text("embed-english-light-v3.0", 384, 512)),
    with_images(KnownModel::text("embed-multilingual-light-v3.0", 384, 512)),
];
