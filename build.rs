//! Says what makes the build slow to run; nothing is generated.
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let needs_nasm = arch == "x86" || arch == "x86_64";
    if needs_nasm && Command::new("nasm").arg("-v").output().is_err() {
        println!(
            "cargo::warning=nasm was not found: JPEG images will be decoded at a third of the speed. Install nasm, run \
             `cargo clean -p mozjpeg-sys`, and build again"
        );
    }
}
