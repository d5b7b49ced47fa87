//! The command line of `semsql`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};

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

    /// Print at most this many rows of a result; 0 prints all [default: 40 in tables, else all]
    #[arg(long, value_name = "N")]
    pub maxrows: Option<usize>,

    /// Set the options in this TOML file first [default: ~/.config/semsql/config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to do beside running SQL
    #[cfg(feature = "server")]
    #[command(subcommand)]
    pub command: Option<super::serve::Command>,

    /// -c and -f, in the order in which they were given
    #[arg(skip)]
    pub inputs: Vec<Input>,
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
}

const EXAMPLES: &str = "\
Examples:
  semsql                                                   an interactive shell
  semsql -c \"SELECT * FROM 'docs.parquet' LIMIT 5\"         a file is a table: parquet, csv, tsv, json, arrow
  semsql -c \"SELECT count(*) FROM 'logs/*.ndjson'\"         so is a glob, or a folder of such files
  semsql -f setup.sql -c 'SELECT * FROM t' --format csv    both, in this order
  echo 'SELECT 1' | semsql --format json
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

    /// The most rows to print of one result; `None` prints all.
    #[must_use]
    pub fn row_limit(&self) -> Option<usize> {
        match (self.maxrows, self.format) {
            (Some(0), _) => None,
            (Some(rows), _) => Some(rows),
            (None, Format::Table) => Some(40),
            (None, _) => None,
        }
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
    fn inputs_keep_their_order() {
        let command = |sql: &str| Input::Command(sql.to_owned());
        let file = |path: &str| Input::File(path.into());
        assert_eq!(
            parsed("semsql -c a -f b -q --command c --file=d -c --e").inputs,
            [command("a"), file("b"), command("c"), file("d"), command("--e")]
        );
        assert_eq!(parsed("semsql").inputs, []);
    }

    #[test]
    fn tables_are_cut_unless_told_otherwise() {
        assert_eq!(parsed("semsql").row_limit(), Some(40));
        assert_eq!(parsed("semsql --format csv").row_limit(), None);
        assert_eq!(parsed("semsql --format csv --maxrows 3").row_limit(), Some(3));
        assert_eq!(parsed("semsql --maxrows 0").row_limit(), None);
    }
}
