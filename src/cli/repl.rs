//! The interactive shell: reads until a semicolon, runs, prints, and goes on after an error.

use std::borrow::Cow;
use std::io::Write;

use datafusion::sql::sqlparser::dialect::Dialect;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use tokio::runtime::Runtime;

use super::complain;
use super::completion::Completion;
use super::highlight::highlight;
use super::interrupts::Interrupts;
use super::run::{Shell, Stop};
use super::statements::is_complete;
use super::user_files;

/// Reads and runs statements until the end of input or `\q`, after those of the startup file if `with_startup`. What is
/// typed is kept in a history file.
pub fn run(
    runtime: &Runtime,
    interrupts: &Interrupts,
    shell: &mut Shell,
    with_startup: bool,
) -> rustyline::Result<()> {
    let config = Config::builder()
        .auto_add_history(true)
        .history_ignore_dups(true)?
        .max_history_size(10_000)?
        .completion_type(CompletionType::List)
        .build();
    let mut editor: Editor<Typing, FileHistory> = Editor::with_config(config)?;
    let history = user_files::history();
    if let Some(history) = &history {
        // one that cannot be read is as good as none
        let _ = editor.load_history(history);
    }
    if !shell.quiet {
        let version = env!("CARGO_PKG_VERSION");
        let _ = shell
            .say(format_args!("semsql {version}. End a statement with a semicolon; \\? helps, \\q quits."));
    }
    if with_startup && !run_startup(runtime, interrupts, shell) {
        return Ok(());
    }
    loop {
        let completion = Completion { ctx: shell.ctx.clone(), runtime: runtime.handle().clone() };
        editor.set_helper(Some(Typing { dialect: shell.dialect(), completion }));
        let goes_on = match editor.readline("semsql> ") {
            Ok(typed) if leaves(&typed) => false,
            Ok(typed) => run_typed(runtime, interrupts, shell, "", &typed),
            // Ctrl-C drops what was typed
            Err(ReadlineError::Interrupted) => true,
            Err(ReadlineError::Eof) => false,
            Err(e) => return Err(e),
        };
        // saved each time: a shell may be killed
        if let Some(history) = &history {
            let _ = editor.append_history(history);
        }
        if !goes_on {
            return Ok(());
        }
    }
}

/// Runs the commands and statements that a person wants in every shell; false where they end it.
fn run_startup(runtime: &Runtime, interrupts: &Interrupts, shell: &mut Shell) -> bool {
    let Some(path) = user_files::startup().filter(|path| path.exists()) else { return true };
    let confirms = std::mem::replace(&mut shell.interactive, false);
    let goes_on = match user_files::read_script(&path) {
        Ok(script) => run_typed(runtime, interrupts, shell, &path.display().to_string(), &script),
        Err(reason) => {
            complain(format_args!("error: {reason}"));
            true
        }
    };
    shell.interactive = confirms;
    goes_on
}

/// Runs what was typed; false where the shell ends, or where nobody can read the results any more.
fn run_typed(runtime: &Runtime, interrupts: &Interrupts, shell: &mut Shell, name: &str, typed: &str) -> bool {
    let stopped = runtime.block_on(interrupts.during(shell.run(name, typed)));
    shell.depth = 0;
    match stopped.unwrap_or(Err(Stop::Interrupted)) {
        Ok(()) => {}
        Err(Stop::Closed | Stop::Quit) => return false,
        Err(Stop::Interrupted) => {
            let _ = shell.out.end_page();
            let _ = shell.out.flush();
            // behind the ^C that the terminal echoed
            complain("\ncancelled");
        }
        Err(Stop::Failed(report)) => complain(format_args!("error: {report}")),
    }
    true
}

/// Whether what was typed ends the shell; `\q` does so on the last line of a statement that is not finished.
fn leaves(typed: &str) -> bool {
    let typed = typed.trim();
    let word = typed.trim_end_matches(';').trim_end();
    matches!(word, "exit" | "quit") || typed.lines().next_back().is_some_and(|line| line.trim() == r"\q")
}

/// What the line editor asks while somebody types.
struct Typing {
    dialect: Box<dyn Dialect>,
    completion: Completion,
}

/// Whether Enter runs what was typed or starts another line.
impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let typed = context.input().trim();
        let is_done = leaves(typed) || is_complete(typed, self.dialect.as_ref());
        Ok(if is_done { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Typing {
    type Candidate = Pair;

    fn complete(&self, typed: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.completion.complete(typed, cursor, self.dialect.as_ref());
        let pair = |candidate: super::completion::Candidate| Pair {
            display: candidate.shown,
            replacement: candidate.text,
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for Typing {
    type Hint = String;
}

/// Not asked where there is no terminal, or where `NO_COLOR` is set.
impl Highlighter for Typing {
    fn highlight<'l>(&self, typed: &'l str, _: usize) -> Cow<'l, str> {
        Cow::Owned(highlight(typed, self.dialect.as_ref()))
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m"))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

impl Helper for Typing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_several_ways_out() {
        for typed in ["exit", "quit;", " exit ; ", "SELECT 1\n\\q", "SELECT '\n \\q "] {
            assert!(leaves(typed), "{typed}");
        }
        assert!(!leaves("SELECT 1 AS exit;") && !leaves("\\q\nSELECT 1;"));
    }
}
