//! What an error of a statement says, and where in it.

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::position::Position;
use super::reasons::message;

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
        Some((message, parsed)) => (syntax_error(message), Some(parsed)),
        None if message.ends_with("found: EOF") => (syntax_error(message), Some(end_of(sql))),
        None => (syntax_error(message), place),
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

/// `Expected: a, found: b` as a sentence.
fn syntax_error(message: &str) -> String {
    let Some((expected, found)) =
        message.strip_prefix("Expected: ").and_then(|message| message.split_once(", found: "))
    else {
        return message.to_owned();
    };
    let found = if found == "EOF" { "the end of the statement" } else { found };
    format!("expected {expected}, found {found}")
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
