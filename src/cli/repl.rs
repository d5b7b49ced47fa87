//! The interactive shell: reads until a semicolon, runs, prints, and goes on after an error.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use datafusion::sql::sqlparser::dialect::Dialect;
use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use tokio::runtime::Runtime;

use super::complain;
use super::run::{Shell, Stop};
use super::statements::is_complete;

const HELP: &str = "\
A statement ends with a semicolon and may span lines. Ctrl-C cancels it, Ctrl-D ends the shell.
  \\?   this help
  \\q   quit";

/// Reads and runs statements until the end of input or `\q`. What is typed is kept in a history file.
pub fn run(runtime: &Runtime, shell: &mut Shell) -> rustyline::Result<()> {
    shell.interactive = true;
    let config = Config::builder().auto_add_history(true).history_ignore_dups(true)?.build();
    let mut editor: Editor<Statements, FileHistory> = Editor::with_config(config)?;
    let history = history_file();
    if let Some(history) = &history {
        // there is none the first time
        let _ = editor.load_history(history);
    }
    if !shell.quiet {
        let version = env!("CARGO_PKG_VERSION");
        let _ =
            writeln!(shell.out, "semsql {version}. End a statement with a semicolon; \\? helps, \\q quits.");
        let _ = shell.out.flush();
    }
    loop {
        editor.set_helper(Some(Statements { dialect: shell.dialect() }));
        match editor.readline("semsql> ") {
            Ok(typed) => match typed.trim() {
                "\\q" | "exit" | "quit" => break,
                "\\?" => {
                    let _ = writeln!(shell.out, "{HELP}");
                    let _ = shell.out.flush();
                }
                command if command.starts_with('\\') => {
                    complain(format_args!("unknown command {command}; \\? helps"));
                }
                _ => {
                    if !run_typed(runtime, shell, &typed) {
                        break;
                    }
                }
            },
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(e),
        }
        // saved each time: a shell may be killed
        if let Some(history) = &history {
            let _ = editor.append_history(history);
        }
    }
    Ok(())
}

/// Runs what was typed; false where nobody can read the results any more.
fn run_typed(runtime: &Runtime, shell: &mut Shell, typed: &str) -> bool {
    let stopped = runtime.block_on(async {
        tokio::select! {
            stopped = shell.run(typed) => stopped,
            _ = tokio::signal::ctrl_c() => Err(Stop::Interrupted),
        }
    });
    match stopped {
        Ok(()) => {}
        Err(Stop::Closed) => return false,
        Err(Stop::Interrupted) => {
            let _ = shell.out.flush();
            // behind the ^C that the terminal echoed
            complain("\ncancelled");
        }
        Err(Stop::Failed(report)) => {
            complain(format_args!("error: {}", report.message));
            if !report.excerpt.is_empty() {
                complain(report.excerpt);
            }
        }
    }
    true
}

/// `$XDG_STATE_HOME/semsql/history`; `None` where there is no home to keep it in.
fn history_file() -> Option<PathBuf> {
    let folder = Xdg::new().ok()?.state_dir()?.join("semsql");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

/// Tells the line editor whether Enter runs what was typed or starts another line.
struct Statements {
    dialect: Box<dyn Dialect>,
}

impl Validator for Statements {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let typed = context.input().trim();
        let is_command = typed.starts_with('\\') || matches!(typed, "exit" | "quit");
        Ok(if is_command || is_complete(typed, self.dialect.as_ref()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Completer for Statements {
    type Candidate = String;
}

impl Hinter for Statements {
    type Hint = String;
}

impl Highlighter for Statements {}

impl Helper for Statements {}
