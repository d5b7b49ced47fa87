//! What is configured about remote providers: `SET semantic.providers.<name>.<option> = ...`

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::{AllowProviders, protocols};
use crate::error::{Error, Result, query_err};

/// The options of all remote providers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteOptions {
    /// Those that queries may send to.
    pub allowed: AllowProviders,
    /// How often a request is made again.
    pub max_retries: usize,
    /// By the name of the provider.
    pub providers: Arc<BTreeMap<String, ProviderOptions>>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self { allowed: AllowProviders::default(), max_retries: 10, providers: Arc::default() }
    }
}

/// What becomes of a text that is longer than its model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LongText {
    /// It cannot be embedded.
    #[default]
    Raise,
    /// Its beginning is embedded.
    Truncate,
    /// It is embedded in windows, whose vectors are averaged by the windows' lengths and brought to length 1.
    Average,
}

impl fmt::Display for LongText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raise => "raise",
            Self::Truncate => "truncate",
            Self::Average => "average",
        })
    }
}

/// A time that is shown as its number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seconds(pub u64);

impl From<Seconds> for Duration {
    fn from(Seconds(seconds): Seconds) -> Self {
        Self::from_secs(seconds)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The options of one provider; what is not given is the provider's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ProviderOptions {
    /// The API that the endpoint speaks, by the name of the provider that it is named after.
    pub protocol: Option<String>,
    /// The URL in front of every path.
    pub base_url: Option<String>,
    /// The environment variable that has the key.
    pub api_key_env: Option<String>,
    /// The file that has the key.
    pub api_key_file: Option<String>,
    /// Azure's version of the API.
    pub api_version: Option<String>,
    /// The most inputs of a request.
    pub max_inputs: Option<usize>,
    /// The most tokens of a request.
    pub max_request_tokens: Option<usize>,
    /// The most tokens of an input.
    pub max_input_tokens: Option<usize>,
    /// The most requests in flight, of all queries of the process.
    pub max_concurrency: Option<usize>,
    /// The most requests a minute.
    pub requests_per_minute: Option<usize>,
    /// The most tokens a minute.
    pub tokens_per_minute: Option<usize>,
    /// How long an answer may take.
    pub timeout: Option<Seconds>,
    /// How long a request is made again, all tries and waits together.
    pub retry_timeout: Option<Seconds>,
    /// The length of the vectors of models that are not known by name.
    pub dimensions: Option<usize>,
    /// What becomes of texts that are too long; without it they are errors, and cut by models on this machine.
    pub long_text: Option<LongText>,
    /// Whether vectors are asked for as JSON numbers, where the endpoint knows no base64.
    pub json_floats: bool,
    /// What is put before a query.
    pub query_prefix: Option<String>,
    /// What is put before a document.
    pub document_prefix: Option<String>,
}

/// One option of a provider: its value where it is set, and how it is set.
struct Entry {
    name: &'static str,
    get: fn(&ProviderOptions) -> Option<String>,
    set: fn(&mut ProviderOptions, &Given) -> Result<()>,
}

/// An option that is a field of the same name, read by a function and shown as it displays itself.
macro_rules! entry {
    ($field:ident, $read:path) => {
        Entry {
            name: stringify!($field),
            get: |options| options.$field.as_ref().map(ToString::to_string),
            set: |options, given| {
                options.$field = $read(given)?;
                Ok(())
            },
        }
    };
}

/// In the order in which they are told.
const OPTIONS: [Entry; 18] = [
    entry!(protocol, Given::protocol),
    entry!(base_url, Given::base_url),
    entry!(api_key_env, Given::variable),
    entry!(api_key_file, Given::text),
    entry!(api_version, Given::text),
    entry!(max_inputs, Given::number),
    entry!(max_request_tokens, Given::number),
    entry!(max_input_tokens, Given::number),
    entry!(max_concurrency, Given::number),
    entry!(requests_per_minute, Given::number),
    entry!(tokens_per_minute, Given::number),
    entry!(timeout, Given::seconds),
    entry!(retry_timeout, Given::seconds),
    entry!(dimensions, Given::number),
    entry!(long_text, Given::long_text),
    Entry {
        name: "encoding_format",
        get: |options| options.json_floats.then(|| "float".to_owned()),
        set: |options, given| {
            options.json_floats = given.is_float()?;
            Ok(())
        },
    },
    entry!(query_prefix, Given::text),
    entry!(document_prefix, Given::text),
];

/// The provider of models on this machine, its other name, and those options that it has.
const LOCAL: &str = "transformers";
const ALSO_LOCAL: &str = "local";
const OF_LOCAL: [&str; 3] = ["long_text", "query_prefix", "document_prefix"];

impl RemoteOptions {
    /// Whether `<name>.<option>` is about a provider on the network: it may change where texts and keys are sent.
    pub(crate) fn is_of_network(key: &str) -> bool {
        key.split_once('.').is_none_or(|(name, _)| ![LOCAL, ALSO_LOCAL].contains(&name))
    }

    /// Sets `<name>.<option>`.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let Some((name, option)) = key.split_once('.') else {
            return query_err!(
                "expected semantic.providers.<name>.<option>, found 'semantic.providers.{key}'"
            );
        };
        if name.is_empty() || name.contains(['/', '.']) {
            return query_err!("'{name}' cannot be the name of a remote provider");
        }
        let name = if name == ALSO_LOCAL { LOCAL } else { name };
        if name == LOCAL && !OF_LOCAL.contains(&option) {
            return query_err!(
                "unknown option semantic.providers.{name}.{option}: models on this machine have {}",
                OF_LOCAL.join(", ")
            );
        }
        let given = Given { provider: name, option, value };
        let Some(entry) = OPTIONS.iter().find(|entry| entry.name == option) else {
            return Err(given.unknown());
        };
        let mut options = self.providers.get(name).cloned().unwrap_or_default();
        (entry.set)(&mut options, &given)?;
        Arc::make_mut(&mut self.providers).insert(name.to_owned(), options);
        Ok(())
    }

    /// `<name>.<option>` and its value, of all that are set.
    pub fn entries(&self) -> impl Iterator<Item = (String, String)> {
        self.providers.iter().flat_map(|(name, options)| {
            OPTIONS
                .iter()
                .filter_map(move |entry| Some((format!("{name}.{}", entry.name), (entry.get)(options)?)))
        })
    }
}

/// A value that an option is given; an empty one unsets it.
struct Given<'a> {
    provider: &'a str,
    option: &'a str,
    value: &'a str,
}

impl Given<'_> {
    fn must_be(&self, expected: &str) -> Error {
        let Self { provider, option, value } = self;
        Error::Query(format!("semantic.providers.{provider}.{option} must be {expected}, found '{value}'"))
    }

    fn unknown(&self) -> Error {
        let Self { provider, option, .. } = self;
        Error::Query(match *option {
            "api_key" | "key" | "token" => format!(
                "a key is no option, it would be seen: put it into an environment variable or a file, and name that by \
                 semantic.providers.{provider}.api_key_env or .api_key_file"
            ),
            _ => format!(
                "unknown option semantic.providers.{provider}.{option}: there are {}",
                OPTIONS.each_ref().map(|entry| entry.name).join(", ")
            ),
        })
    }

    /// What `read` makes of a value that is not empty; `None` of it is an error that says what it must be.
    fn read<T>(&self, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>> {
        match self.value {
            "" => Ok(None),
            value => read(value).map(Some).ok_or_else(|| self.must_be(expected)),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the others")]
    fn text(&self) -> Result<Option<String>> {
        Ok((!self.value.is_empty()).then(|| self.value.to_owned()))
    }

    fn number(&self) -> Result<Option<usize>> {
        self.read("a number from 1", |value| value.parse().ok().filter(|number| *number > 0))
    }

    fn seconds(&self) -> Result<Option<Seconds>> {
        self.read("a number of seconds from 1, like 60", |value| {
            let seconds =
                value.strip_suffix('s').unwrap_or(value).parse().ok().filter(|seconds| *seconds > 0);
            seconds.map(Seconds)
        })
    }

    fn protocol(&self) -> Result<Option<String>> {
        let known = |value: &str| protocols::by_name(value).map(|_| value.to_owned());
        self.read(&format!("one of {}", protocols::names()), known)
    }

    fn base_url(&self) -> Result<Option<String>> {
        if !self.value.is_empty() {
            check_url(self.provider, self.value)?;
        }
        Ok(self.text()?.map(|url| url.trim_end_matches('/').to_owned()))
    }

    fn variable(&self) -> Result<Option<String>> {
        let value = self.value;
        if !value.is_empty() && (!is_variable(value) || looks_like_a_key(value)) {
            // the value is not shown: it may be the key itself
            return query_err!(
                "semantic.providers.{}.api_key_env must be the name of an environment variable, letters, digits and _, not \
                 the key itself: put the key into a variable, and name that",
                self.provider
            );
        }
        self.text()
    }

    fn long_text(&self) -> Result<Option<LongText>> {
        let known = [LongText::Raise, LongText::Truncate, LongText::Average];
        self.read("'raise', 'truncate' or 'average'", |value| {
            known.into_iter().find(|long_text| long_text.to_string() == value)
        })
    }

    fn is_float(&self) -> Result<bool> {
        let is_float = self.read("'base64' or 'float'", |value| match value {
            "base64" => Some(false),
            "float" => Some(true),
            _ => None,
        })?;
        Ok(is_float.unwrap_or(false))
    }
}

fn is_variable(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a name is one that nobody gives to a variable: long, without a break, of small letters and digits.
fn looks_like_a_key(name: &str) -> bool {
    name.split('_').any(|part| {
        part.len() >= 20
            && part.contains(|c: char| c.is_ascii_digit())
            && part.contains(|c: char| c.is_ascii_lowercase())
    })
}

/// A URL of http or https without a user, a password, a query or a fragment, in which secrets are kept.
pub(super) fn check_url(provider: &str, url: &str) -> Result<Url> {
    let wrong = || {
        Error::Query(format!(
            "the base_url of provider '{provider}' must be a URL like https://host/v1: http or https, without user, \
             password, query and fragment"
        ))
    };
    let url = Url::parse(url).map_err(|_| wrong())?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let right =
        matches!(url.scheme(), "http" | "https") && url.has_host() && bare && url.fragment().is_none();
    if right { Ok(url) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked_and_listed() {
        let mut options = RemoteOptions::default();
        for (key, value) in [
            ("vllm.base_url", "http://localhost:8000/v1/"),
            ("vllm.requests_per_minute", "240"),
            ("vllm.timeout", "30s"),
            ("openai.api_key_env", "OTHER_KEY"),
        ] {
            options.set(key, value).unwrap();
        }
        let entries: Vec<_> = options.entries().map(|(key, value)| format!("{key}={value}")).collect();
        let expected = [
            "openai.api_key_env=OTHER_KEY",
            "vllm.base_url=http://localhost:8000/v1",
            "vllm.requests_per_minute=240",
            "vllm.timeout=30",
        ];
        assert_eq!(entries, expected);
        for (key, value, message) in [
            ("vllm.timeout", "soon", "semantic.providers.vllm.timeout must be a number of seconds from 1"),
            (
                "vllm.timeoot",
                "1",
                "unknown option semantic.providers.vllm.timeoot: there are protocol, base_url",
            ),
            ("vllm.protocol", "telnet", "must be one of 'openai'"),
            ("vllm.base_url", "localhost:8000", "must be a URL like https://host/v1"),
            (
                "local.base_url",
                "http://localhost",
                "unknown option semantic.providers.transformers.base_url: models on this machine have long_text",
            ),
            (".base_url", "http://localhost", "'' cannot be the name of a remote provider"),
            ("vllm", "1", "expected semantic.providers.<name>.<option>"),
        ] {
            let error = options.set(key, value).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_key_is_neither_taken_nor_repeated() {
        let mut options = RemoteOptions::default();
        for key in ["openai.api_key", "openai.api_key_env", "openai.base_url"] {
            let error = options.set(key, "https://sk-TESTKEY-1@host/").unwrap_err().to_string();
            assert!(!error.contains("TESTKEY"), "{error}");
        }
        for key in [
            "sk-TESTKEY-1",
            "1TESTKEY",
            "TEST KEY",
            "AIzaSyTESTKEYb1c2d3e4f5g6h7i8j9k0lmnopq",
            "sk_TESTKEYb1c2d3e4f5g6h7i8",
        ] {
            let error = options.set("google.api_key_env", key).unwrap_err().to_string();
            assert!(error.contains("must be the name of an environment variable"), "{error}");
            assert!(!error.contains("TESTKEY"), "{error}");
        }
        assert_eq!(options.entries().count(), 0);
        for name in ["MY_KEY_2", "_key", "AZURE_OPENAI_API_KEY_OF_PRODUCTION_2", "openAiKey", ""] {
            options.set("google.api_key_env", name).unwrap();
        }
    }
}
