//! Embedding and semantic search as plain SQL, for Apache DataFusion.
mod blocking;
#[cfg(feature = "shell")]
pub mod cli;
pub mod config;
mod error;
mod functions;
pub mod image;
mod inference;
pub mod io;
pub mod models;
pub mod planner;
mod register;
pub mod session;
pub mod types;
pub mod vector;

pub use error::{Error, Result};
pub use register::{register_all, register_with};
