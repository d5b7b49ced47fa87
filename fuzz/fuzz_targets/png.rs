#![no_main]
use datafusion_semantic::image::Format;
use libfuzzer_sys::fuzz_target;

#[path = "../decode.rs"]
mod decode;

fuzz_target!(|bytes: &[u8]| decode::decode(Format::Png, bytes));
