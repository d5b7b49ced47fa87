//! Keys: read from the environment or from a file, and never shown.
use std::fmt;

use reqwest::header::HeaderValue;

use super::options::ProviderOptions;
use super::protocol::Protocol;
use crate::error::{Error, Result, query_err};

/// A key. Its `Debug` form says nothing about it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A part of the key of this length must not be in a message.
const REVEALING: usize = 6;

impl Key {
    /// The key of a provider: of the file or the environment variable that options name, else of the protocol's
    /// variables. None where none is set and none is needed.
    pub(super) fn read(
        provider: &str,
        options: &ProviderOptions,
        protocol: &dyn Protocol,
    ) -> Result<Option<Self>> {
        let key = if let Some(path) = &options.api_key_file {
            let content = std::fs::read_to_string(path).map_err(|error| {
                Error::Query(format!("cannot read the key of provider '{provider}' from '{path}': {error}"))
            })?;
            Some((content, format!("file '{path}'")))
        } else if let Some(variable) = &options.api_key_env {
            let Ok(content) = std::env::var(variable) else {
                return query_err!(
                    "the environment variable {variable}, which semantic.providers.{provider}.api_key_env names, is not set"
                );
            };
            Some((content, format!("environment variable {variable}")))
        } else if options.protocol.is_some() || provider != protocol.name() {
            // the key of another provider is not sent to an endpoint that only speaks its language
            None
        } else {
            protocol.key_variables().iter().find_map(|variable| {
                Some((std::env::var(variable).ok()?, format!("environment variable {variable}")))
            })
        };
        let Some((content, source)) = key else {
            return match protocol.key_variables().first() {
                Some(variable) if protocol.needs_key() && provider == protocol.name() => query_err!(
                    "provider '{provider}' needs a key: set the environment variable {variable}, or name another one by \
                     semantic.providers.{provider}.api_key_env, or a file by .api_key_file"
                ),
                _ => Ok(None),
            };
        };
        let key = content.trim();
        if key.is_empty() || HeaderValue::from_str(key).is_err() {
            return query_err!(
                "the key of provider '{provider}' in {source} must be one line of text that is not empty"
            );
        }
        Ok(Some(Self(key.to_owned())))
    }

    /// What tells keys apart, without giving them away.
    pub(super) fn identity(&self) -> [u8; 32] {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }

    /// A header with the key behind `prefix`, marked as one that is not shown.
    pub(super) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether a part of the key is in `text`.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let key = self.0.as_bytes();
        let parts = key.windows(REVEALING.min(key.len()));
        parts.filter_map(|part| std::str::from_utf8(part).ok()).any(|part| text.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown() {
        let key = Key("sk-TESTKEY-123".to_owned());
        assert_eq!(format!("{key:?}"), "***");
        assert_eq!(format!("{:?}", key.header("Bearer ").unwrap()), "Sensitive");
        assert!(key.is_in("Incorrect API key provided: sk-TESTK****123"));
        assert!(!key.is_in("Incorrect API key provided"));
    }
}
