//! What comes from outside: files that a query names by path, and what it downloads.

pub(crate) mod download;
mod file_catalog;
pub mod file_tables;
pub(crate) mod glob;
pub(crate) mod packed_vectors;
mod paths;
