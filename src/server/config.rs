//! What a server is configured with: the table `server` of the configuration file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use datafusion::common::{Result, plan_datafusion_err, plan_err};
use serde::Deserialize;
use tokio::sync::Semaphore;

/// The options of `semsql serve`; those of the command line go before those of the file.
///
/// ```toml
/// [server]
/// bind = "0.0.0.0:50051"
/// tls_cert = "/etc/semsql/server.pem"
/// tls_key = "/etc/semsql/server.key"
/// auth_file = "/etc/semsql/auth.toml"
/// memory_limit = "8G"
/// max_queries = 16
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where Flight SQL is served; port 0 is any free one. Default: 127.0.0.1:50051.
    pub bind: SocketAddr,
    /// Where `/metrics` and `/healthz` are served, over HTTP and without a password. Default: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The certificate chain of the server, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// The authorities, PEM, one of which must have signed the certificate of a client.
    pub tls_client_ca: Option<PathBuf>,
    /// Users and tokens; see [`auth`](super::auth). Default: everybody who can connect.
    pub auth_file: Option<PathBuf>,
    /// Allows an address beyond this machine without TLS, or without authentication.
    pub insecure: bool,
    /// Allows statements that change something: DDL, DML, `COPY`, `SET`, and ingestion. Default: queries only.
    pub allow_writes: bool,
    /// A SQL script that runs before the first client is served, without these limits: tables, views, models to warm.
    pub init: Option<PathBuf>,
    /// How long a bearer token of a login is good. Default: 3600 s.
    pub token_seconds: u64,
    /// How long queries may go on after SIGTERM. Default: 30 s.
    pub shutdown_seconds: u64,
    /// What queries may take.
    #[serde(flatten)]
    pub limits: Limits,
}

/// What queries may take. Over these a query is refused, or ends, with `RESOURCE_EXHAUSTED`; `DEADLINE_EXCEEDED` for
/// the time.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The most statements that are planned or run at the same time. Default: 32.
    pub max_queries: usize,
    /// The most statements that wait for their turn; the next is refused at once. Default: 128.
    pub max_queued: usize,
    /// The longest that one waits. Default: 10 s.
    pub queue_seconds: u64,
    /// The longest that a statement runs, up to its last row received by the client. Default: 600 s.
    pub query_seconds: u64,
    /// The longest that a statement waits for a client that takes none of its rows, or sends none of its own. Default: 60 s.
    pub client_seconds: u64,
    /// The most rows of a result; 0 is any number, which is the default.
    pub max_rows: u64,
    /// The memory that all queries share, as `4G`, which is the default; sorts, joins and groupings spill to disk above it.
    pub memory_limit: String,
    /// The most that they spill, as `100G`, which is the default.
    pub spill_limit: String,
    /// The most prepared statements, and results not fetched yet, of one user. Default: 1000.
    pub max_handles: usize,
    /// How long these are kept when they are not used. Default: 3600 s.
    pub handle_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            metrics: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            auth_file: None,
            insecure: false,
            allow_writes: false,
            init: None,
            token_seconds: 3600,
            shutdown_seconds: 30,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_queries: 32,
            max_queued: 128,
            queue_seconds: 10,
            query_seconds: 600,
            client_seconds: 60,
            max_rows: 0,
            memory_limit: "4G".to_owned(),
            spill_limit: "100G".to_owned(),
            max_handles: 1000,
            handle_seconds: 3600,
        }
    }
}

impl ServerConfig {
    /// The table `server` of a TOML file; the defaults where there is none.
    pub fn parse(toml: &str) -> Result<Self> {
        let table = crate::session::parse_toml(toml)?.remove("server");
        let Some(table) = table else { return Ok(Self::default()) };
        table
            .try_into()
            .map_err(|error: toml::de::Error| plan_datafusion_err!("[server]: {}", error.message()))
    }

    /// An error where the configuration would let in people who should not be, or serve nobody.
    pub fn check(&self) -> Result<()> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return plan_err!("tls_cert and tls_key belong together: found only one of them");
        }
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            return plan_err!("tls_client_ca needs tls_cert and tls_key");
        }
        let limits = &self.limits;
        if !(1..=Semaphore::MAX_PERMITS).contains(&limits.max_queries) {
            return plan_err!(
                "max_queries must be a number from 1 to {}, found {}",
                Semaphore::MAX_PERMITS,
                limits.max_queries
            );
        }
        for (key, value) in [
            ("query_seconds", limits.query_seconds),
            ("client_seconds", limits.client_seconds),
            ("max_handles", limits.max_handles as u64),
            ("handle_seconds", limits.handle_seconds),
            ("token_seconds", self.token_seconds),
        ] {
            if value == 0 {
                return plan_err!("{key} must be a number from 1, found 0");
            }
        }
        if self.bind.ip().is_loopback() || self.insecure {
            return Ok(());
        }
        if self.tls_cert.is_none() {
            return plan_err!(
                "{} can be reached from other machines, and without TLS passwords and data are sent in the clear: give a \
                 certificate (--tls-cert, --tls-key), bind to 127.0.0.1, or say --insecure",
                self.bind
            );
        }
        if self.auth_file.is_none() && self.tls_client_ca.is_none() {
            return plan_err!(
                "{} can be reached from other machines, and everybody there could query: give users (--auth-file) or an \
                 authority for their certificates (--tls-client-ca), bind to 127.0.0.1, or say --insecure",
                self.bind
            );
        }
        Ok(())
    }
}

impl Limits {
    pub(super) fn memory_bytes(&self) -> Result<usize> {
        bytes("memory_limit", &self.memory_limit)
    }

    pub(super) fn spill_bytes(&self) -> Result<usize> {
        bytes("spill_limit", &self.spill_limit)
    }
}

fn bytes(key: &str, value: &str) -> Result<usize> {
    match crate::config::parse_bytes(value) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => plan_err!("{key} must be a number of bytes like 67108864 or 64M, found '{value}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_server_is_read() {
        let config =
            "[server]\nbind = '0.0.0.0:1'\nmax_queries = 3\nallow_writes = true\n[semantic]\nthreads = 1";
        let config = ServerConfig::parse(config).unwrap();
        assert_eq!((config.bind.port(), config.limits.max_queries, config.allow_writes), (1, 3, true));
        assert_eq!(ServerConfig::parse("").unwrap().bind.to_string(), "127.0.0.1:50051");
        for (toml, expected) in [
            ("[server]\nport = 1", "unknown field"),
            ("[server]\nmax_queries = 'x'", "invalid type"),
            ("[server", "line 1"),
        ] {
            let error = ServerConfig::parse(toml).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_would_let_in_anybody_or_nobody_is_refused() {
        let check = |toml: &str| ServerConfig::parse(&format!("[server]\n{toml}")).unwrap().check();
        assert!(check("").is_ok());
        assert!(check("bind = '[::1]:1'").is_ok());
        assert!(check("bind = '0.0.0.0:1'\ninsecure = true").is_ok());
        let tls = "bind = '0.0.0.0:1'\ntls_cert = 'c'\ntls_key = 'k'";
        assert!(check(&format!("{tls}\nauth_file = 'a'")).is_ok());
        assert!(check(&format!("{tls}\ntls_client_ca = 'a'")).is_ok());
        for (toml, expected) in [
            ("bind = '0.0.0.0:1'\nauth_file = 'a'", "without TLS"),
            (tls, "everybody there could query"),
            ("tls_cert = 'c'", "belong together"),
            ("tls_client_ca = 'c'", "needs tls_cert"),
            ("max_queries = 0", "max_queries must be a number from 1 to"),
            (
                "max_queries = 2305843009213693952",
                "max_queries must be a number from 1 to 2305843009213693951",
            ),
            ("query_seconds = 0", "query_seconds must be a number from 1, found 0"),
            ("client_seconds = 0", "client_seconds must be a number from 1"),
        ] {
            let error = check(toml).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
