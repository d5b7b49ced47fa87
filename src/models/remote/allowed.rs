//! The option `semantic.allow_providers`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, query_err};

/// The providers on the network that queries may send to. Those that a program adds to its registry are always allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum AllowProviders {
    /// All that are built in or defined by options.
    #[default]
    All,
    /// Those of these names.
    Named(BTreeSet<String>),
}

impl AllowProviders {
    pub(in crate::models) fn check(&self, name: &str) -> Result<()> {
        match self {
            Self::Named(names) if !names.contains(name) => {
                query_err!("provider '{name}' is not allowed: semantic.allow_providers does not list it")
            }
            Self::Named(_) | Self::All => Ok(()),
        }
    }
}

impl FromStr for AllowProviders {
    type Err = Error;

    /// `all`, or names with commas between; none for an empty text.
    fn from_str(list: &str) -> Result<Self> {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        if !names.contains("all") {
            return Ok(Self::Named(names));
        }
        if names.len() > 1 {
            return query_err!("'all' stands alone, found '{list}'");
        }
        Ok(Self::All)
    }
}

impl fmt::Display for AllowProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Named(names) => {
                f.write_str(&names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
