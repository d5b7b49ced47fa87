//! What Tab offers: by what stands before the cursor, the commands, keywords, tables, columns, functions, arguments,
//! options, models or files that can follow.

use std::fs;
use std::path::{MAIN_SEPARATOR, Path};
use std::time::Duration;

use datafusion::logical_expr::Signature;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::Dialect;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::commands::COMMANDS;
use super::cursor::{BEFORE_TABLES, Context, is_one_of, mentioned_tables, resolve};
use super::describe::{models, table_names, texts};
use super::keywords::KEYWORDS;
use super::settings;
use crate::image::Mode;
use crate::models::provider_names;
use crate::session;

/// Columns of a table that takes longer to open, such as a large folder, are not offered.
const PATIENCE: Duration = Duration::from_millis(500);

/// One text that could stand where the cursor is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// what the list shows
    pub shown: String,
    /// what is put in
    pub text: String,
}

impl Candidate {
    /// Whether it can be typed: names come from data, and must not steer the terminal.
    fn is_safe(&self) -> bool {
        !self.shown.contains(char::is_control) && !self.text.contains(char::is_control)
    }
}

/// Completes for one session.
pub struct Completion {
    /// whose tables, functions and options are offered
    pub ctx: SessionContext,
    /// where tables are looked up
    pub runtime: Handle,
}

impl Completion {
    /// The candidates for what stands before `cursor`, and where the text starts that they replace.
    pub fn complete(&self, typed: &str, cursor: usize, dialect: &dyn Dialect) -> (usize, Vec<Candidate>) {
        let before = &typed[..cursor];
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        if before[line..].trim_start().starts_with('\\') {
            let (from, mut found) = self.command(before, line);
            found.retain(Candidate::is_safe);
            return (from, found);
        }
        let context = Context::of(before, dialect);
        let (from, mut found) = match context.quote {
            Some(quote) => self.quoted(&context, quote, &typed[cursor..]),
            None => self.word(&context, typed, dialect),
        };
        found.retain(Candidate::is_safe);
        found.sort();
        found.dedup();
        (from, found)
    }

    /// A command, or what follows it.
    fn command(&self, before: &str, line: usize) -> (usize, Vec<Candidate>) {
        let start = line + before[line..].len() - before[line..].trim_start().len();
        let Some(space) = before[start..].find(char::is_whitespace) else {
            let typed = &before[start..];
            let commands = COMMANDS.iter().filter(|command| command.name.starts_with(typed));
            let candidates = commands.map(|command| Candidate {
                shown: command.name.to_owned(),
                text: if command.arguments.is_empty() {
                    command.name.to_owned()
                } else {
                    format!("{} ", command.name)
                },
            });
            return (start, candidates.collect());
        };
        let name = &before[start..start + space];
        // white space can be several bytes
        let from = before.trim_end_matches(|c: char| !c.is_whitespace()).len();
        let typed = &before[from..];
        let words = |words: Vec<String>| {
            words.into_iter().filter(|word| starts_with(word, typed)).map(plain).collect::<Vec<_>>()
        };
        let argument = before[start..].split_whitespace().count() - usize::from(!typed.is_empty());
        let candidates = match (name, argument) {
            (r"\i" | r"\o", 1) => {
                return files(before, from + typed.len() - typed.trim_start_matches('\'').len());
            }
            (r"\d", 1) if typed.starts_with('\'') => return files(before, from + 1),
            (r"\d", 1) => words(table_names(&self.ctx)),
            (r"\df", 1) => words(self.functions()),
            (r"\timing", 1) => words(vec!["on".to_owned(), "off".to_owned()]),
            (r"\pset", 1) => words(settings::NAMES.map(|(name, _)| name.to_owned()).to_vec()),
            (r"\pset", 2) => {
                let values = match before[start..].split_whitespace().nth(1) {
                    Some("format") => &["table", "csv", "tsv", "json", "ndjson", "html"][..],
                    Some("images" | "pager") => &["on", "off"],
                    Some("maxrows") => &["default"],
                    _ => &[],
                };
                words(values.iter().map(|value| (*value).to_owned()).collect())
            }
            _ => vec![],
        };
        (from, candidates)
    }

    /// The text of a string: a model or a provider where the argument or option is one, else a file.
    fn quoted(&self, context: &Context<'_>, start: usize, behind: &str) -> (usize, Vec<Candidate>) {
        let typed = &context.before[start..];
        let close = if behind.starts_with('\'') { "" } else { "'" };
        let values = match context.last_words().as_slice() {
            [.., name, "=>"] | [.., "semantic", ".", name, "=" | "TO" | "to"] => self.values_of(name),
            _ => vec![],
        };
        if values.is_empty() {
            return files(context.before, start);
        }
        let values = values.into_iter().filter(|value| starts_with(value, typed));
        (start, values.map(|value| Candidate { text: format!("{value}{close}"), shown: value }).collect())
    }

    fn values_of(&self, argument: &str) -> Vec<String> {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        match argument {
            "model" | "text_model" | "image_model" => self.models(),
            "provider" => provider_names().map(str::to_owned).collect(),
            "on_error" => list(&["raise", "null"]),
            "input_type" => list(&["query", "document"]),
            "filter" => list(&["nearest", "bilinear", "bicubic", "lanczos3", "box"]),
            "fit" => list(&["stretch", "contain", "cover", "pad"]),
            "mode" => Mode::ALL.iter().map(|mode| mode.name().to_owned()).collect(),
            _ => vec![],
        }
    }

    /// The local ones by their short names, and `provider/model` of others.
    fn models(&self) -> Vec<String> {
        let rows = async {
            let frame = models(&self.ctx).await?.select_columns(&["provider", "model"])?;
            texts(frame).await
        };
        let rows = self.wait(async { rows.await.ok() }).unwrap_or_default();
        let name = |row: Vec<String>| match row.as_slice() {
            [provider, model] if provider == "transformers" => {
                Some(model.rsplit('/').next().unwrap_or(model).to_owned())
            }
            [provider, model] => Some(format!("{provider}/{model}")),
            _ => None,
        };
        rows.into_iter().filter_map(name).collect()
    }

    /// A word outside of strings.
    fn word(&self, context: &Context<'_>, typed: &str, dialect: &dyn Dialect) -> (usize, Vec<Candidate>) {
        let start = context.word;
        let word = &context.before[start..];
        let last = context.last_words();
        if let Some(key) = context.option() {
            return self.option(context, key);
        }
        if let [.., table, "."] = last.as_slice() {
            let columns = self.columns_of(&resolve(table, typed, dialect)).into_iter();
            return (start, columns.filter(|name| starts_with(name, word)).map(identifier).collect());
        }
        let previous = last.last().copied().unwrap_or_default();
        if is_one_of(previous, &BEFORE_TABLES) {
            let tables =
                table_names(&self.ctx).into_iter().filter(|name| starts_with(name, word)).map(quoted_table);
            let functions = self.ctx.state().table_functions().keys().cloned().collect::<Vec<_>>();
            let functions = functions.into_iter().filter(|name| starts_with(name, word)).map(call);
            return (start, tables.chain(functions).collect());
        }
        let mut found = Vec::new();
        for table in mentioned_tables(typed, dialect) {
            found.extend(
                self.columns_of(&table).into_iter().filter(|name| starts_with(name, word)).map(identifier),
            );
        }
        for argument in context.call.as_deref().map(|call| self.arguments(call)).unwrap_or_default() {
            if starts_with(&argument, word) {
                found.push(Candidate { shown: format!("{argument} =>"), text: format!("{argument} => ") });
            }
        }
        // nobody wants to choose among all words
        if !word.is_empty() {
            found.extend(self.functions().into_iter().filter(|name| starts_with(name, word)).map(call));
            let lower = word.chars().next().is_some_and(char::is_lowercase);
            let keywords = KEYWORDS.iter().filter(|keyword| starts_with(keyword, word));
            found.extend(keywords.map(|keyword| {
                let keyword = if lower { keyword.to_lowercase() } else { (*keyword).to_owned() };
                Candidate { text: format!("{keyword} "), shown: keyword }
            }));
            if found.is_empty() {
                found.extend(
                    table_names(&self.ctx)
                        .into_iter()
                        .filter(|name| starts_with(name, word))
                        .map(quoted_table),
                );
            }
        }
        (start, found)
    }

    /// The name of an option, of which some parts may stand there already.
    fn option(&self, context: &Context<'_>, start: usize) -> (usize, Vec<Candidate>) {
        let typed = &context.before[start..];
        let entries = self.ctx.state().config_options().entries();
        let names = entries.into_iter().map(|entry| entry.key).filter(|key| starts_with(key, typed));
        (start, names.map(plain).collect())
    }

    fn functions(&self) -> Vec<String> {
        let state = self.ctx.state();
        let scalar = state.scalar_functions().keys();
        let others = state.aggregate_functions().keys().chain(state.window_functions().keys());
        scalar.chain(others).chain(state.table_functions().keys()).cloned().collect()
    }

    /// The named arguments of a function.
    fn arguments(&self, function: &str) -> Vec<String> {
        let state = self.ctx.state();
        let names = |signature: &Signature| signature.parameter_names.clone().unwrap_or_default();
        let function = function.to_lowercase();
        state.scalar_functions().get(&function).map_or_else(Vec::new, |function| names(function.signature()))
    }

    /// The columns of a table as SQL writes it; none where there is no such table, or where it is not at hand.
    fn columns_of(&self, table: &str) -> Vec<String> {
        if table.contains("://") {
            return vec![];
        }
        let columns = async {
            let frame = session::sql(&self.ctx, &format!("SELECT * FROM {table} LIMIT 0")).await.ok()?;
            Some(frame.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>())
        };
        self.wait(columns).unwrap_or_default()
    }

    fn wait<T>(&self, future: impl Future<Output = Option<T>>) -> Option<T> {
        self.runtime.block_on(async { timeout(PATIENCE, future).await.ok().flatten() })
    }
}

/// Files and folders whose path starts with the text from `start`; a folder ends with a slash.
fn files(before: &str, start: usize) -> (usize, Vec<Candidate>) {
    let typed = before[start..].trim_start();
    let (folder, prefix) =
        typed.rsplit_once(MAIN_SEPARATOR).map_or(("", typed), |(folder, name)| (folder, name));
    let path = match (folder, typed.strip_prefix('~')) {
        ("", _) if typed.starts_with(MAIN_SEPARATOR) => Path::new("/").to_owned(),
        ("", _) => Path::new(".").to_owned(),
        (folder, Some(_)) => match etcetera::home_dir() {
            Ok(home) => home.join(folder.trim_start_matches(['~', MAIN_SEPARATOR])),
            Err(_) => return (start, vec![]),
        },
        (folder, None) => Path::new(folder).to_owned(),
    };
    let from = before.len() - prefix.len();
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut found: Vec<Candidate> = entries
        .filter_map(|entry| {
            let mut name = entry.file_name().into_string().ok()?;
            let is_hidden = name.starts_with('.') && !prefix.starts_with('.');
            if is_hidden || !name.starts_with(prefix) {
                return None;
            }
            if entry.path().is_dir() {
                name.push(MAIN_SEPARATOR);
            }
            Some(Candidate { text: name.replace('\'', "''"), shown: name })
        })
        .collect();
    found.sort();
    (from, found)
}

fn starts_with(name: &str, typed: &str) -> bool {
    name.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed))
}

fn plain(text: String) -> Candidate {
    Candidate { shown: text.clone(), text }
}

/// A name, in double quotes where it would be another without.
fn identifier(name: String) -> Candidate {
    let is_plain = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c == '_' || c.is_ascii_digit() || c.is_ascii_lowercase());
    let text = if is_plain { name.clone() } else { format!("\"{}\"", name.replace('"', "\"\"")) };
    Candidate { shown: name, text }
}

/// A table as SQL writes it: each part of its name in double quotes where it would be another without.
fn quoted_table(name: String) -> Candidate {
    let parts: Vec<String> = name.split('.').map(|part| identifier(part.to_owned()).text).collect();
    Candidate { text: parts.join("."), shown: name }
}

fn call(name: String) -> Candidate {
    Candidate { text: format!("{name}("), shown: name }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    #[test]
    fn wide_spaces_and_names_that_need_quotes_complete() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ctx = session::new().unwrap();
        for sql in
            ["CREATE TABLE \"MyDocs\" AS SELECT 1 AS \"Body\"", "CREATE TABLE \"My\u{7}\" AS SELECT 1 AS x"]
        {
            runtime.block_on(session::sql(&ctx, sql)).unwrap();
        }
        let completion = Completion { ctx, runtime: runtime.handle().clone() };
        let complete = |typed: &str| completion.complete(typed, typed.len(), &GenericDialect {});
        assert_eq!(complete("\\i \u{3000}x").0, "\\i \u{3000}".len());
        let texts = |typed| complete(typed).1.into_iter().map(|found| found.text).collect::<Vec<_>>();
        assert_eq!(texts("SELECT * FROM My"), ["\"MyDocs\""], "and none that steers the terminal");
        assert!(texts("SELECT * FROM \"MyDocs\" WHERE Bo").contains(&"\"Body\"".to_owned()));
        assert_eq!(texts("SELECT * FROM \"MyDocs\" WHERE \"MyDocs\".Bo"), ["\"Body\""]);
    }
}
