//! What is configured about remote providers: `SET semantic.providers.<name>.<option> = ...`
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::protocols;
use crate::error::{Error, Result, query_err};

/// The options of all remote providers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteOptions {
    /// How often a request is made again.
    pub max_retries: usize,
    /// By the name of the provider.
    pub providers: Arc<BTreeMap<String, ProviderOptions>>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self { max_retries: 10, providers: Arc::default() }
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
    pub timeout: Option<Duration>,
    /// How long a request is made again, all tries and waits together.
    pub retry_timeout: Option<Duration>,
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

/// The options, each with its value where it is set and what it says.
const NAMES: [&str; 18] = [
    "protocol",
    "base_url",
    "api_key_env",
    "api_key_file",
    "api_version",
    "max_inputs",
    "max_request_tokens",
    "max_input_tokens",
    "max_concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "timeout",
    "retry_timeout",
    "dimensions",
    "long_text",
    "encoding_format",
    "query_prefix",
    "document_prefix",
];

/// The provider of models on this machine, and those options that it has.
const LOCAL: &str = "transformers";
const OF_LOCAL: [&str; 3] = ["long_text", "query_prefix", "document_prefix"];

impl RemoteOptions {
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
        // the provider of models on this machine, which has few options
        let name = if name == "local" { LOCAL } else { name };
        if name == LOCAL && !OF_LOCAL.contains(&option) {
            return query_err!(
                "unknown option semantic.providers.{name}.{option}: models on this machine have {}",
                OF_LOCAL.join(", ")
            );
        }
        let mut options = self.providers.get(name).cloned().unwrap_or_default();
        options.set(name, option, value)?;
        Arc::make_mut(&mut self.providers).insert(name.to_owned(), options);
        Ok(())
    }

    /// `<name>.<option>` and its value, of all that are set.
    pub fn entries(&self) -> impl Iterator<Item = (String, String)> {
        self.providers.iter().flat_map(|(name, options)| {
            let set = NAMES.iter().filter_map(|option| Some((*option, options.get(option)?)));
            set.map(move |(option, value)| (format!("{name}.{option}"), value))
        })
    }
}

impl ProviderOptions {
    fn set(&mut self, provider: &str, option: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| {
            Error::Query(format!(
                "semantic.providers.{provider}.{option} must be {expected}, found '{value}'"
            ))
        };
        let text = (!value.is_empty()).then(|| value.to_owned());
        let number = || match value {
            "" => Ok(None),
            value => match value.parse() {
                Ok(number) if number > 0 => Ok(Some(number)),
                _ => Err(wrong("a number from 1")),
            },
        };
        let seconds = || match value.strip_suffix('s').unwrap_or(value).parse() {
            _ if value.is_empty() => Ok(None),
            Ok(seconds) if seconds > 0 => Ok(Some(Duration::from_secs(seconds))),
            _ => Err(wrong("a number of seconds from 1, like 60")),
        };
        match option {
            "protocol" => {
                if !value.is_empty() && protocols::by_name(value).is_none() {
                    return Err(wrong(&format!("one of {}", protocols::names())));
                }
                self.protocol = text;
            }
            "base_url" => {
                if !value.is_empty() {
                    check_url(provider, value)?;
                }
                self.base_url = text.map(|url| url.trim_end_matches('/').to_owned());
            }
            // the value is not shown: it may be the key itself
            "api_key_env" => match value {
                "" => self.api_key_env = None,
                value if is_variable(value) && !looks_like_a_key(value) => self.api_key_env = text,
                _ => {
                    return query_err!(
                        "semantic.providers.{provider}.api_key_env must be the name of an environment variable, letters, \
                         digits and _, not the key itself: put the key into a variable, and name that"
                    );
                }
            },
            "api_key" | "key" | "token" => {
                return query_err!(
                    "a key is no option, it would be seen: put it into an environment variable or a file, and name that by \
                     semantic.providers.{provider}.api_key_env or .api_key_file"
                );
            }
            "api_key_file" => self.api_key_file = text,
            "api_version" => self.api_version = text,
            "max_inputs" => self.max_inputs = number()?,
            "max_request_tokens" => self.max_request_tokens = number()?,
            "max_input_tokens" => self.max_input_tokens = number()?,
            "max_concurrency" => self.max_concurrency = number()?,
            "requests_per_minute" => self.requests_per_minute = number()?,
            "tokens_per_minute" => self.tokens_per_minute = number()?,
            "timeout" => self.timeout = seconds()?,
            "retry_timeout" => self.retry_timeout = seconds()?,
            "dimensions" => self.dimensions = number()?,
            "long_text" => {
                self.long_text = match value {
                    "" => None,
                    "raise" => Some(LongText::Raise),
                    "truncate" => Some(LongText::Truncate),
                    "average" => Some(LongText::Average),
                    _ => return Err(wrong("'raise', 'truncate' or 'average'")),
                };
            }
            "encoding_format" => {
                self.json_floats = match value {
                    "" | "base64" => false,
                    "float" => true,
                    _ => return Err(wrong("'base64' or 'float'")),
                };
            }
            "query_prefix" => self.query_prefix = text,
            "document_prefix" => self.document_prefix = text,
            _ => {
                return query_err!(
                    "unknown option semantic.providers.{provider}.{option}: there are {}",
                    NAMES.join(", ")
                );
            }
        }
        Ok(())
    }

    fn get(&self, option: &str) -> Option<String> {
        let number = |number: Option<usize>| number.map(|number| number.to_string());
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs().to_string());
        match option {
            "protocol" => self.protocol.clone(),
            "base_url" => self.base_url.clone(),
            "api_key_env" => self.api_key_env.clone(),
            "api_key_file" => self.api_key_file.clone(),
            "api_version" => self.api_version.clone(),
            "max_inputs" => number(self.max_inputs),
            "max_request_tokens" => number(self.max_request_tokens),
            "max_input_tokens" => number(self.max_input_tokens),
            "max_concurrency" => number(self.max_concurrency),
            "requests_per_minute" => number(self.requests_per_minute),
            "tokens_per_minute" => number(self.tokens_per_minute),
            "timeout" => seconds(self.timeout),
            "retry_timeout" => seconds(self.retry_timeout),
            "dimensions" => number(self.dimensions),
            "long_text" => self.long_text.map(|long_text| {
                match long_text {
                    LongText::Raise => "raise",
                    LongText::Truncate => "truncate",
                    LongText::Average => "average",
                }
                .to_owned()
            }),
            "encoding_format" => self.json_floats.then(|| "float".to_owned()),
            "query_prefix" => self.query_prefix.clone(),
            "document_prefix" => self.document_prefix.clone(),
            _ => None,
        }
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
