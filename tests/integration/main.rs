//! What users rely on, in one binary: linking DataFusion once is slow enough.
#![cfg(test)]

mod access;
mod cli;
#[cfg(feature = "cloud")]
mod clouds;
mod documents;
mod http;
mod hub;
mod images;
mod local_models;
mod mock;
mod nearest;
mod pixels;
mod register;
mod server;
mod slt;
mod stored_vectors;
mod streaming;
mod upload;
