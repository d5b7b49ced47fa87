//! `semsql`: SQL in, rows out, from the command line, from files, or typed at a prompt.

pub mod arguments;
pub(crate) mod errors;
mod print;
mod repl;
mod run;
#[cfg(feature = "server")]
mod serve;
mod statements;
mod table;
mod values;

use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use datafusion::prelude::SessionContext;
use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;
use tokio::runtime::{Builder, Runtime};

use crate::session;
use arguments::{Arguments, Input};
use print::Output;
use run::{Shell, Stop};

/// Stack of the thread that parses and plans. A sum of thousands of terms is as deep a tree, and some of DataFusion's
/// walks over it recurse. Only what is used takes memory.
const PLANNING_STACK: usize = 256 << 20;

/// Stack of the threads that execute, where such a tree is evaluated.
const EXECUTION_STACK: usize = 32 << 20;

/// What a shell answers to a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Does what the command line asks for. Results go to standard output, everything else to standard error.
///
/// The exit status is 0, or 1 after a failure, or 130 after Ctrl-C.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    let thread = thread::Builder::new().stack_size(PLANNING_STACK);
    thread::scope(|scope| match thread.spawn_scoped(scope, || run_here(arguments)) {
        // a panic has written its message
        Ok(running) => running.join().unwrap_or(ExitCode::FAILURE),
        Err(e) => fail(format_args!("cannot start a thread: {e}")),
    })
}

fn run_here(arguments: &Arguments) -> ExitCode {
    #[cfg(feature = "server")]
    if let Some(command) = &arguments.command {
        return serve::run(command);
    }
    let (runtime, mut shell) = match start(arguments) {
        Ok(started) => started,
        Err(reason) => return fail(reason),
    };
    let terminal = io::stdin().is_terminal();
    let code = if !arguments.inputs.is_empty() {
        arguments.inputs.iter().try_for_each(|input| run_input(&runtime, &mut shell, input)).err()
    } else if terminal {
        match repl::run(&runtime, &mut shell) {
            Ok(()) => None,
            Err(reason) => Some(fail(reason)),
        }
    } else {
        run_input(&runtime, &mut shell, &Input::File("-".into())).err()
    };
    // what was cancelled may still be inside a call that cannot be interrupted: do not wait for it
    runtime.shutdown_background();
    code.unwrap_or(ExitCode::SUCCESS)
}

fn start(arguments: &Arguments) -> Result<(Runtime, Shell), Box<dyn std::error::Error>> {
    let runtime = Builder::new_multi_thread().enable_all().thread_stack_size(EXECUTION_STACK).build()?;
    let ctx = session::new()?;
    configure(&ctx, arguments.config.as_deref())?;
    let shell = Shell {
        ctx,
        out: Output::new(Box::new(io::stdout())),
        format: arguments.format,
        row_limit: arguments.row_limit(),
        quiet: arguments.quiet,
        interactive: false,
    };
    Ok((runtime, shell))
}

/// Sets the options of a file: the one that is named, or else the user's own if there is one.
fn configure(ctx: &SessionContext, named: Option<&Path>) -> Result<(), String> {
    let own = || Some(Xdg::new().ok()?.config_dir().join("semsql/config.toml"));
    let Some(path) = named.map(Path::to_owned).or_else(|| own().filter(|path| path.exists())) else {
        return Ok(());
    };
    let text =
        fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    session::configure(ctx, &text)
        .map_err(|error| format!("{}: {}", path.display(), error.find_root().message()))
}

/// Runs one piece of SQL; `Err` is the exit status with which everything ends.
fn run_input(runtime: &Runtime, shell: &mut Shell, input: &Input) -> Result<(), ExitCode> {
    let (name, script) = match input {
        Input::Command(sql) => ("-c".to_owned(), sql.clone()),
        Input::File(path) if path == Path::new("-") => ("stdin".to_owned(), read("stdin", read_stdin())?),
        Input::File(path) => {
            let name = path.display().to_string();
            let script = read(&name, fs::read_to_string(path))?;
            (name, script)
        }
    };
    let stopped = runtime.block_on(async {
        tokio::select! {
            stopped = shell.run(&script) => stopped,
            _ = tokio::signal::ctrl_c() => Err(Stop::Interrupted),
        }
    });
    match stopped {
        Ok(()) => Ok(()),
        Err(Stop::Closed) => Err(ExitCode::SUCCESS),
        Err(Stop::Interrupted) => Err(ExitCode::from(INTERRUPTED)),
        Err(Stop::Failed(report)) => {
            let position = report.position;
            let place = format_args!("{name}:{}:{}: {}", position.line, position.column, report.message);
            if report.excerpt.is_empty() {
                return Err(fail(place));
            }
            Err(fail(format_args!("{place}\n{}", report.excerpt)))
        }
    }
}

fn read_stdin() -> io::Result<String> {
    let mut script = String::new();
    io::stdin().read_to_string(&mut script)?;
    Ok(script)
}

fn read(name: &str, script: io::Result<String>) -> Result<String, ExitCode> {
    match script {
        // editors on Windows put a byte order mark in front
        Ok(script) => Ok(script.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(script)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(fail(format_args!("file not found: {name}"))),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            Err(fail(format_args!("{name} is not UTF-8 text")))
        }
        Err(e) => Err(fail(format_args!("cannot read {name}: {e}"))),
    }
}

fn fail(reason: impl Display) -> ExitCode {
    complain(format_args!("semsql: {reason}"));
    ExitCode::FAILURE
}

/// Writes to standard error. Where that is closed nobody is there to be told.
fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
