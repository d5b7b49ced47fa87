//! What stands before the cursor: what Tab has to know of a statement that is not finished.

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::keywords::is_keyword;
use super::statements::Offsets;

/// Words that are followed by a table.
pub const BEFORE_TABLES: [&str; 7] = ["from", "join", "into", "table", "describe", "update", "view"];

/// What stands before the cursor, as far as it decides what can follow.
pub struct Context<'a> {
    /// the text
    pub before: &'a str,
    /// its tokens, of the statement that the cursor is in, without the word or the string at the cursor
    tokens: Vec<Token>,
    /// where the text of a string starts that is not closed
    pub quote: Option<usize>,
    /// where the word starts at whose end the cursor is
    pub word: usize,
    /// the function in whose parentheses the cursor is
    pub call: Option<String>,
}

impl<'a> Context<'a> {
    /// Of the text before the cursor.
    pub fn of(before: &'a str, dialect: &dyn Dialect) -> Self {
        let word = before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        let quote = open_quote(before, dialect);
        let until = quote.map_or(word, |quote| quote - 1);
        let tokens = Tokenizer::new(dialect, &before[..until]).tokenize().unwrap_or_default();
        let mut tokens: Vec<Token> =
            tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_) | Token::EOF)).collect();
        if let Some(end) = tokens.iter().rposition(|token| *token == Token::SemiColon) {
            tokens.drain(..=end);
        }
        let call = open_call(&tokens);
        Self { before, tokens, quote, word, call }
    }

    /// Where the name of an option starts, if the cursor is at its end: `SET semantic.text_`.
    pub fn option(&self) -> Option<usize> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let start = self.before.trim_end_matches(is_part).len();
        let verb = self.before[..start].split_whitespace().last()?;
        let is_separate = self.before[..start].ends_with(char::is_whitespace);
        (is_separate && is_one_of(verb, &["set", "reset", "show"])).then_some(start)
    }

    /// Words and signs before the one at the cursor, the last last.
    pub fn last_words(&self) -> Vec<&str> {
        let from = self.tokens.len().saturating_sub(5);
        let texts = self.tokens[from..].iter().map(|token| match token {
            Token::Word(word) => word.value.as_str(),
            Token::Period => ".",
            Token::RArrow => "=>",
            Token::Eq => "=",
            Token::Comma => ",",
            _ => "",
        });
        texts.collect()
    }
}

/// Where the text of a string starts that is open at the end.
fn open_quote(before: &str, dialect: &dyn Dialect) -> Option<usize> {
    let error = Tokenizer::new(dialect, before).tokenize().err()?;
    let mut offsets = Offsets::new(before);
    let start = offsets.of(error.location);
    before[start..].starts_with('\'').then_some(start + 1)
}

/// The function of the innermost parenthesis that is open at the end.
fn open_call(tokens: &[Token]) -> Option<String> {
    let mut open = 0;
    for (at, token) in tokens.iter().enumerate().rev() {
        match token {
            Token::RParen => open += 1,
            Token::LParen if open > 0 => open -= 1,
            Token::LParen => {
                return match tokens.get(at.checked_sub(1)?)? {
                    Token::Word(word) => Some(word.value.clone()),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    None
}

/// The tables that a statement names behind FROM, JOIN and the like, with their aliases.
fn tables_and_aliases(typed: &str, dialect: &dyn Dialect) -> Vec<(String, Option<String>)> {
    let mut tokens = Vec::new();
    // behind a string that is not closed there are none
    let _ = Tokenizer::new(dialect, typed).tokenize_with_location_into_buf(&mut tokens);
    let tokens: Vec<Token> = tokens
        .into_iter()
        .map(|token| token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    let mut tables = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_before = matches!(&tokens[at], Token::Word(word) if is_one_of(&word.value, &BEFORE_TABLES));
        at += 1;
        if !is_before {
            continue;
        }
        let mut name = String::new();
        while let Some(token @ (Token::Word(_) | Token::Period | Token::SingleQuotedString(_))) =
            tokens.get(at)
        {
            if matches!(token, Token::Word(_)) && !name.is_empty() && !name.ends_with('.') {
                break;
            }
            name.push_str(&token.to_string());
            at += 1;
        }
        // a table function, with its arguments
        if let (Some(Token::LParen), false) = (tokens.get(at), name.is_empty()) {
            let Some(length) = tokens[at..].iter().position(|token| *token == Token::RParen) else {
                continue;
            };
            tokens[at..=at + length].iter().for_each(|token| name.push_str(&token.to_string()));
            at += length + 1;
        }
        if matches!(tokens.get(at), Some(Token::Word(word)) if word.value.eq_ignore_ascii_case("as")) {
            at += 1;
        }
        let alias = match tokens.get(at) {
            Some(Token::Word(word)) if !is_keyword(&word.value) => Some(word.value.clone()),
            _ => None,
        };
        if !name.is_empty() {
            tables.push((name, alias));
        }
    }
    tables
}

/// The tables that a statement names, as SQL writes them.
pub fn mentioned_tables(typed: &str, dialect: &dyn Dialect) -> Vec<String> {
    tables_and_aliases(typed, dialect).into_iter().map(|(table, _)| table).collect()
}

/// The table that `name` is an alias of, or else the name itself.
pub fn resolve(name: &str, typed: &str, dialect: &dyn Dialect) -> String {
    let tables = tables_and_aliases(typed, dialect);
    let is_alias =
        |alias: &Option<String>| alias.as_ref().is_some_and(|alias| alias.eq_ignore_ascii_case(name));
    // a quoted name comes without its quotes
    let is_quoted =
        |table: &str| table.strip_prefix('"').and_then(|table| table.strip_suffix('"')) == Some(name);
    let named = tables.iter().find(|(_, alias)| is_alias(alias));
    let named = named.or_else(|| tables.iter().find(|(table, _)| is_quoted(table)));
    named.map_or_else(|| name.to_owned(), |(table, _)| table.clone())
}

/// Whether a word is one of some in small letters; its own case does not matter.
pub fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| word.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    #[test]
    fn tables_are_found_with_their_aliases() {
        let tables = |typed: &str| tables_and_aliases(typed, &GenericDialect {});
        let table = |name: &str, alias: Option<&str>| (name.to_owned(), alias.map(str::to_owned));
        assert_eq!(
            tables("SELECT  FROM a.b AS x JOIN 'c d.csv' y ON y. WHERE 'open"),
            [table("a.b", Some("x")), table("'c d.csv'", Some("y"))]
        );
        assert_eq!(tables("SELECT * FROM glob('*.png') g"), [table("glob('*.png')", Some("g"))]);
        assert_eq!(tables("SELECT * FROM t WHERE"), [table("t", None)]);
        assert_eq!(tables("SELECT * FROM (SELECT 1"), []);
        assert_eq!(tables("SELECT 1 FROM"), []);
    }

    #[test]
    fn the_place_of_the_cursor_is_known() {
        let context = |before: &'static str| Context::of(before, &GenericDialect {});
        let of = |before| {
            let context = context(before);
            (context.quote, context.word, context.call.clone(), context.option())
        };
        assert_eq!(of("SELECT emb"), (None, 7, None, None));
        assert_eq!(of("SELECT f(g(1), te"), (None, 15, Some("f".to_owned()), None));
        assert_eq!(of("SELECT f(1) + te"), (None, 14, None, None));
        assert_eq!(of("SELECT f(m => 'all"), (Some(15), 15, Some("f".to_owned()), None));
        assert_eq!(of("SET semantic.te"), (None, 13, None, Some(4)));
        assert_eq!(context("SELECT f(m => 'all").last_words(), ["SELECT", "f", "", "m", "=>"]);
    }
}
