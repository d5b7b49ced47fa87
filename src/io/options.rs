//! The options of everything that comes from outside.
use std::time::Duration;

use super::access::{AllowHosts, AllowPaths};
use super::location::{Location, without_secrets};
use crate::error::{Error, Result, data_err};

/// What a query may reach, and how long and how much of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileOptions {
    /// Hosts and buckets. The default is none.
    pub allow_hosts: AllowHosts,
    /// Local files and folders. The default is none.
    pub allow_paths: AllowPaths,
    /// Whether files may be written, where these two allow to. The default is not.
    pub allow_upload: bool,
    /// The most bytes of one file that is held as a value.
    pub max_bytes: u64,
    /// How long one file may take, all tries together.
    pub timeout: Duration,
    /// How often a request that failed for no fault of its own is made again.
    pub max_retries: usize,
}

impl FileOptions {
    /// Whatever the process may reach.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self {
            allow_hosts: AllowHosts::all(),
            allow_paths: AllowPaths::all(),
            allow_upload: true,
            ..Self::default()
        }
    }

    /// Where `location` is, an absolute path or a store and a key, if it may be written to.
    pub(crate) fn writable(&self, location: &str) -> Result<Location> {
        self.check_upload()?;
        match Location::parse(location)? {
            Location::Local(path) => {
                let path = std::path::absolute(self.allow_paths.check_target(&path)?);
                let failed = |error| Error::Data(format!("cannot write '{location}': {error}"));
                Ok(Location::Local(path.map_err(failed)?))
            }
            Location::Store(url, key) => {
                self.allow_hosts.check_store(&url)?;
                Ok(Location::Store(url, key))
            }
            Location::Web(url) => {
                data_err!("cannot write '{}': http(s) can only be read", without_secrets(&url))
            }
            Location::Hub(_) => data_err!("cannot write '{location}': the hub can only be read"),
        }
    }

    /// An error unless files may be written.
    pub(super) fn check_upload(&self) -> Result<()> {
        if self.allow_upload {
            return Ok(());
        }
        data_err!("writing files is not allowed: semantic.allow_upload is false")
    }
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            allow_hosts: AllowHosts::default(),
            allow_paths: AllowPaths::default(),
            allow_upload: false,
            max_bytes: 1 << 30,
            timeout: Duration::from_mins(10),
            max_retries: 2,
        }
    }
}
