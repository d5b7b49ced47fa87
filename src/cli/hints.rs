//! What a person probably meant, for errors about names that are not there.

use datafusion::common::DataFusionError;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::describe::table_names;
use super::keywords;
use super::statements::Position;
use crate::statement::names::{meant, nearest};

/// An error's message with the nearest known name in it, and its place, which may become a better one.
pub fn add(
    message: String,
    place: Option<Position>,
    error: &DataFusionError,
    sql: &str,
    ctx: &SessionContext,
) -> (String, Option<Position>) {
    if message.contains("; did you mean") {
        return (message, place);
    }
    if matches!(error.find_root(), DataFusionError::SQL(..)) {
        return of_syntax(message, place, sql);
    }
    if let Some((key, place)) = set_option(sql)
        && let Some(better) = of_option(&key, ctx)
    {
        return (better, Some(place));
    }
    (of_name(&message, ctx).unwrap_or(message), place)
}

/// A word that is nearly a keyword, where the parser stopped or just before: `SELECT id FORM t` stops at `t`.
fn of_syntax(message: String, place: Option<Position>, sql: &str) -> (String, Option<Position>) {
    if message.ends_with("found \\") || message.contains("found \\ ") {
        let cure = "a command stands on a line of its own, behind the semicolon of the statement before it";
        return (format!("{message}; {cure}"), place);
    }
    let Some(at) = place else { return (message, place) };
    let words: Vec<TokenWithSpan> = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .unwrap_or_default()
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .collect();
    let stopped =
        words.iter().position(|token| Position::from(token.span.start) == at).unwrap_or(words.len());
    let near = words.iter().take(stopped + 1).rev().take(2).find_map(|token| match &token.token {
        Token::Word(word) if word.quote_style.is_none() && !keywords::is_keyword(&word.value) => {
            let meant = meant(&word.value, &keywords::KEYWORDS)?;
            Some((format!("{message}; did you mean {meant}?"), Position::from(token.span.start)))
        }
        _ => None,
    });
    match near {
        Some((message, place)) => (message, Some(place)),
        None => (message, place),
    }
}

/// The option that `SET` names, and where.
fn set_option(sql: &str) -> Option<(String, Position)> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().ok()?;
    let mut tokens = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let word = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => Some(word.value.clone()),
        _ => None,
    };
    let verb = word(tokens.next()?)?;
    if !["SET", "RESET", "SHOW"].iter().any(|known| verb.eq_ignore_ascii_case(known)) {
        return None;
    }
    let first = tokens.next()?;
    let mut key = word(first)?;
    while let Some(token) = tokens.next().filter(|token| token.token == Token::Period) {
        key.push('.');
        key.push_str(&word(tokens.next().unwrap_or(token)).unwrap_or_default());
    }
    Some((key.to_lowercase(), first.span.start.into()))
}

fn of_option(key: &str, ctx: &SessionContext) -> Option<String> {
    let state = ctx.state();
    let entries = state.config_options().entries();
    let known = || entries.iter().map(|entry| entry.key.as_str());
    if known().any(|known| known == key) || !key.contains('.') {
        return None;
    }
    let likely = nearest(key, known())?;
    Some(format!("there is no option '{key}'; did you mean '{likely}'?"))
}

fn of_name(message: &str, ctx: &SessionContext) -> Option<String> {
    let state = ctx.state();
    let quoted = |behind: &str| Some(message.strip_prefix(behind)?.split_once('\'')?.0);
    let offer = |what: &str, name: &str, likely: Option<&str>| {
        let likely = likely.map_or_else(String::new, |likely| format!("; did you mean '{likely}'?"));
        Some(format!("{what} '{name}'{likely}"))
    };
    if let Some(name) = quoted("Invalid function '") {
        let scalar = state.scalar_functions().keys();
        let others = state.aggregate_functions().keys().chain(state.window_functions().keys());
        return offer("there is no function", name, nearest(name, scalar.chain(others).map(String::as_str)));
    }
    if let Some(name) = quoted("table function '") {
        let known = state.table_functions().keys().map(String::as_str);
        return offer("there is no table function", name, nearest(name, known));
    }
    if let Some(name) = quoted("table '") {
        let known = table_names(ctx);
        let likely = nearest(name, known.iter().map(String::as_str))?;
        let likely =
            if likely.contains(char::is_uppercase) { format!("\"{likely}\"") } else { format!("'{likely}'") };
        return Some(format!("{message}; did you mean {likely}?"));
    }
    if let Some(name) = quoted("Unknown parameter name '") {
        let known = message.split_once("are: [")?.1.trim_end_matches([']', '.']);
        let likely = nearest(name, known.split(", "));
        let cure =
            likely.map_or_else(|| format!("there are {known}"), |likely| format!("did you mean {likely}?"));
        return Some(format!("there is no argument '{name}'; {cure}"));
    }
    if message.starts_with("Placeholder ':") {
        let message = message.trim_end_matches('.');
        return Some(format!("{message}; \\set NAME VALUE gives :NAME a value"));
    }
    among_others(message)
}

/// The errors of this extension say `unknown something 'name'`, and then which there are.
fn among_others(message: &str) -> Option<String> {
    let (before, rest) = message.split_once("unknown ")?;
    let (_, rest) = rest.split_once('\'')?;
    let (name, others) = rest.split_once('\'')?;
    // the error names the function first
    if before.trim_end().contains(' ') {
        return None;
    }
    let words =
        others.split(|c: char| c.is_whitespace() || "'\",;:()".contains(c)).filter(|word| !word.is_empty());
    // the organisation of a model need not be given
    let words = words.flat_map(|word| [Some(word), word.rsplit_once('/').map(|(_, name)| name)]).flatten();
    let likely = nearest(name, words.filter(|word| word.len() > 2))?;
    Some(format!("{message}; did you mean '{likely}'?"))
}

#[cfg(test)]
mod tests {
    use super::super::errors::Report;
    use super::super::statements::Statement;
    use super::*;
    use crate::session;

    async fn told(sql: &str) -> String {
        let ctx = session::new().unwrap();
        session::sql(&ctx, "CREATE TABLE documents AS SELECT 1 AS id, 'x' AS text").await.unwrap();
        let error = match session::sql(&ctx, sql).await {
            Err(error) => error,
            Ok(frame) => frame.collect().await.unwrap_err(),
        };
        let statement = Statement { text: sql, start: Position { line: 1, column: 1 } };
        let Report { position, message, .. } = Report::new(&statement, &error, &ctx);
        format!("{}: {message}", position.column)
    }

    #[tokio::test]
    async fn the_nearest_name_is_offered_at_its_place() {
        for (sql, expected) in [
            ("SELECT 1 FROM docments", "15: table 'docments' not found; did you mean 'documents'?"),
            ("SELECT textt FROM documents", "8: there is no column textt; did you mean documents.text?"),
            ("SELECT embed_txt('x')", "8: there is no function 'embed_txt'; did you mean 'embed_text'?"),
            ("SELECT qqqqqqqq('x')", "8: there is no function 'qqqqqqqq'"),
            ("SELECT * FROM globb('*')", "15: there is no table function 'globb'; did you mean 'glob'?"),
            ("SELECT embed_text('x', modle => 'y')", "24: there is no argument 'modle'; did you mean model?"),
            (
                "SET semantic.text_modle = 'x'",
                "5: there is no option 'semantic.text_modle'; did you mean 'semantic.text_model'?",
            ),
            (
                "SET datafusion.execution.batchsize = 1",
                "5: there is no option 'datafusion.execution.batchsize'; did you mean 'datafusion.execution.batch_size'?",
            ),
            (
                "SELECT id FORM documents",
                "11: expected end of statement, found documents; did you mean FROM?",
            ),
            ("SELCT 1", "1: expected an SQL statement, found SELCT; did you mean SELECT?"),
            (
                "SELECT id FROM documents WEHRE id = 1",
                "26: expected end of statement, found id; did you mean WHERE?",
            ),
        ] {
            assert_eq!(told(sql).await, expected, "{sql}");
        }
    }

    #[tokio::test]
    async fn values_of_arguments_are_offered_too() {
        let text = told("SELECT resize(decode_image(x'00'), 2, 2, 'bilinaer')").await;
        assert!(text.starts_with("42: resize: unknown filter 'bilinaer'"), "{text}");
        assert!(text.ends_with("; did you mean 'bilinear'?"), "{text}");
        let text = told("SELECT embed_text('x', provider => 'opneai')").await;
        assert!(text.ends_with("; did you mean 'openai'?"), "{text}");
    }
}
