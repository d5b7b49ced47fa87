//! A Flight SQL server over a session.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use datafusion_semantic::server::{Server, ServerConfig};
//!
//! let config = ServerConfig::parse("[server]\nbind = '127.0.0.1:0'")?;
//! let server = Server::bind(datafusion_semantic::session::new()?, config).await?;
//! println!("{}", server.address());
//! server.serve(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A statement goes this way: it is planned (`GetFlightInfo`, which runs nothing) and kept for the user under a random handle,
//! which is the ticket; the ticket is good for one `DoGet`, which runs it in a turn of [`Limits::max_queries`]. Statements
//! are planned, run and encoded on threads of their own, as many as cores, never on those of the network. A result is never more
//! than a few messages ahead of its client, and a statement whose client goes away ends, with its calls of models.

mod admission;
pub mod auth;
mod bound;
mod catalog;
mod commands;
mod config;
mod deep;
mod flight;
mod handles;
mod incoming;
mod info;
mod ingest;
mod keys;
mod log;
mod messages;
mod metrics;
mod operations;
mod queries;
mod service;
mod statements;
mod status;
mod tls;
mod waiting;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionContext;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tracing::{error, info};

pub use self::config::{Limits, ServerConfig};

use self::auth::Auth;
use self::flight::Flight;
use self::handles::Handles;
use self::metrics::Metrics;
use self::queries::Queries;
use self::service::{Service, State};
use self::statements::Statements;

/// The largest message of a client: rows to be ingested, values of parameters.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// Stack of the threads that plan and run: some of DataFusion's walks recurse. Only what is used takes memory.
const STACK: usize = 256 << 20;

/// How often files are looked at and handles expire.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// A session for a server: queries reach what the options of the TOML file allow, nothing by default, and share the memory
/// of `limits`.
pub fn session(toml: &str, limits: &Limits) -> Result<SessionContext> {
    let pool = FairSpillPool::new(limits.memory_bytes()?);
    let consumers = std::num::NonZeroUsize::MIN.saturating_add(2);
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory);
    let disk = disk.with_max_temp_directory_size(limits.spill_bytes()? as u64);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, consumers)))
        .with_disk_manager_builder(disk);
    crate::session::restricted(toml, runtime)
}

/// A server whose address is taken.
pub struct Server {
    state: Arc<State>,
    config: ServerConfig,
    incoming: TcpIncoming,
    address: SocketAddr,
    metrics: Option<TcpListener>,
    threads: Threads,
}

/// The threads that plan and run statements.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // what was cancelled may still be inside a call that cannot be interrupted
            runtime.shutdown_background();
        }
    }
}

fn in_server(error: impl std::fmt::Display) -> DataFusionError {
    plan_datafusion_err!("{error}")
}

impl Server {
    /// Checks the configuration and takes the addresses.
    pub async fn bind(ctx: SessionContext, config: ServerConfig) -> Result<Self> {
        config.check()?;
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name("semsql-query")
            .thread_stack_size(STACK)
            .build()?;
        let queries = runtime.handle().clone();
        let threads = Threads(Some(runtime));
        let metrics = Arc::new(Metrics::new());
        let limits = &config.limits;
        let lifetime = Duration::from_secs(limits.handle_seconds);
        let state = Arc::new(State {
            sql_info: info::sql_info(&ctx, config.allow_writes).map_err(in_server)?,
            type_info: info::type_info().map_err(in_server)?,
            statements: Statements {
                ctx,
                allow_writes: config.allow_writes,
                max_rows: limits.max_rows,
                client_time: Duration::from_secs(limits.client_seconds),
            },
            queries: Arc::new(Queries::new(queries, limits, metrics)),
            auth: Arc::new(Auth::new(&config)?),
            results: Handles::new("results", limits.max_handles, lifetime),
            prepared: Handles::new("prepared statements", limits.max_handles, lifetime),
        });
        let taken = |error| plan_datafusion_err!("cannot bind to {}: {error}", config.bind);
        let listener = TcpListener::bind(config.bind).await.map_err(taken)?;
        let address = listener.local_addr()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let metrics = match config.metrics {
            None => None,
            Some(at) => {
                let taken = |error| plan_datafusion_err!("cannot bind to {at}: {error}");
                Some(TcpListener::bind(at).await.map_err(taken)?)
            }
        };
        Ok(Self { state, config, incoming, address, metrics, threads })
    }

    /// Where Flight SQL is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` and `/healthz` are served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown` is ready: then statements that run have [`ServerConfig::shutdown_seconds`] to end, and no
    /// new ones begin.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { state, config, incoming, metrics, threads, .. } = self;
        let mut background = JoinSet::new();
        if let Some(listener) = metrics {
            let router = operations::router(Arc::clone(&state));
            background.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    error!(%error, "metrics");
                }
            });
        }
        background.spawn(housekeeping(Arc::clone(&state)));

        let service = FlightServiceServer::new(Flight(Service::new(Arc::clone(&state))))
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .max_encoding_message_size(usize::MAX);
        let router = Routes::new(service).into_axum_router();
        let check = axum::middleware::from_fn_with_state(Arc::clone(&state.auth), auth::check);
        let mut builder = tonic::transport::Server::builder()
            // a connection whose client is gone without a word is closed
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .tcp_keepalive(Some(Duration::from_mins(1)))
            .max_concurrent_streams(Some(1024));
        if let Some(tls) = tls::config(&config)? {
            builder = builder.tls_config(tls).map_err(|error| {
                let cause = std::error::Error::source(&error).map_or_else(String::new, |e| format!(": {e}"));
                plan_datafusion_err!("the certificate or its key cannot be used: {error}{cause}")
            })?;
        }
        let (draining, grace) = (Arc::clone(&state.queries), Duration::from_secs(config.shutdown_seconds));
        let (begun, ended) = tokio::sync::oneshot::channel();
        let stop = async move {
            shutdown.await;
            draining.close();
            info!(seconds = grace.as_secs(), "ending: statements that run may end");
            // whoever waits for it may have gone
            let _ = begun.send(());
        };
        let serving = builder
            .add_routes(Routes::from(router.layer(check)))
            .serve_with_incoming_shutdown(incoming, stop);
        let overdue = async {
            // without a word it is dropped, which says that it serves no more
            if ended.await.is_ok() {
                sleep(grace).await;
                state.queries.cancel_all();
                // what they are told is on its way
                sleep(Duration::from_secs(1)).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let served = tokio::select! {
            served = serving => served.map_err(in_server),
            () = overdue => Ok(()),
        };
        state.queries.cancel_all();
        if let Some(runtime) = &threads.0 {
            // deep plans are dropped where they were made, while that is there
            let kept = runtime.spawn(async move {
                state.results.clear();
                state.prepared.clear();
            });
            // without it the threads end as well
            let _ = kept.await;
        }
        drop(threads);
        served
    }

    /// Reads the file of users again, as on SIGHUP.
    pub fn reload(&self) -> impl Fn() + Send + Sync + use<> {
        let auth = Arc::clone(&self.state.auth);
        move || reload(&auth, true)
    }
}

fn reload(auth: &Auth, always: bool) {
    match auth.reload(always) {
        Ok(true) => info!("the file of users was read again"),
        Ok(false) => {}
        Err(failure) => error!(error = %failure.message(), "the users stay as they were"),
    }
}

async fn housekeeping(state: Arc<State>) {
    let mut ticks = interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        reload(&state.auth, false);
        state.results.expire();
        state.prepared.expire();
    }
}
