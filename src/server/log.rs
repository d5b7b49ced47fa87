//! What is logged of a statement: its shape, never a value in it.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

/// The most characters of a statement in the log.
const MAX_CHARACTERS: usize = 1000;

/// The most bytes of a statement that are looked at for that: its tokens take a hundred times as much.
const MAX_BYTES: usize = 16 << 10;

/// The statement with `?` for each literal, without comments, on one line, cut where it is long.
pub(super) fn without_literals(sql: &str) -> String {
    let start = &sql[..sql.floor_char_boundary(MAX_BYTES)];
    let is_cut = start.len() < sql.len();
    let mut tokens: Vec<TokenWithSpan> = vec![];
    let read = Tokenizer::new(&GenericDialect {}, start).tokenize_with_location_into_buf(&mut tokens);
    if is_cut {
        // it may go on
        tokens.pop();
    } else if read.is_err() {
        return "(cannot be read)".to_owned();
    }
    let mut text = String::new();
    let mut characters = 0;
    for TokenWithSpan { token, .. } in tokens {
        let shown = match token {
            Token::Word(_) => token.to_string(),
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                continue;
            }
            Token::Whitespace(_) if text.ends_with(' ') || text.is_empty() => continue,
            Token::Whitespace(_) => " ".to_owned(),
            _ if is_literal(&token) => "?".to_owned(),
            _ => token.to_string(),
        };
        characters += shown.chars().count();
        if characters > MAX_CHARACTERS {
            text.push('…');
            return text;
        }
        text.push_str(&shown);
    }
    text.truncate(text.trim_end().len());
    if is_cut {
        text.push('…');
    }
    text
}

fn is_literal(token: &Token) -> bool {
    !matches!(
        token,
        Token::Comma
            | Token::Period
            | Token::LParen
            | Token::RParen
            | Token::LBracket
            | Token::RBracket
            | Token::LBrace
            | Token::RBrace
            | Token::SemiColon
            | Token::Colon
            | Token::DoubleColon
            | Token::Eq
            | Token::DoubleEq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::RArrow
            | Token::Arrow
            | Token::LongArrow
            | Token::Placeholder(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_literal_is_in_the_log() {
        for (sql, expected) in [
            (
                "SELECT  embed_text('my SECRET', model => 'x') -- SECRET\nFROM \"T\" WHERE a = 1.5 AND b = $1",
                "SELECT embed_text(?, model => ?) FROM \"T\" WHERE a = ? AND b = $1",
            ),
            ("SELECT X'5EC2E7', $$SECRET$$, N'SECRET', E'SECRET', /* SECRET */ 1;", "SELECT ?, ?, ?, ?, ?;"),
            ("SELECT 'SECRET", "(cannot be read)"),
            ("SELECT * FROM 'SECRET.csv'", "SELECT * FROM ?"),
        ] {
            assert_eq!(without_literals(sql), expected);
        }
        assert_eq!(without_literals(&"a, ".repeat(1000)).chars().count(), MAX_CHARACTERS + 1);
        // a literal behind which nothing is looked at, whether it ends or not
        let long = format!("SELECT 1, '{}', b", "SECRET".repeat(MAX_BYTES));
        assert_eq!(without_literals(&long), "SELECT ?,…");
        let number = format!("SELECT {}", "7".repeat(2 * MAX_BYTES));
        assert_eq!(without_literals(&number), "SELECT…");
        assert_eq!(without_literals(&"é".repeat(MAX_BYTES)), "…");
    }
}
