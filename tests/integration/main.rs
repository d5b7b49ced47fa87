//! What users rely on, in one binary: linking DataFusion once is slow enough.
#![cfg(test)]

mod cli;
mod corpus;
mod documents;
#[path = "../../fuzz/decode.rs"]
mod fuzz;
mod http;
mod image_files;
mod images;
mod local_models;
mod mock;
mod nearest;
mod pillow;
mod pixels;
mod register;
mod slt;
mod streaming;
