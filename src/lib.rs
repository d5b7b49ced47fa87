//! Embedding and semantic search as plain SQL, for Apache DataFusion.

pub mod planner;
