//! What users rely on, in one binary: linking DataFusion once is slow enough.
#![cfg(test)]

mod cli;
mod documents;
mod http;
mod images;
mod local_models;
mod mock;
mod nearest;
mod pixels;
mod providers;
mod register;
mod slt;
mod streaming;
