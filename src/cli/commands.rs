//! The commands of the shell that are not SQL. They start with a backslash and end with their line, as psql's do.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use datafusion::common::DataFusionError;

use super::output::Output;
use super::run::{Shell, Stop};
use super::{errors, settings, user_files};
use crate::statement::names::nearest;

/// A command, as `\?` shows it.
#[derive(Debug)]
pub struct Command {
    /// with its backslash
    pub name: &'static str,
    /// as a person would write them
    pub arguments: &'static str,
    /// what it does
    pub help: &'static str,
}

/// All commands, in the order in which they are shown.
pub const COMMANDS: [Command; 12] = [
    command(r"\?", "", "this help"),
    command(r"\q", "", "quit, as Ctrl-D does"),
    command(r"\d", "[TABLE]", "the tables, or the columns of one; a path in quotes is a table too"),
    command(r"\df", "[PATTERN]", "the functions of semsql, or all whose name matches; * is any text"),
    command(r"\models", "", "the models that can be named"),
    command(r"\i", "FILE", "run the statements of a file"),
    command(r"\o", "[FILE]", "send results to a file, or to the terminal again"),
    command(r"\timing", "[on|off]", "whether the time of a statement is shown"),
    command(r"\pset", "[NAME [VALUE]]", "show or change how results are shown"),
    command(
        r"\set",
        "[NAME [VALUE]]",
        "show or set variables; :NAME, :'NAME' and :\"NAME\" stand for them in SQL",
    ),
    command(r"\unset", "NAME", "forget a variable"),
    command(r"\echo", "[TEXT]", "print text"),
];

const fn command(name: &'static str, arguments: &'static str, help: &'static str) -> Command {
    Command { name, arguments, help }
}

/// Files that run files are an endless loop at some point.
const DEEPEST: usize = 16;

/// Why a command did nothing.
#[derive(Debug)]
pub enum Problem {
    /// in the words of the command
    Message(String),
    /// a statement behind it failed
    Failed(Box<DataFusionError>),
    /// everything ends
    Stop(Stop),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Failed(error) => f.write_str(&errors::message_of(error)),
            Self::Stop(_) => f.write_str("stopped"),
        }
    }
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl From<DataFusionError> for Problem {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Stop(Stop::Closed),
            _ => Self::Message(format!("cannot write: {error}")),
        }
    }
}

impl Shell {
    /// Runs one command.
    pub async fn run_command(&mut self, line: &str) -> Result<(), Problem> {
        let result = self.dispatch(line).await;
        match self.out.end_page() {
            Ok(true) => Ok(()),
            Ok(false) => result,
            Err(error) => result.and(Err(error.into())),
        }
    }

    async fn dispatch(&mut self, line: &str) -> Result<(), Problem> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match name {
            r"\?" | r"\h" | r"\help" => self.help()?,
            r"\q" | r"\quit" => return Err(Problem::Stop(Stop::Quit)),
            r"\d" if rest.is_empty() => self.describe_tables().await?,
            r"\d" => self.describe_table(rest).await?,
            r"\df" => self.describe_functions(rest).await?,
            r"\models" => self.describe_models().await?,
            r"\i" => self.run_file(&self.one_word(name, rest)?).await?,
            r"\o" => self.redirect(&self.words(rest)?)?,
            r"\timing" => self.switch_timing(rest)?,
            r"\pset" => self.change_setting(&self.words(rest)?)?,
            r"\set" => self.set_variable(&self.words(rest)?)?,
            r"\unset" => {
                let variable = self.one_word(name, rest)?;
                self.variables.unset(&variable);
            }
            r"\echo" => {
                writeln!(self.out, "{}", self.words(rest)?.join(" "))?;
                self.out.flush()?;
            }
            _ => {
                let known = COMMANDS.iter().map(|command| command.name);
                let guess = nearest(name, known).map_or_else(
                    || r"\? lists what there is".to_owned(),
                    |known| format!("did you mean {known}?"),
                );
                return Err(format!("there is no command {name}; {guess}").into());
            }
        }
        Ok(())
    }

    fn help(&mut self) -> io::Result<()> {
        self.begin_page()?;
        writeln!(
            self.out,
            "A statement ends with a semicolon and may span lines. Tab completes, Ctrl-R searches what was typed,"
        )?;
        writeln!(self.out, "Ctrl-C cancels what runs or drops what is typed, Ctrl-D ends the shell.\n")?;
        for Command { name, arguments, help } in &COMMANDS {
            writeln!(self.out, "  {:24} {help}", format!("{name} {arguments}"))?;
        }
        writeln!(self.out, "\nSettings of \\pset:")?;
        for (name, expected) in settings::NAMES {
            writeln!(self.out, "  {name:24} {expected}")?;
        }
        if let Some(path) = user_files::startup() {
            writeln!(self.out, "\nCommands and statements in {} run first.", path.display())?;
        }
        self.out.flush()
    }

    /// Runs a script; what stops it stops the one that asked for it.
    async fn run_file(&mut self, path: &str) -> Result<(), Problem> {
        if self.depth == DEEPEST {
            return Err(
                format!("\\i: {path} is the {DEEPEST}th file that a file runs: is there a loop?").into()
            );
        }
        let script = user_files::read_script(Path::new(path))
            .map_err(|reason| Problem::Message(format!("\\i: {reason}")))?;
        self.depth += 1;
        let result = Box::pin(self.run(path, &script)).await;
        self.depth -= 1;
        result.map_err(Problem::Stop)
    }

    fn redirect(&mut self, words: &[String]) -> Result<(), Problem> {
        self.out.flush()?;
        self.out = match words {
            [] => Output::stdout(Arc::clone(&self.line)),
            [path] => Output::file(&user_files::expanded(Path::new(path)), Arc::clone(&self.line))
                .map_err(|error| format!("\\o: cannot write {path}: {error}"))?,
            _ => {
                return Err(r"\o: expected one file; put a name with spaces into single quotes"
                    .to_owned()
                    .into());
            }
        };
        Ok(())
    }

    fn switch_timing(&mut self, value: &str) -> Result<(), Problem> {
        self.settings.timing = match value {
            "" => !self.settings.timing,
            "on" => true,
            "off" => false,
            other => return Err(format!("\\timing: expected on or off, found '{other}'").into()),
        };
        self.confirm(format_args!("timing: {}", if self.settings.timing { "on" } else { "off" }))
    }

    fn change_setting(&mut self, words: &[String]) -> Result<(), Problem> {
        match words {
            [] => {
                for (name, expected) in settings::NAMES {
                    let value = self.settings.get(name).unwrap_or_default();
                    writeln!(self.out, "{name:10} {value:10} {expected}")?;
                }
                Ok(self.out.flush()?)
            }
            [name] => match self.settings.get(name) {
                Some(value) => Ok(self.say(format_args!("{name}: {value}"))?),
                // says which there are
                None => Ok(self.settings.set(name, "")?),
            },
            [name, value] => {
                self.settings.set(name, value)?;
                self.confirm(format_args!("{name}: {value}"))
            }
            [name, ..] => Err(format!("\\pset: {name} has one value; put spaces into single quotes").into()),
        }
    }

    fn set_variable(&mut self, words: &[String]) -> Result<(), Problem> {
        match words {
            [] => {
                for (name, value) in self.variables.iter() {
                    writeln!(self.out, "{name} = '{value}'")?;
                }
                Ok(self.out.flush()?)
            }
            [name, value @ ..] => Ok(self.variables.set(name, value.join(" "))?),
        }
    }

    /// What a script need not be told.
    fn confirm(&mut self, text: impl fmt::Display) -> Result<(), Problem> {
        if self.interactive && !self.quiet {
            self.say(text)?;
        }
        Ok(())
    }

    fn one_word(&self, command: &str, text: &str) -> Result<String, Problem> {
        let mut words = self.words(text)?;
        match (words.pop(), words.is_empty()) {
            (Some(word), true) => Ok(word),
            (None, _) => Err(format!("{command}: expected a name, found nothing").into()),
            (Some(_), false) => {
                Err(format!("{command}: expected one name; put one with spaces into single quotes").into())
            }
        }
    }

    /// Words between spaces, or in single quotes, in which two quotes are one. `:name` is a variable.
    fn words(&self, text: &str) -> Result<Vec<String>, Problem> {
        let mut words = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix('\'') {
                let (word, behind) =
                    quoted_word(quoted).ok_or_else(|| format!("a quote is not closed: '{quoted}"))?;
                words.push(word);
                rest = behind.trim_start();
                continue;
            }
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            let variable = word.strip_prefix(':').and_then(|name| self.variables.get(name));
            words.push(variable.unwrap_or(word).to_owned());
            rest = behind.trim_start();
        }
        Ok(words)
    }
}

/// The text up to the closing quote, and what is behind it.
fn quoted_word(text: &str) -> Option<(String, &str)> {
    let mut from = 0;
    loop {
        let quote = from + text[from..].find('\'')?;
        if !text[quote + 1..].starts_with('\'') {
            return Some((text[..quote].replace("''", "'"), &text[quote + 1..]));
        }
        from = quote + 2;
    }
}
