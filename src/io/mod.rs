//! What comes from outside: files that a query names by path or URL, wherever they are, and what it may reach.

mod access;
mod cloud;
mod failure;
mod file_catalog;
pub(crate) mod file_tables;
mod files;
mod glob;
mod guard;
mod http;
mod http_store;
mod hub;
mod location;
pub(crate) mod model_repository;
mod options;
pub(crate) mod packed_vectors;
mod paths;
mod stores;

pub use access::{AllowHosts, AllowPaths};
pub(crate) use failure::sentence as store_failure;
pub(crate) use files::Files;
pub(crate) use glob::FoundFile;
pub use options::FileOptions;
pub(crate) use stores::Stores;

fn too_large(max_bytes: u64) -> String {
    format!("it has more than the {max_bytes} bytes that one value may have (max_bytes, semantic.max_bytes)")
}
