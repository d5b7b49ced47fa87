//! Embedding and semantic search as plain SQL, for Apache DataFusion: text and images, with models on this machine.
//!
//! [`register_all`] gives any `SessionContext` the functions `embed_text`, `embed_image`, `decode_image`,
//! `convert_image`, `resize`, `encode_image`, `download`, `upload`, `cosine_distance` and more over images and vectors, the
//! table functions `glob`, `read_blob` and `functions`, the options `semantic.*`, and the planner rules that make async
//! functions legal in every clause:
//!
//! ```
//! # async fn example() -> datafusion::common::Result<()> {
//! use datafusion::prelude::SessionContext;
//!
//! let ctx = SessionContext::new();
//! datafusion_semantic::register_all(&ctx)?;
//! let best = ctx
//!     .sql(
//!         "SELECT text FROM 'documents.parquet'
//!          ORDER BY cosine_distance(embed_text(text), embed_text('What is Daft?')) LIMIT 5",
//!     )
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`session`]: a session as the command `semsql` uses it: quoted paths are tables, named arguments may be skipped.
//! - [`config::SemanticOptions`]: what queries may reach, which is nothing until the program says more.
//! - [`register_with`] and [`models`]: providers of your own.
//! - [`types`]: the Arrow layout and metadata of embeddings and images.
//! - [`image`] and [`vector`]: the kernels, on plain slices.
mod blocking;
#[cfg(feature = "shell")]
pub mod cli;
pub mod config;
mod datafusion_error;
mod error;
pub mod execution;
mod functions;
pub mod image;
mod inference;
pub mod io;
pub mod models;
mod pixels;
pub mod planner;
mod register;
#[cfg(feature = "server")]
pub mod server;
pub mod session;
mod statement;
pub mod types;
pub mod vector;

pub use error::{Error, Result};
pub use register::{register_all, register_with};
