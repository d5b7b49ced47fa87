//! Embedding and semantic search as plain SQL, for Apache DataFusion.
pub mod config;
mod error;
mod functions;
pub mod image;
mod inference;
mod io;
pub mod models;
mod register;
pub mod types;
pub mod vector;

pub use error::{Error, Result};
pub use register::{register_all, register_with};
