//! Colours for what is typed.

use std::fmt::Write;

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use super::keywords::is_keyword;
use super::statements::Offsets;

const KEYWORD: &str = "\x1b[1;34m";
const FUNCTION: &str = "\x1b[36m";
const STRING: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[35m";
const COMMENT: &str = "\x1b[2m";
const COMMAND: &str = "\x1b[1;33m";
const PLAIN: &str = "\x1b[0m";

/// `text` with escape sequences around keywords, functions, strings, numbers and comments. A string that is not closed
/// yet is one to the end.
pub fn highlight(text: &str, dialect: &dyn Dialect) -> String {
    let mut colored = String::with_capacity(text.len() * 2);
    if text.trim_start().starts_with('\\') {
        let end = text.trim_end().find(char::is_whitespace).unwrap_or(text.len());
        // writing to a string cannot fail
        let _ = write!(colored, "{COMMAND}{}{PLAIN}{}", &text[..end], &text[end..]);
        return colored;
    }
    let mut tokens = Vec::new();
    let unfinished = Tokenizer::new(dialect, text).tokenize_with_location_into_buf(&mut tokens).err();
    let mut offsets = Offsets::new(text);
    let mut copied = 0;
    for (number, token) in tokens.iter().enumerate() {
        let next = tokens.get(number + 1).map(|next| &next.token);
        let color = match &token.token {
            // a function may have the name of a keyword: left('a', 1)
            Token::Word(word) if word.quote_style.is_none() && next == Some(&Token::LParen) => {
                if is_keyword(&word.value) && !is_also_function(&word.value) { KEYWORD } else { FUNCTION }
            }
            Token::Word(word) if word.quote_style.is_none() && is_keyword(&word.value) => KEYWORD,
            Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_) => STRING,
            Token::Number(..) => NUMBER,
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                COMMENT
            }
            _ => continue,
        };
        let (start, end) = (offsets.of(token.span.start), offsets.of(token.span.end));
        let _ = write!(colored, "{}{color}{}{PLAIN}", &text[copied..start], &text[start..end]);
        copied = end;
    }
    match unfinished {
        Some(error) => {
            let end = tokens.last().map_or(0, |token| offsets.of(token.span.end)).max(copied);
            // of a comment the error is at the end of the text
            let (start, color) = match text[end..].find("/*") {
                Some(comment) if offsets.of(error.location) == text.len() => (end + comment, COMMENT),
                _ => (offsets.of(error.location).max(copied), STRING),
            };
            let _ = write!(colored, "{}{color}{}{PLAIN}", &text[copied..start], &text[start..]);
        }
        None => colored.push_str(&text[copied..]),
    }
    colored
}

fn is_also_function(keyword: &str) -> bool {
    ["left", "right", "replace", "range", "extract", "date", "first"]
        .iter()
        .any(|name| keyword.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    fn marked(text: &str) -> String {
        let colored = highlight(text, &GenericDialect {});
        let names = [(KEYWORD, "<k>"), (FUNCTION, "<f>"), (STRING, "<s>"), (NUMBER, "<n>"), (COMMENT, "<c>")];
        let names = names.into_iter().chain([(COMMAND, "<b>"), (PLAIN, "</>")]);
        names.fold(colored, |text, (escape, name)| text.replace(escape, name))
    }

    #[test]
    fn words_have_the_colour_of_what_they_are() {
        assert_eq!(
            marked("SELECT embed_text(text) FROM 'ü.csv' -- all\nLIMIT 10;"),
            "<k>SELECT</> <f>embed_text</>(text) <k>FROM</> <s>'ü.csv'</> <c>-- all\n</><k>LIMIT</> <n>10</>;"
        );
        assert_eq!(
            marked("select left(a, 1) in (2)"),
            "<k>select</> <f>left</>(a, <n>1</>) <k>in</> (<n>2</>)"
        );
        assert_eq!(marked("\\df embed"), "<b>\\df</> embed");
    }

    #[test]
    fn what_is_not_closed_yet_is_coloured_to_the_end() {
        assert_eq!(marked("SELECT 'it''s 1"), "<k>SELECT</> <s>'it''s 1</>");
        assert_eq!(marked("SELECT 1 /* from"), "<k>SELECT</> <n>1</> <c>/* from</>");
        assert_eq!(marked("SELECT \"a"), "<k>SELECT</> <s>\"a</>");
        assert_eq!(marked(""), "");
    }
}
