//! The command `semsql`.

use std::process::ExitCode;

use datafusion_semantic::cli::{self, arguments::Arguments};

/// Files and pixels come and go by the megabyte. The allocator of glibc keeps them in one heap for each thread: 763 MiB
/// where this one takes a third of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(&Arguments::parse())
}
