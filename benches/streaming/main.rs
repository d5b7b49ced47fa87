//! What the operator of async calls costs, what it overlaps, and how much memory it takes. No model is needed.
//!
//! - `overhead`: what a row costs in an async call beside a synchronous one.
//! - `overlap`: downloads, decoding and a model together, beside each of them alone.
//! - `memory`: the most memory that a query over large photos takes. Minutes long, so it runs only when it is named:
//!   `cargo bench --bench streaming -- memory`. `STREAMING_FILES=50` before it makes it quick.
#![expect(clippy::print_stdout, reason = "a benchmark reports what it measured")]
#![expect(clippy::cast_precision_loss, reason = "rows, files and bytes are fewer than 2^52")]

mod memory;
mod mock;
mod overhead;
mod overlap;

use std::error::Error;
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use datafusion_semantic::session;
use futures::StreamExt;

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(query) = memory::Query::of_this_process() {
        return runtime.block_on(query.run());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --benches` wants to know that it starts
        return Ok(());
    }
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_named = |scenario: &str| names.iter().any(|name| name.starts_with(scenario));
    if names.is_empty() || is_named("overhead") {
        overhead::measure(&runtime)?;
    }
    if names.is_empty() || is_named("overlap") {
        runtime.block_on(overlap::measure())?;
    }
    if is_named("memory") {
        memory::measure()?;
    }
    Ok(())
}

/// Runs a query and lets its rows go as they come; the time it takes. An error if it has not as many `rows`.
async fn timed(ctx: &SessionContext, sql: &str, rows: usize) -> Result<Duration> {
    let start = Instant::now();
    let mut stream = session::sql(ctx, sql).await?.execute_stream().await?;
    let mut found = 0;
    while let Some(batch) = stream.next().await {
        found += batch?.num_rows();
    }
    if found == rows { Ok(start.elapsed()) } else { Err(format!("{found} rows, not {rows}: {sql}").into()) }
}

/// Runs a statement that has no rows.
async fn set(ctx: &SessionContext, option: &str) -> Result<()> {
    session::sql(ctx, &format!("SET semantic.{option}")).await?.collect().await?;
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `0.051 0.048 0.055`
fn listed(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" ")
}
