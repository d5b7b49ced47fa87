//! What users rely on, in one binary: linking DataFusion once is slow enough.
#![cfg(test)]

mod access;
mod architectures;
mod cli;
#[cfg(feature = "cloud")]
mod clouds;
mod corpus;
mod documents;
#[cfg(feature = "server")]
mod flight;
#[path = "../../fuzz/decode.rs"]
mod fuzz;
mod http;
mod hub;
mod image_files;
mod images;
mod local_models;
mod mock;
mod model_files;
mod nearest;
mod page;
mod pillow;
mod pixels;
mod providers;
mod pull;
mod register;
mod server;
mod slt;
mod stored_vectors;
mod streaming;
mod terminal;
mod tiny_models;
mod upload;
