//! Variables of the shell: `\set name value`, then `:name` in SQL, `:'name'` for a string, `:"name"` for an identifier.

use std::borrow::Cow;
use std::collections::BTreeMap;

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::statements::Offsets;

/// Names and values.
#[derive(Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Sets a variable; an error where `name` could not be written behind a colon.
    pub fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_word) || name.starts_with(|c: char| c.is_numeric()) {
            return Err(format!("\\set: '{name}' is no name: letters, digits and _ make one"));
        }
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// Removes a variable, if it is there.
    pub fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `sql` with values in place of variables. A name that is not set stays as it is: in `values[1:n]` it is a column.
    pub fn put_into<'a>(&self, sql: &'a str, dialect: &dyn Dialect) -> Cow<'a, str> {
        if self.0.is_empty() || !sql.contains(':') {
            return Cow::Borrowed(sql);
        }
        let Ok(tokens) = Tokenizer::new(dialect, sql).tokenize_with_location() else {
            return Cow::Borrowed(sql);
        };
        let mut offsets = Offsets::new(sql);
        let mut text = String::new();
        let mut copied = 0;
        for (at, pair) in tokens.windows(2).enumerate() {
            let [colon, name] = pair else { continue };
            if colon.token != Token::Colon || colon.span.end != name.span.start {
                continue;
            }
            if at.checked_sub(1).is_some_and(|before| ends_value(&tokens[before].token)) {
                continue;
            }
            let value = match &name.token {
                Token::Word(word) => {
                    let value = self.0.get(&word.value).map(String::as_str);
                    value.map(|value| match word.quote_style {
                        Some(_) => format!("\"{}\"", value.replace('"', "\"\"")),
                        None => value.to_owned(),
                    })
                }
                Token::SingleQuotedString(name) => {
                    self.0.get(name).map(|value| format!("'{}'", value.replace('\'', "''")))
                }
                _ => None,
            };
            if let Some(value) = value {
                let start = offsets.of(colon.span.start);
                text.push_str(&sql[copied..start]);
                text.push_str(&value);
                copied = offsets.of(name.span.end);
            }
        }
        if copied == 0 {
            return Cow::Borrowed(sql);
        }
        text.push_str(&sql[copied..]);
        Cow::Owned(text)
    }
}

/// Whether a colon right behind is that of a slice, as in `values[1:n]`.
fn ends_value(token: &Token) -> bool {
    matches!(
        token,
        Token::Number(..) | Token::Word(_) | Token::RParen | Token::RBracket | Token::SingleQuotedString(_)
    )
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.set("n", "3".to_owned()).unwrap();
        variables.set("who", "O'Neill".to_owned()).unwrap();
        variables
    }

    #[test]
    fn variables_are_put_in_as_written_or_quoted() {
        let put = |sql| variables().put_into(sql, &GenericDialect {}).into_owned();
        assert_eq!(put("SELECT :n, :'who', :\"who\" LIMIT :n"), "SELECT 3, 'O''Neill', \"O'Neill\" LIMIT 3");
        assert_eq!(put("SELECT 'ü :n' -- :n\n, :n::int"), "SELECT 'ü :n' -- :n\n, 3::int");
        assert_eq!(
            put("SELECT a[1:n], a[b:n], a[f(1):n], a[b[1]:n]"),
            "SELECT a[1:n], a[b:n], a[f(1):n], a[b[1]:n]"
        );
        assert_eq!(put("SELECT a[1 : n], a[1 :n]"), "SELECT a[1 : n], a[1 3]");
        assert_eq!(put("SELECT a[1:m], b::n, :m"), "SELECT a[1:m], b::n, :m");
    }

    #[test]
    fn a_name_must_be_one() {
        for name in ["", "1a", "a b", "a-b"] {
            assert!(Variables::default().set(name, String::new()).is_err(), "{name}");
        }
    }
}
