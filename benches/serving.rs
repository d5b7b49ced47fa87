//! The Flight SQL server under load: clients that search and embed at the same time, in one process with the server.
//!
//! First as many tasks do the same in the session itself, without server: what the engine takes. Then the clients, for
//! `SECONDS` (60): how long a search for a text takes that was searched for before, what failed, and the memory of the
//! process by quarters. The searches are over 2,000 vectors of 384 dimensions, by the default model of this machine.
//! `SLOW=1` leaves the embedding clients out; `CLIENTS` (32) is how many there are.
#![expect(clippy::print_stdout, reason = "a benchmark reports what it measured")]
#![expect(clippy::cast_precision_loss, reason = "milliseconds are few")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::prelude::SessionContext;
use datafusion_semantic::server::{self, Server, ServerConfig};
use datafusion_semantic::session;
use futures::TryStreamExt;
use tokio::task::JoinSet;
use tonic::transport::Channel;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEEN: [&str; 4] =
    ["cats and dogs", "how to sail a boat", "a recipe for bread", "the theory of numbers"];

fn search(turn: u64) -> String {
    let text = SEEN[usize::try_from(turn).unwrap_or(0) % SEEN.len()];
    format!("SELECT id FROM documents ORDER BY cosine_distance(embedding, embed_text('{text}')) LIMIT 5")
}

fn embed(turn: u64) -> String {
    format!("SELECT embed_text('text ' || CAST(value + {turn} AS VARCHAR)) AS e FROM range(0, 16)")
}

/// Every fourth client embeds, the others search.
fn statement(client: u64, turn: u64, searches_only: bool) -> (bool, String) {
    if client.is_multiple_of(4) && !searches_only {
        (false, embed(client * 1_000_000 + turn))
    } else {
        (true, search(turn))
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        // `cargo test --benches` wants to know that it starts
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (seconds, clients) = (number("SECONDS", 60), number("CLIENTS", 32));
        let searches_only = number("SLOW", 0) == 1;
        let config = ServerConfig::parse("[server]\nbind = '127.0.0.1:0'\nmax_queries = 64")?;
        let ctx = server::session("", &config.limits)?;
        let documents = "CREATE TABLE documents AS SELECT value AS id, \
                         embed_text('document ' || CAST(value AS VARCHAR)) AS embedding FROM range(0, 2000)";
        session::sql(&ctx, documents).await?.collect().await?;

        for tasks in [1, clients] {
            let times = alone(&ctx, tasks, Duration::from_secs(seconds.div_ceil(4)), searches_only).await?;
            report(&format!("engine, {tasks} at a time"), times);
        }
        let server = Server::bind(ctx, config).await?;
        let address = server.address();
        let mut serving = JoinSet::new();
        serving.spawn(server.serve(std::future::pending()));
        for tasks in [1, clients] {
            let time = Duration::from_secs(if tasks == 1 { seconds.div_ceil(4) } else { seconds });
            let times = served(&address.to_string(), tasks, time, searches_only).await?;
            report(&format!("server, {tasks} clients"), times);
        }
        Ok(())
    })
}

fn report(what: &str, mut searches: Vec<Duration>) {
    searches.sort_unstable();
    let at = |part: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (searches.len() as f64 * part) as usize;
        searches.get(index.min(searches.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    println!(
        "{what}: {} searches, median {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        searches.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// The searches of so many tasks in the session itself.
async fn alone(
    ctx: &SessionContext,
    tasks: u64,
    time: Duration,
    searches_only: bool,
) -> Result<Vec<Duration>> {
    let mut all = JoinSet::new();
    for client in 1..=tasks {
        let ctx = ctx.clone();
        all.spawn(async move {
            let (started, mut searches) = (Instant::now(), vec![]);
            for turn in 0.. {
                if started.elapsed() > time {
                    break;
                }
                let (is_search, sql) = statement(client, turn, searches_only);
                let begun = Instant::now();
                session::sql(&ctx, &sql).await?.collect().await?;
                if is_search {
                    searches.push(begun.elapsed());
                }
            }
            Ok::<_, datafusion::common::DataFusionError>(searches)
        });
    }
    let mut searches = vec![];
    while let Some(of_task) = all.join_next().await {
        searches.extend(of_task??);
    }
    Ok(searches)
}

/// The searches of so many clients.
async fn served(address: &str, clients: u64, time: Duration, searches_only: bool) -> Result<Vec<Duration>> {
    let (statements, failures) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut all = JoinSet::new();
    for client in 1..=clients {
        let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
        let (statements, failures) = (Arc::clone(&statements), Arc::clone(&failures));
        all.spawn(async move {
            let mut flight = FlightSqlServiceClient::new(channel);
            let (started, mut searches) = (Instant::now(), vec![]);
            for turn in 0.. {
                if started.elapsed() > time {
                    break;
                }
                let (is_search, sql) = statement(client, turn, searches_only);
                let begun = Instant::now();
                match query(&mut flight, sql).await {
                    Ok(_) if is_search => searches.push(begun.elapsed()),
                    Ok(_) => {}
                    Err(error) => {
                        if failures.fetch_add(1, Ordering::Relaxed) < 5 {
                            println!("failed: {error}");
                        }
                    }
                }
                statements.fetch_add(1, Ordering::Relaxed);
            }
            searches
        });
    }
    let watch = async {
        for quarter in 1..=4 {
            tokio::time::sleep(time / 4).await;
            println!("  quarter {quarter}: {} MiB", resident_mib());
        }
    };
    let (searches, ()) = futures::join!(all.join_all(), watch);
    println!(
        "  {} statements, {} failed, {:.0} a second",
        statements.load(Ordering::Relaxed),
        failures.load(Ordering::Relaxed),
        statements.load(Ordering::Relaxed) as f64 / time.as_secs_f64()
    );
    Ok(searches.into_iter().flatten().collect())
}

async fn query(flight: &mut FlightSqlServiceClient<Channel>, sql: String) -> Result<usize> {
    let info = flight.execute(sql, None).await?;
    let ticket = info.endpoint.into_iter().find_map(|endpoint| endpoint.ticket).ok_or("no ticket")?;
    let batches: Vec<_> = flight.do_get(ticket).await?.try_collect().await?;
    Ok(batches.len())
}

/// The memory of the process now; 0 where there is no /proc.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
