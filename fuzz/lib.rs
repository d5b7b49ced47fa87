//! The image room alone, which knows neither Arrow nor `DataFusion`: so the fuzzer is compiled in minutes.
#[path = "../src/error.rs"]
mod error;
#[path = "../src/image/mod.rs"]
pub mod image;
