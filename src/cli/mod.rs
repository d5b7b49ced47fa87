//! `semsql`: SQL in, rows out, from the command line, from files, or typed at a prompt.

pub mod arguments;
mod commands;
mod completion;
mod cursor;
mod describe;
pub(crate) mod errors;
mod highlight;
mod hints;
mod html;
mod interrupts;
mod keywords;
pub mod models;
mod output;
mod pager;
mod pictures;
mod print;
mod progress;
mod repl;
mod run;
mod running;
#[cfg(feature = "server")]
pub mod serve;
mod settings;
mod statements;
mod table;
mod terminal;
mod thumbnails;
mod user_files;
mod values;
mod variables;

use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use datafusion::prelude::SessionContext;
use tokio::runtime::{Builder, Runtime};

use crate::{planner, session};
use arguments::{Arguments, Input, Task};
use interrupts::Interrupts;
use output::Output;
use progress::{LastPlan, Line, Progress};
use run::{Shell, Stop};
use running::PausingJoins;
use settings::Settings;
use variables::Variables;

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
    if let Some(Task::Server(command)) = &arguments.task {
        return serve::run(command);
    }
    let interactive = arguments.inputs.is_empty() && io::stdin().is_terminal();
    let (runtime, interrupts, mut shell) = match start(arguments, interactive) {
        Ok(started) => started,
        Err(reason) => return fail(reason),
    };
    if let Some(Task::Models(command)) = &arguments.task {
        let code = command.run(&runtime, &interrupts, &mut shell);
        runtime.shutdown_background();
        return code;
    }
    let code = if interactive {
        match repl::run(&runtime, &interrupts, &mut shell, !arguments.no_rc) {
            Ok(()) => None,
            Err(reason) => Some(fail(reason)),
        }
    } else if arguments.inputs.is_empty() {
        run_input(&runtime, &interrupts, &mut shell, &Input::File("-".into())).err()
    } else {
        arguments
            .inputs
            .iter()
            .try_for_each(|input| run_input(&runtime, &interrupts, &mut shell, input))
            .err()
    };
    // what was cancelled may still be inside a call that cannot be interrupted: do not wait for it
    runtime.shutdown_background();
    code.unwrap_or(ExitCode::SUCCESS)
}

fn start(
    arguments: &Arguments,
    interactive: bool,
) -> Result<(Runtime, Interrupts, Shell), Box<dyn std::error::Error>> {
    let runtime = Builder::new_multi_thread().enable_all().thread_stack_size(EXECUTION_STACK).build()?;
    let interrupts = Interrupts::listen(interactive)?;
    let ctx = session::new()?;
    planner::append_physical_rule(&ctx, Arc::new(PausingJoins));
    configure(&ctx, arguments.config.as_deref())?;
    let line = Arc::new(Line::new());
    let progress = Progress::is_wanted(arguments.quiet).then(|| {
        let plan = Arc::new(LastPlan::default());
        planner::append_physical_rule(&ctx, Arc::clone(&plan) as _);
        Arc::new(Progress { line: Arc::clone(&line), plan })
    });
    let shell = Shell {
        ctx,
        out: Output::stdout(Arc::clone(&line)),
        settings: Settings::new(arguments, interactive),
        variables: Variables::default(),
        quiet: arguments.quiet,
        interactive,
        progress,
        line,
        depth: 0,
    };
    Ok((runtime, interrupts, shell))
}

/// Sets the options of a file: the one that is named, or else the user's own if there is one.
fn configure(ctx: &SessionContext, named: Option<&Path>) -> Result<(), String> {
    let own = || user_files::config().filter(|path| path.exists());
    let Some(path) = named.map(Path::to_owned).or_else(own) else {
        return Ok(());
    };
    let text =
        fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    session::configure(ctx, &text)
        .map_err(|error| format!("{}: {}", path.display(), error.find_root().message()))
}

/// Runs one piece of SQL; `Err` is the exit status with which everything ends.
fn run_input(
    runtime: &Runtime,
    interrupts: &Interrupts,
    shell: &mut Shell,
    input: &Input,
) -> Result<(), ExitCode> {
    let (name, script) = match input {
        Input::Command(sql) => ("-c".to_owned(), Ok(sql.clone())),
        Input::File(path) if path == Path::new("-") => {
            ("stdin".to_owned(), user_files::script("stdin", read_stdin()))
        }
        Input::File(path) => (path.display().to_string(), user_files::read_script(path)),
    };
    let script = script.map_err(fail)?;
    let stopped = runtime.block_on(interrupts.during(shell.run(&name, &script)));
    match stopped.unwrap_or(Err(Stop::Interrupted)) {
        Ok(()) => Ok(()),
        Err(Stop::Closed | Stop::Quit) => Err(ExitCode::SUCCESS),
        Err(Stop::Interrupted) => Err(ExitCode::from(INTERRUPTED)),
        Err(Stop::Failed(report)) => Err(fail(report)),
    }
}

fn read_stdin() -> io::Result<String> {
    let mut script = String::new();
    io::stdin().read_to_string(&mut script)?;
    Ok(script)
}

fn fail(reason: impl Display) -> ExitCode {
    complain(format_args!("semsql: {reason}"));
    ExitCode::FAILURE
}

/// Writes to standard error. Where that is closed nobody is there to be told.
fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
