//! The Arrow layout and metadata of an embedding and of an image, and how a cell of either prints. Arrow only.

pub mod display;
pub mod embedding;
pub mod image;
mod kind;
pub(crate) mod packed;
mod sparkline;
pub mod tensor;
pub(crate) mod vectors;

/// Field metadata: the space in which an embedding lives, see [`embedding::EmbeddingSpace::name`].
pub const SPACE_KEY: &str = "semantic.space";
/// Field metadata: `true` if every vector of the column has length 1.
pub const NORMALIZED_KEY: &str = "semantic.normalized";
/// Field metadata: who made the embeddings of a column, as `provider/model`.
pub const MODEL_KEY: &str = "semantic.model";
/// Field metadata: the mode of every image of the column, where it is known at plan time.
pub const MODE_KEY: &str = "semantic.mode";
/// Arrow's key for the name of an extension type.
pub const EXTENSION_NAME_KEY: &str = "ARROW:extension:name";
/// Arrow's key for the parameters of an extension type.
pub const EXTENSION_METADATA_KEY: &str = "ARROW:extension:metadata";
/// Extension type of the bytes of vectors, as Parquet files hold embeddings.
pub const PACKED_EXTENSION: &str = "semantic.packed_vector";
/// Extension type of a decoded image, see [`image`].
pub const IMAGE_EXTENSION: &str = "semantic.image";
/// Arrow's extension type for tensors of one shape; an image is `[height, width, channels]`.
pub const TENSOR_EXTENSION: &str = "arrow.fixed_shape_tensor";
