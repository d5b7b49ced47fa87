//! Embedding and semantic search as plain SQL, for Apache DataFusion.

#[cfg(feature = "shell")]
pub mod cli;
pub mod io;
pub mod planner;
pub mod session;
pub mod types;
