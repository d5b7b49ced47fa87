//! The command `semsql`.

use std::process::ExitCode;

use datafusion_semantic::cli::{self, arguments::Arguments};

fn main() -> ExitCode {
    cli::run(&Arguments::parse())
}
