//! A script, split into statements that know where they stand.
//!
//! A line that starts with a backslash, where no statement is half written, is a command to the shell. It is a statement
//! here too, to the end of its line; no statement of SQL starts with a backslash.

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer, TokenizerError};

pub use crate::statement::position::Position;

/// One statement of a script, without its semicolon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// from its first token to its last
    pub text: &'a str,
    /// where its first token stands in the script, from line 1, column 1
    pub start: Position,
}

impl Statement<'_> {
    /// Whether it is a command to the shell, such as `\timing`.
    pub fn is_command(&self) -> bool {
        self.text.starts_with('\\')
    }
}

/// Splits at the semicolons that are not inside a string, a quoted name or a comment, and around commands.
///
/// Fails where the script has no tokens, such as at a string that does not end: from there on it would be a guess
/// what is a statement and what is text.
pub fn split<'a>(script: &'a str, dialect: &dyn Dialect) -> Result<Vec<Statement<'a>>, TokenizerError> {
    let (mut statements, rest) = split_at_commands(script, dialect);
    statements.extend(rest.split(dialect)?.statements);
    Ok(statements)
}

/// Whether a shell should run what was typed, or wait for more: a statement ends with a semicolon.
#[must_use]
pub fn is_complete(typed: &str, dialect: &dyn Dialect) -> bool {
    match split_at_commands(typed, dialect).1.split(dialect) {
        Ok(sql) => sql.is_complete,
        // what is not closed may still be; any other error is shown at once
        Err(e) => !["EOF", "Unterminated"].iter().any(|sign| e.message.contains(sign)),
    }
}

/// Everything up to the last command, and the SQL behind it.
fn split_at_commands<'a>(script: &'a str, dialect: &dyn Dialect) -> (Vec<Statement<'a>>, Part<'a>) {
    let mut statements = Vec::new();
    let mut rest = Part { text: script, line: 1 };
    let mut offset = 0;
    for (number, line) in (1..).zip(script.split_inclusive('\n')) {
        let start = offset;
        offset += line.len();
        let command = line.trim_start();
        if !command.starts_with('\\') {
            continue;
        }
        let from = script.len() - rest.text.len();
        // in a string, a comment or the middle of a statement a backslash is no command
        let before = Part { text: &script[from..start], line: rest.line };
        let Some(sql) = before.split(dialect).ok().filter(|sql| sql.is_complete) else { continue };
        statements.extend(sql.statements);
        let indent = line[..line.len() - command.len()].chars().count() as u64;
        let text = command.trim_end().trim_end_matches(';').trim_end();
        statements.push(Statement { text, start: Position { line: number, column: indent + 1 } });
        rest = Part { text: &script[offset..], line: number + 1 };
    }
    (statements, rest)
}

/// SQL that starts at the beginning of a line of a script.
struct Part<'a> {
    text: &'a str,
    /// the number of its first line
    line: u64,
}

struct Sql<'a> {
    statements: Vec<Statement<'a>>,
    /// whether the last statement has its semicolon
    is_complete: bool,
}

impl<'a> Part<'a> {
    fn split(&self, dialect: &dyn Dialect) -> Result<Sql<'a>, TokenizerError> {
        let script = self.text;
        let in_script = |location: Location| Location::new(location.line + self.line - 1, location.column);
        let tokens = Tokenizer::new(dialect, script).tokenize_with_location().map_err(|error| {
            TokenizerError { location: in_script(error.location), message: error.message }
        })?;
        let mut offsets = Offsets::new(script);
        let mut statements = Vec::new();
        let mut current: Option<(Position, usize, usize)> = None;
        for token in &tokens {
            match &token.token {
                Token::Whitespace(_) | Token::EOF => {}
                Token::SemiColon => statements.extend(current.take()),
                _ => {
                    let start = offsets.of(token.span.start);
                    let end = offsets.of(token.span.end);
                    let first = current.map_or_else(
                        || (in_script(token.span.start).into(), start),
                        |(position, start, _)| (position, start),
                    );
                    current = Some((first.0, first.1, end));
                }
            }
        }
        let is_complete = current.is_none();
        statements.extend(current);
        let statement = |(start, from, to)| Statement { text: &script[from..to], start };
        Ok(Sql { statements: statements.into_iter().map(statement).collect(), is_complete })
    }
}

/// Turns the tokenizer's lines and columns into byte offsets, in one pass: tokens come in order.
pub struct Offsets<'a> {
    rest: std::str::CharIndices<'a>,
    length: usize,
    at: Location,
}

impl<'a> Offsets<'a> {
    pub fn new(script: &'a str) -> Self {
        Self { rest: script.char_indices(), length: script.len(), at: Location::new(1, 1) }
    }

    /// Must be asked for places in ascending order.
    pub fn of(&mut self, place: Location) -> usize {
        while self.at < place {
            match self.rest.next() {
                Some((_, '\n')) => self.at = Location::new(self.at.line + 1, 1),
                Some(_) => self.at.column += 1,
                None => return self.length,
            }
        }
        self.rest.offset()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};

    use super::*;

    fn texts(script: &str) -> Vec<&str> {
        split(script, &GenericDialect {}).unwrap().iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn semicolons_end_statements() {
        assert_eq!(texts("SELECT 1; SELECT 2 ;\nSELECT 3"), ["SELECT 1", "SELECT 2", "SELECT 3"]);
        assert_eq!(texts(""), [""; 0]);
        assert_eq!(texts(" ;; -- nothing\n ; /* here */"), [""; 0]);
    }

    #[test]
    fn semicolons_in_quotes_and_comments_do_not() {
        for statement in [
            "SELECT ';'",
            "SELECT 'it''s; '",
            r#"SELECT ";" FROM t"#,
            "SELECT $$a;b$$",
            "SELECT $x$a;$$;b$x$",
            "SELECT 1 -- a;b\n + 2",
            "SELECT /* a; /* b; */ c; */ 1",
            "SELECT 'ü;ß' AS \"日;本\"",
        ] {
            assert_eq!(texts(&format!("{statement};SELECT 2")), [statement, "SELECT 2"]);
        }
    }

    #[test]
    fn comments_around_a_statement_are_not_part_of_it() {
        assert_eq!(
            texts("-- first\nSELECT 1 /* done */; -- next\nSELECT 2 -- end"),
            ["SELECT 1", "SELECT 2"]
        );
    }

    #[test]
    fn a_line_with_a_backslash_is_a_command() {
        let script =
            "\\set x it's\nSELECT 1;\n  \\d t;\nSELECT ';\n\\d';\n/*\n\\q\n*/ SELECT\n 2;\n\\i a b.sql\n";
        let found = split(script, &GenericDialect {}).unwrap();
        let places: Vec<_> =
            found.iter().map(|found| (found.start.line, found.start.column, found.text)).collect();
        assert_eq!(
            places,
            [
                (1, 1, "\\set x it's"),
                (2, 1, "SELECT 1"),
                (3, 3, "\\d t"),
                (4, 1, "SELECT ';\n\\d'"),
                (8, 4, "SELECT\n 2"),
                (10, 1, "\\i a b.sql")
            ]
        );
        assert_eq!(found.iter().filter(|found| found.is_command()).count(), 3);
    }

    #[test]
    fn statements_know_where_they_start() {
        let script = "SELECT '日本';  SELECT 2;\n\n  SELECT\r\n 3";
        let places: Vec<_> = split(script, &GenericDialect {})
            .unwrap()
            .iter()
            .map(|statement| (statement.start.line, statement.start.column, statement.text))
            .collect();
        assert_eq!(places, [(1, 1, "SELECT '日本'"), (1, 15, "SELECT 2"), (3, 3, "SELECT\r\n 3")]);
    }

    #[test]
    fn places_within_a_statement_become_places_in_the_script() {
        let place = |line, column| Position { line, column };
        assert_eq!(place(3, 5).offset_by(place(1, 8)), place(3, 12));
        assert_eq!(place(3, 5).offset_by(place(2, 8)), place(4, 8));
    }

    #[test]
    fn what_does_not_end_is_an_error_at_its_start() {
        let error = split("SELECT 1;\nSELECT 'a", &GenericDialect {}).unwrap_err();
        assert_eq!((error.location.line, error.location.column), (2, 8));
    }

    #[test]
    fn a_shell_waits_for_the_semicolon() {
        let complete = |typed| is_complete(typed, &PostgreSqlDialect {});
        for typed in [
            "",
            "SELECT 1;",
            "SELECT 1; -- done",
            "SELECT 1;\n",
            "-- a note",
            "SELECT 1; SELECT 2;",
            "\\d",
            "SELECT 1;\n\\d it's",
        ] {
            assert!(complete(typed), "{typed}");
        }
        for typed in [
            "SELECT",
            "SELECT ';",
            "SELECT 1; SELECT",
            "/* a;",
            "SELECT $$;",
            "SELECT \";",
            "SELECT 1 -- ;",
            "\\d\nSELECT 1",
            "SELECT 1\n\\d",
            "SELECT '\n\\d",
        ] {
            assert!(!complete(typed), "{typed}");
        }
    }
}
