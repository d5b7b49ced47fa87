//! `semsql serve` and `semsql hash-password`.

use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use datafusion::prelude::SessionContext;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::errors::Report;
use super::statements::split;
use super::{PLANNING_STACK, fail};
use crate::server::{self, Server, ServerConfig};
use crate::session;

/// What `semsql` does beside running SQL.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve SQL over the network: Arrow Flight SQL, for ADBC, JDBC and others
    Serve(Box<ServeArguments>),
    /// Read a password from standard input, and print its hash for the file of users
    HashPassword,
}

/// The options of the server, which go before those of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ServeArguments {
    /// Serve at this address [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: Option<SocketAddr>,

    /// Read the options in this TOML file: limits of the server, and semantic.* as the files queries may read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The certificate chain of the server (PEM)
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Let in only clients with a certificate of these authorities (PEM)
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// Let in only the users and tokens of this TOML file
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,

    /// Serve other machines without TLS, or without users
    #[arg(long)]
    insecure: bool,

    /// Allow statements that change something: DDL, DML, COPY, SET, ingestion
    #[arg(long)]
    allow_writes: bool,

    /// Run this SQL script first: tables, views, models to warm
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,

    /// Serve /metrics and /healthz at this address, over HTTP
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

impl ServeArguments {
    /// The configuration, and the text of its file.
    fn config(&self) -> Result<(ServerConfig, String), String> {
        let text = match &self.config {
            None => String::new(),
            Some(path) => fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        };
        let file = self.config.as_deref().unwrap_or_else(|| "".as_ref()).display();
        let config = ServerConfig::parse(&text).map_err(|error| format!("{file}: {}", error.message()))?;
        let given = |given: &Option<PathBuf>, other: Option<PathBuf>| given.clone().or(other);
        let config = ServerConfig {
            bind: self.bind.unwrap_or(config.bind),
            metrics: self.metrics.or(config.metrics),
            tls_cert: given(&self.tls_cert, config.tls_cert),
            tls_key: given(&self.tls_key, config.tls_key),
            tls_client_ca: given(&self.tls_client_ca, config.tls_client_ca),
            auth_file: given(&self.auth_file, config.auth_file),
            init: given(&self.init, config.init),
            insecure: self.insecure || config.insecure,
            allow_writes: self.allow_writes || config.allow_writes,
            ..config
        };
        Ok((config, text))
    }
}

/// Does what the command line asks for.
#[must_use]
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Serve(arguments) => serve(arguments),
        Command::HashPassword => hash_password(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(reason),
    }
}

/// A network needs few threads: statements are planned and run on others.
const NETWORK_THREADS: usize = 2;

fn serve(arguments: &ServeArguments) -> Result<(), Box<dyn Error>> {
    let (config, toml) = arguments.config()?;
    config.check().map_err(message)?;
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("datafusion_semantic=info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();

    // a line like the others; what a panic says may quote values
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "panic");
    }));

    let ctx = server::session(&toml, &config.limits).map_err(message)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .thread_stack_size(PLANNING_STACK)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        // from here on a signal does not end the process where it is
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        if let Some(path) = &config.init {
            tokio::select! {
                done = initialize(&ctx, path) => done?,
                _ = terminate.recv() => return Ok(()),
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
        let scheme = if config.tls_cert.is_some() { "grpc+tls" } else { "grpc" };
        let server = Server::bind(ctx, config).await.map_err(message)?;
        let mut out = io::stdout();
        writeln!(out, "semsql: serving Flight SQL at {scheme}://{}", server.address())?;
        if let Some(address) = server.metrics_address() {
            writeln!(out, "semsql: serving metrics at http://{address}/metrics")?;
        }
        out.flush()?;
        tracing::info!(address = %server.address(), version = env!("CARGO_PKG_VERSION"), "ready");
        let reload = server.reload();
        let reloading = async move {
            while hang_up.recv().await.is_some() {
                reload();
            }
            std::future::pending::<()>().await;
        };
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        tokio::select! {
            ended = server.serve(shutdown) => ended.map_err(message)?,
            () = reloading => {}
        }
        tracing::info!("ended");
        Ok(())
    });
    runtime.shutdown_background();
    served
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn message(error: datafusion::common::DataFusionError) -> Box<dyn Error> {
    error.find_root().message().into_owned().into()
}

/// Runs the script before anybody is served. What its queries return is thrown away.
async fn initialize(ctx: &SessionContext, path: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let name = path.display();
    let script = fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let located = |report: &Report| {
        format!("{name}:{}:{}: {}", report.position.line, report.position.column, report.message)
    };
    let dialect = datafusion::sql::sqlparser::dialect::GenericDialect {};
    let statements = split(&script, &dialect)
        .map_err(|error| located(&Report::at(&script, error.location.into(), error.message)))?;
    for statement in statements {
        let done = async { session::sql(ctx, statement.text).await?.collect().await };
        done.await.map_err(|error| located(&Report::new(&statement, &error, ctx)))?;
    }
    Ok(())
}

fn hash_password() -> Result<(), Box<dyn Error>> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(refused(
            "the password would be seen as it is typed: pipe it, as `read -rs P; printf %s \"$P\" | semsql hash-password`",
        ));
    }
    let mut password = String::new();
    stdin.lock().read_line(&mut password)?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(refused("found no password on standard input"));
    }
    writeln!(io::stdout(), "{}", server::auth::hash_password(password)?)?;
    Ok(())
}

fn refused(reason: impl Display) -> Box<dyn Error> {
    format!("hash-password: {reason}").into()
}
