//! The Arrow layout and metadata of an embedding and of an image, and how a cell of either prints.

pub mod display;
mod kind;
mod sparkline;

/// Field metadata key of an embedding: names the vector space, so that distances are taken within one space.
pub const SPACE_KEY: &str = "semantic.space";

/// Field metadata key under which Arrow keeps the name of an extension type.
pub const EXTENSION_NAME_KEY: &str = "ARROW:extension:name";

/// Field metadata key under which Arrow keeps the parameters of an extension type.
pub const EXTENSION_METADATA_KEY: &str = "ARROW:extension:metadata";

/// Extension name of a decoded image: a struct of data, height, width, channels and mode.
pub const IMAGE_EXTENSION: &str = "semantic.image";

/// Extension name of an image of known size: Arrow's canonical tensor, here height x width x channels of u8.
pub const TENSOR_EXTENSION: &str = "arrow.fixed_shape_tensor";
