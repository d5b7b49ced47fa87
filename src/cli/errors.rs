//! What a person reads when a statement fails: one sentence, and the place.

use std::fmt::{self, Write};

use datafusion::common::DataFusionError;
use datafusion::prelude::SessionContext;
use unicode_width::UnicodeWidthStr;

use super::hints;
use super::statements::{Position, Statement};
use super::table::visible;
use crate::statement::errors::describe;

/// A failed statement, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// the name of the script; empty for what was typed
    pub script: String,
    /// the number of the statement in a script that has several
    pub statement: Option<usize>,
    /// where in the script: the place that the error names, else the start of the statement
    pub position: Position,
    /// what went wrong
    pub message: String,
    /// the line of the statement and a caret below the place; empty where the error names no place
    pub excerpt: String,
}

impl Report {
    /// Reads an error that `statement` led to in a session.
    #[must_use]
    pub fn new(statement: &Statement<'_>, error: &DataFusionError, ctx: &SessionContext) -> Self {
        let (message, place) = describe(error, statement.text);
        let (message, place) = hints::add(message, place, error, statement.text, ctx);
        let position = place.map_or(statement.start, |place| statement.start.offset_by(place));
        let excerpt = place.map_or_else(String::new, |place| excerpt(statement.text, place));
        Self { script: String::new(), statement: None, position, message, excerpt }
    }

    /// An error at a place in a script of which no statement could be read.
    #[must_use]
    pub fn at(script: &str, position: Position, message: String) -> Self {
        Self { script: String::new(), statement: None, position, message, excerpt: excerpt(script, position) }
    }

    /// An error of a command, which says enough itself.
    #[must_use]
    pub fn of_command(position: Position, message: String) -> Self {
        Self { script: String::new(), statement: None, position, message, excerpt: String::new() }
    }

    /// The same in a named script.
    #[must_use]
    pub fn in_script(self, script: &str, statement: Option<usize>) -> Self {
        Self { script: script.to_owned(), statement, ..self }
    }
}

/// `script.sql:4:8: statement 2: there is no column nope`, then the line. Of what was typed, the place is seen.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.script.is_empty() {
            write!(f, "{}:{}:{}: ", visible(&self.script), self.position.line, self.position.column)?;
        }
        if let Some(number) = self.statement {
            write!(f, "statement {number}: ")?;
        }
        f.write_str(&visible_lines(&self.message))?;
        if self.excerpt.is_empty() { Ok(()) } else { write!(f, "\n{}", self.excerpt) }
    }
}

/// Text of several lines, which must not steer the terminal.
pub fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// The sentence of an error.
pub fn message_of(error: &DataFusionError) -> String {
    describe(error, "").0
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
    use arrow::error::ArrowError;

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
        Report::new(&Statement { text: sql, start }, &error, &ctx)
    }

    async fn shown(sql: &str) -> String {
        let Report { position: Position { line, column }, message, excerpt, .. } = report(sql).await;
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
            text.starts_with(
                "10:13: expected end of statement, found t; did you mean FROM?\n  SELECT id FORM t WHERE\n"
            ),
            "{text}"
        );
        let text = shown("SELECT (1 +").await;
        assert!(text.ends_with("found the end of the statement\n  SELECT (1 +\n             ^"), "{text}");
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
    fn an_error_steers_no_terminal() {
        let start = Position { line: 1, column: 1 };
        let report = Report::of_command(start, "a\u{1b}[2J\nb".to_owned()).in_script("x\u{7}", None);
        assert_eq!(report.to_string(), "x\\u{7}:1:1: a\\u{1b}[2J\nb");
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
