//! The command line of `semsql`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::models::ModelsCommand;

/// What `semsql` was asked to do.
#[derive(Debug, Parser)]
#[command(name = "semsql", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
/// Embedding and semantic search as plain SQL.
///
/// Runs SQL from -c and -f in the order given, else from standard input, else from an interactive shell.
pub struct Arguments {
    /// Run this SQL; may be given several times
    #[arg(short = 'c', long = "command", value_name = "SQL", allow_hyphen_values = true)]
    commands: Vec<String>,

    /// Run the SQL in this file ("-": standard input); may be given several times
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print results only: no row counts, no greeting
    #[arg(short, long)]
    pub quiet: bool,

    /// How results print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Print at most this many rows of a result; 0 prints all [default: 40 in tables, 1000 in html, else all]
    #[arg(long, value_name = "N")]
    pub maxrows: Option<usize>,

    /// Set the options in this TOML file first [default: ~/.config/semsql/config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Start the interactive shell without the commands in ~/.config/semsql/semsqlrc
    #[arg(long)]
    pub no_rc: bool,
    /// Something else than SQL
    #[command(subcommand)]
    pub task: Option<Task>,

    /// -c and -f, in the order in which they were given
    #[arg(skip)]
    pub inputs: Vec<Input>,
}

/// What the command does besides running SQL.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// List, fetch, verify or remove models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// The server and its users
    #[cfg(feature = "server")]
    #[command(flatten)]
    Server(super::serve::Command),
}

/// One piece of SQL from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// the SQL itself
    Command(String),
    /// where it is; `-` is standard input
    File(PathBuf),
}

/// How the rows of a result print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// for people: cells cut to fit, embeddings as sparklines
    Table,
    /// comma-separated values; embeddings and lists as JSON
    Csv,
    /// tab-separated values; embeddings and lists as JSON
    Tsv,
    /// one JSON array of objects per result
    Json,
    /// one JSON object per row
    Ndjson,
    /// a page for a browser: thumbnails of images, embeddings drawn, columns that sort
    Html,
}

const EXAMPLES: &str = "\
Examples:
  semsql                                                   an interactive shell
  semsql -c \"SELECT * FROM 'docs.parquet' LIMIT 5\"         a file is a table: parquet, csv, tsv, json, arrow
  semsql -c \"SELECT count(*) FROM 'logs/*.ndjson'\"         so is a glob, or a folder of such files
  semsql -f setup.sql -c 'SELECT * FROM t' --format csv    both, in this order
  semsql -f photos.sql --format html > photos.html         a page with thumbnails
  echo 'SELECT 1' | semsql --format json
  semsql models pull BAAI/bge-small-en-v1.5                a model of the Hugging Face hub
  semsql serve --config server.toml                        a Flight SQL server; semsql serve --help";

impl Arguments {
    /// Reads the command line of this process; prints help, version or a usage error itself and then ends it.
    #[must_use]
    pub fn parse() -> Self {
        Self::try_parse_from(std::env::args_os()).unwrap_or_else(|e| e.exit())
    }

    /// Reads a command line, program name first.
    pub fn try_parse_from(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(line)?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        arguments.inputs = inputs(&matches, &arguments);
        Ok(arguments)
    }
}

/// clap keeps -c and -f apart: their places on the command line bring them together again.
fn inputs(matches: &ArgMatches, arguments: &Arguments) -> Vec<Input> {
    let places = |id: &str| matches.indices_of(id).into_iter().flatten();
    let commands = places("commands").zip(arguments.commands.iter().cloned().map(Input::Command));
    let files = places("files").zip(arguments.files.iter().cloned().map(Input::File));
    let mut inputs: Vec<_> = commands.chain(files).collect();
    inputs.sort_by_key(|(place, _)| *place);
    inputs.into_iter().map(|(_, input)| input).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn models_are_a_task_of_their_own() {
        let models = vec!["a/b".to_owned(), "c@int8".to_owned()];
        let task = parsed("semsql models pull a/b c@int8").task;
        assert_eq!(task, Some(Task::Models(ModelsCommand::Pull { models })));
        assert_eq!(parsed("semsql models list").task, Some(Task::Models(ModelsCommand::List)));
        for line in ["semsql models", "semsql models pull", "semsql -c x models list"] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn inputs_keep_their_order() {
        let command = |sql: &str| Input::Command(sql.to_owned());
        let file = |path: &str| Input::File(path.into());
        assert_eq!(
            parsed("semsql -c a -f b -q --command c --file=d -c --e").inputs,
            [command("a"), file("b"), command("c"), file("d"), command("--e")]
        );
        assert_eq!(parsed("semsql").inputs, []);
    }
}
