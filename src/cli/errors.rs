//! What a person reads when a statement fails: one sentence, and the place.

use std::fmt::Write;

use arrow::error::ArrowError;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use unicode_width::UnicodeWidthStr;

use super::statements::{Position, Statement};
use crate::io::store_failure;

/// A failed statement, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// where in the script: the place that the error names, else the start of the statement
    pub position: Position,
    /// what went wrong
    pub message: String,
    /// the line of the statement and a caret below the place; empty where the error names no place
    pub excerpt: String,
}

impl Report {
    /// Reads an error that `statement` led to.
    #[must_use]
    pub fn new(statement: &Statement<'_>, error: &DataFusionError) -> Self {
        let (message, place) = describe(error, statement.text);
        let position = place.map_or(statement.start, |place| statement.start.offset_by(place));
        let excerpt = place.map_or_else(String::new, |place| excerpt(statement.text, place));
        Self { position, message, excerpt }
    }

    /// An error at a place in a script of which no statement could be read.
    #[must_use]
    pub fn at(script: &str, position: Position, message: String) -> Self {
        Self { position, message, excerpt: excerpt(script, position) }
    }
}

/// The error as a sentence, and its place within `sql` where it has one.
pub(crate) fn describe(error: &DataFusionError, sql: &str) -> (String, Option<Position>) {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let place = span.map(|span| Position { line: span.start.line, column: span.start.column });
    let error = match error.find_root() {
        DataFusionError::Collection(errors) => errors.first().map_or(error, DataFusionError::find_root),
        root => root,
    };
    let message = message(error);
    let message = message.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default().trim();
    if !matches!(error, DataFusionError::SQL(..)) {
        // what fails while rows are read may quote their values, which are not in the statement
        let names_parts = !matches!(error, DataFusionError::Execution(_) | DataFusionError::ArrowError(..));
        let place = place.or_else(|| place_by_name(message, names_parts, sql));
        return (message.to_owned(), place);
    }
    match split_place(message) {
        Some((message, parsed)) => (message.to_owned(), Some(parsed)),
        None if message.ends_with("found: EOF") => (message.to_owned(), Some(end_of(sql))),
        None => (message.to_owned(), place),
    }
}

/// Many errors have no place but a name, of a function (`resize: ...`) or of anything (`... 'docs.csv' ...`): the
/// place is where the statement says that name first.
fn place_by_name(message: &str, names_parts: bool, sql: &str) -> Option<Position> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().ok()?;
    let function = message.split_once(':').map(|(name, _)| name);
    let is_quoted = |name: &str| names_parts && !name.is_empty() && message.contains(&format!("'{name}'"));
    let named = |token: &&TokenWithSpan| match &token.token {
        Token::Word(word) => is_quoted(&word.value),
        Token::SingleQuotedString(text) => is_quoted(text),
        _ => false,
    };
    let called = |token: &&TokenWithSpan| match &token.token {
        Token::Word(word) => function.is_some_and(|function| word.value.eq_ignore_ascii_case(function)),
        _ => false,
    };
    let token = tokens.iter().find(named).or_else(|| tokens.iter().find(called))?;
    Some(token.span.start.into())
}

/// The text of an error without the name of its class.
fn message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::NotImplemented(text)
        | DataFusionError::Configuration(text) => without_noise(text),
        DataFusionError::Internal(text) => format!("internal error: {text}"),
        DataFusionError::ResourcesExhausted(text) => format!("resources exhausted: {text}"),
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => {
                "the statement is nested too deeply (SET datafusion.sql_parser.recursion_limit allows more)"
                    .to_owned()
            }
        },
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => no_such_column(field, valid_fields),
            error => error.to_string(),
        },
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::CastError(text)
            | ArrowError::ComputeError(text)
            | ArrowError::CsvError(text)
            | ArrowError::InvalidArgumentError(text)
            | ArrowError::JsonError(text)
            | ArrowError::NotYetImplemented(text)
            | ArrowError::ParseError(text)
            | ArrowError::SchemaError(text) => text.clone(),
            ArrowError::DivideByZero => "division by zero".to_owned(),
            ArrowError::ExternalError(error) => error.to_string(),
            error => error.to_string(),
        },
        DataFusionError::ParquetError(error) => without_noise(&error.to_string()),
        DataFusionError::External(error) => error.to_string(),
        DataFusionError::IoError(error) => error.to_string(),
        DataFusionError::ObjectStore(error) => store_failure(error),
        error => error.message().into_owned(),
    }
}

/// DataFusion's messages without what only repeats, or guesses badly.
fn without_noise(text: &str) -> String {
    if let Some((name, rest)) = text.strip_prefix("Invalid function '").and_then(|rest| rest.split_once('\''))
    {
        let guess = rest.split('\'').nth(1).filter(|guess| normalized_levenshtein(name, guess) >= LIKE);
        let guess = guess.map_or_else(String::new, |guess| format!("; did you mean '{guess}'?"));
        return format!("there is no function '{name}'{guess}");
    }
    let text = text.split(" No function matches the given name").next().unwrap_or_default();
    ["datafusion.public.", "Parquet error: ", "Json error: ", "Csv error: "]
        .iter()
        .fold(text.to_owned(), |text, noise| text.replace(noise, ""))
}

/// How alike two names must be for one to be offered for the other; 1 is the same.
const LIKE: f64 = 0.6;

/// Names the nearest column, else some of those that there are.
fn no_such_column(field: &Column, valid: &[Column]) -> String {
    const LISTED: usize = 12;
    let missing = format!("there is no column {}", field.quoted_flat_name());
    let likeness =
        |column: &Column| normalized_levenshtein(&field.name().to_lowercase(), &column.name().to_lowercase());
    let nearest = valid.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        None => missing,
        Some(nearest) if likeness(nearest) >= LIKE => {
            format!("{missing}; did you mean {}?", nearest.quoted_flat_name())
        }
        Some(_) => {
            let names: Vec<String> = valid.iter().take(LISTED).map(Column::quoted_flat_name).collect();
            let more = if valid.len() > LISTED { ", …" } else { "" };
            format!("{missing}; there are {}{more}", names.join(", "))
        }
    }
}

/// Takes ` at Line: 2, Column: 7`, which the parser writes into its message, off its end.
fn split_place(message: &str) -> Option<(&str, Position)> {
    let (text, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some((text, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
}

/// The place behind the last character.
fn end_of(sql: &str) -> Position {
    let (line, text) = sql.lines().enumerate().last().unwrap_or_default();
    Position { line: line as u64 + 1, column: text.chars().count() as u64 + 1 }
}

/// The line that `place` is on, and a caret below it. A long line is cut around the place.
fn excerpt(text: &str, place: Position) -> String {
    const BEFORE: usize = 60;
    const AFTER: usize = 40;
    let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(line) = text.lines().nth(at(place.line)) else {
        return String::new();
    };
    let line: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let caret = at(place.column).min(line.len());
    let start = if caret > BEFORE + 1 { caret - BEFORE } else { 0 };
    let end = if line.len() > caret + AFTER + 1 { caret + AFTER } else { line.len() };
    let before: String = line[start..caret].iter().collect();
    let after: String = line[caret..end].iter().collect();
    let cut = |cut: bool| if cut { "…" } else { "" };
    let mut excerpt = format!("  {}{before}{after}{}\n", cut(start > 0), cut(end < line.len()));
    let indent = 2 + usize::from(start > 0) + before.width();
    // writing to a string cannot fail
    let _ = write!(excerpt, "{:indent$}^", "");
    excerpt
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::session;

    async fn report(sql: &str) -> Report {
        let ctx: SessionContext = session::new().unwrap();
        session::sql(&ctx, "CREATE TABLE t AS SELECT 1 AS id, 'x' AS text").await.unwrap();
        let error = match session::sql(&ctx, sql).await {
            Err(e) => e,
            Ok(frame) => frame.collect().await.unwrap_err(),
        };
        let start = Position { line: 10, column: 3 };
        Report::new(&Statement { text: sql, start }, &error)
    }

    async fn shown(sql: &str) -> String {
        let Report { position: Position { line, column }, message, excerpt } = report(sql).await;
        format!("{line}:{column}: {message}\n{excerpt}")
    }

    #[tokio::test]
    async fn a_missing_column_is_pointed_at() {
        assert_eq!(
            shown("SELECT id,\n  txt FROM t").await,
            "11:3: there is no column txt; did you mean t.text?\n    txt FROM t\n    ^"
        );
        assert_eq!(
            shown("SELECT price FROM t").await.lines().next(),
            Some("10:10: there is no column price; there are t.id, t.text")
        );
    }

    #[tokio::test]
    async fn a_syntax_error_is_pointed_at() {
        let text = shown("SELECT id FORM t WHERE").await;
        assert!(
            text.starts_with("10:18: Expected: end of statement, found: t\n  SELECT id FORM t WHERE\n"),
            "{text}"
        );
        let text = shown("SELECT (1 +").await;
        assert!(text.ends_with("found: EOF\n  SELECT (1 +\n             ^"), "{text}");
    }

    #[tokio::test]
    async fn what_the_error_names_is_pointed_at() {
        assert_eq!(
            shown("SELECT id FROM\n 'nope.csv'").await,
            "11:2: file not found: 'nope.csv'\n   'nope.csv'\n   ^"
        );
        assert_eq!(
            shown("INSERT INTO nope VALUES (1)").await.lines().next(),
            Some("10:15: table 'nope' not found")
        );
        assert_eq!(
            shown("SELECT 1, abs(text) FROM t").await,
            "10:13: Function 'abs' expects Numeric but received String.\n  SELECT 1, abs(text) FROM t\n            ^"
        );
    }

    #[tokio::test]
    async fn the_nearest_function_is_offered_only_where_it_is_near() {
        assert!(
            shown("SELECT upperr('x')")
                .await
                .contains("there is no function 'upperr'; did you mean 'upper'?\n")
        );
        assert!(shown("SELECT qqqqqqqq('x')").await.contains("there is no function 'qqqqqqqq'\n"));
    }

    #[tokio::test]
    async fn classes_of_errors_are_not_named() {
        assert_eq!(
            shown("SELECT CAST(text AS INT) FROM t").await,
            "10:3: Cannot cast string 'x' to value of Int32 type\n"
        );
        assert_eq!(shown("SELECT id / 0 FROM t").await, "10:3: division by zero\n");
    }

    #[test]
    fn wrapped_errors_are_unwrapped() {
        let inner = DataFusionError::Execution("resize: width must be positive".to_owned());
        let wrapped = DataFusionError::from(ArrowError::ExternalError(Box::new(
            DataFusionError::External(Box::new(inner)).context("while optimizing"),
        )));
        let (message, place) = describe(&wrapped, "SELECT resize(image, 0, 0)");
        assert_eq!(message, "resize: width must be positive");
        assert_eq!(place, Some(Position { line: 1, column: 8 }));
    }

    #[test]
    fn failures_of_stores_show_no_body_of_an_answer() {
        let body = "Error performing GET http://10.0.0.1/b/x in 1s, after 2 retries - Server returned non-2xx status code: 500: \
                    <Error><Key>SECRET</Key></Error>";
        let source = || std::io::Error::other(body).into();
        for (error, expected) in [
            (object_store::Error::Generic { store: "S3", source: source() }, "S3: Error performing GET"),
            (
                object_store::Error::Unauthenticated { path: "x".to_owned(), source: source() },
                "cannot use 'x': its credentials are missing or wrong",
            ),
            (
                object_store::Error::NotFound { path: "x".to_owned(), source: source() },
                "cannot use 'x': there is no such file",
            ),
        ] {
            let (message, _) = describe(&DataFusionError::ObjectStore(Box::new(error)), "SELECT 1");
            assert!(message.contains(expected) && !message.contains("SECRET"), "{message}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let sql = format!("SELECT {}oops, {}", "1, ".repeat(100), "2, ".repeat(100));
        let text = excerpt(&sql, Position { line: 1, column: 308 });
        let (line, caret) = text.split_once('\n').unwrap();
        assert!(line.starts_with("  …") && line.ends_with('…') && line.chars().count() < 110);
        let place = caret.chars().count() - 1;
        assert_eq!(line.chars().skip(place).take(4).collect::<String>(), "oops");
    }
}
