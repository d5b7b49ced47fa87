//! `embed_text` over a provider on the network: a server in this process that takes 50 ms a request and 0.1 ms an
//! input, and returns vectors of 1,536 dimensions as base64.
//!
//! Prints the time of 10,000 rows beside that of an ideal schedule: the same inputs in as few requests as the limit of
//! inputs allows, as many at a time as `semantic.max_concurrency`, and no time for anything else; what was sent when the
//! first rows came; before that, the most memory of 10,000 and of 100,000 rows, server included.
//!
//! `cargo bench --bench providers -- faults` prints how long 10,000 rows take where a part of the requests fails, and
//! 2,000 rows where 240 requests a minute are taken and nobody has said so.
#![expect(clippy::print_stdout, reason = "a benchmark reports what it measured")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "rows and milliseconds are few"
)]

#[path = "../tests/integration/providers/server.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "a part of the tests")]
mod server;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;
use futures::StreamExt;
use serde::Deserialize;

use server::{Reply, Request, Server};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DIMENSIONS: usize = 1536;
const PER_REQUEST: Duration = Duration::from_millis(50);
const PER_INPUT: Duration = Duration::from_micros(100);
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        // `cargo test --benches` wants to know that it starts
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if std::env::args().any(|argument| argument == "faults") {
            for max_inputs in [64, 2048] {
                measure_faults(&format!("20 % refused, {max_inputs} inputs"), 10_000, max_inputs, failing())
                    .await?;
                measure_faults(&format!("240 a minute, {max_inputs} inputs"), 2000, max_inputs, limited())
                    .await?;
            }
            return Ok(());
        }
        for rows in [10_000, 100_000] {
            let (ctx, _) = start(64, 16).await?;
            timed(&ctx, rows, None).await?;
            println!("{rows} rows: at most {} MiB so far", peak_mib()?);
        }
        for (max_inputs, concurrency) in [(64, 16), (256, 16), (2048, 8)] {
            measure(max_inputs, concurrency).await?;
        }
        Ok(())
    })
}

async fn measure(max_inputs: usize, concurrency: usize) -> Result<()> {
    const ROWS: usize = 10_000;
    let full = ROWS / max_inputs.min(ROWS);
    let rest = ROWS % max_inputs.min(ROWS);
    let rounds = full.div_ceil(concurrency) as u32;
    // the last, smaller request may find a place beside others
    let alone = u32::from(rest > 0 && full.is_multiple_of(concurrency));
    let ideal = (PER_REQUEST + PER_INPUT * max_inputs as u32) * rounds
        + (PER_REQUEST + PER_INPUT * rest as u32) * alone;
    let mut times = vec![];
    let mut of_last = String::new();
    for _ in 0..ROUNDS {
        let (ctx, server) = start(max_inputs, concurrency).await?;
        let (time, sent_first) = timed(&ctx, ROWS, Some(&server)).await?;
        times.push(time.as_secs_f64() / ideal.as_secs_f64());
        of_last = format!(
            "{} requests, {sent_first} of them when the first rows came, at most {} in flight",
            server.count(),
            server.most_in_flight()
        );
    }
    times.sort_by(f64::total_cmp);
    let rate = ROWS as f64 / (times[ROUNDS / 2] * ideal.as_secs_f64());
    println!(
        "{max_inputs} inputs a request, {concurrency} in flight: {:.2} times the ideal {ideal:?} ({:.2} to {:.2}), {rate:.0} rows \
         a second; {of_last}",
        times[ROUNDS / 2],
        times[0],
        times[ROUNDS - 1],
    );
    Ok(())
}

async fn start(max_inputs: usize, concurrency: usize) -> Result<(SessionContext, Arc<Server>)> {
    let templates: Vec<_> = (0..64).map(template).collect();
    start_with(max_inputs, concurrency, move |request| embed(request, &templates)).await
}

async fn start_with(
    max_inputs: usize,
    concurrency: usize,
    script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Result<(SessionContext, Arc<Server>)> {
    let server = Server::start(script).await;
    let ctx = session::new()?;
    for option in [
        format!("providers.bench.base_url = '{}'", server.url),
        format!("providers.bench.dimensions = {DIMENSIONS}"),
        format!("providers.bench.max_inputs = {max_inputs}"),
        format!("max_concurrency = {concurrency}"),
    ] {
        session::sql(&ctx, &format!("SET semantic.{option}")).await?.collect().await?;
    }
    Ok((ctx, server))
}

/// The time of a query, and how many requests had been sent when its first rows came.
async fn timed(ctx: &SessionContext, rows: usize, server: Option<&Server>) -> Result<(Duration, usize)> {
    let sql = format!(
        "SELECT embed_text(concat('a text of the usual length, with the number ', i), model => 'bench/m') \
         FROM generate_series(1, {rows}) AS t(i)"
    );
    let start = Instant::now();
    let mut stream = session::sql(ctx, &sql).await?.execute_stream().await?;
    let (mut found, mut sent_first) = (0, 0);
    while let Some(batch) = stream.next().await {
        if found == 0 {
            sent_first = server.map_or(0, Server::count);
        }
        found += batch?.num_rows();
    }
    if found == rows {
        Ok((start.elapsed(), sent_first))
    } else {
        Err(format!("{found} rows, not {rows}").into())
    }
}

/// What the server says instead of an answer.
type Fault = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

fn refusal() -> Reply {
    Reply::new(429, "{}").with_header("retry-after", "1")
}

/// A part of the requests, the same in each run: refused, an error, an answer that ends in the middle.
fn failing() -> Fault {
    Box::new(|request| match (request.number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 {
        draw if draw % 100 < 20 => Some(refusal()),
        draw if draw % 100 < 25 => Some(Reply::new(500, "{}")),
        draw if draw % 100 < 27 => Some(Reply::new(200, "{\"data\": []}").cut()),
        _ => None,
    })
}

/// Four requests a second, and four at once.
fn limited() -> Fault {
    let bucket = Mutex::new((4.0_f64, Duration::ZERO));
    Box::new(move |request| {
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let level = (bucket.0 + request.at.saturating_sub(bucket.1).as_secs_f64() * 4.0).min(4.0);
        *bucket = (if level < 1.0 { level } else { level - 1.0 }, request.at);
        (level < 1.0).then(refusal)
    })
}

async fn measure_faults(what: &str, rows: usize, max_inputs: usize, fault: Fault) -> Result<()> {
    let templates: Vec<_> = (0..64).map(template).collect();
    let refused = Arc::new(Mutex::new(vec![]));
    let refusals = Arc::clone(&refused);
    let script = move |request: &Request| match fault(request) {
        Some(reply) => {
            if reply.status == 429 {
                refusals.lock().unwrap_or_else(PoisonError::into_inner).push(request.at);
            }
            reply
        }
        None => embed(request, &templates),
    };
    let (ctx, server) = start_with(max_inputs, 8, script).await?;
    let (time, _) = timed(&ctx, rows, None).await?;
    let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // pauses that the refusals ask for, those at the same time once
    let (mut pauses, mut until) = (Duration::ZERO, Duration::ZERO);
    for at in &refused {
        let end = *at + Duration::from_secs(1);
        pauses += end.saturating_sub(until.max(*at));
        until = end;
    }
    println!(
        "{what} a request: {rows} rows in {:.1} s, {:.1} of them pauses that were asked for; {} requests, {} refused, {} \
         necessary",
        time.as_secs_f64(),
        pauses.as_secs_f64(),
        server.count(),
        refused.len(),
        rows.div_ceil(max_inputs)
    );
    Ok(())
}

/// A vector in base64.
fn template(seed: usize) -> String {
    let numbers = (0..DIMENSIONS).map(|at| ((at * 7 + seed * 13) % 101) as f32 / 101.0 - 0.5);
    STANDARD.encode(numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
}

fn embed(request: &Request, templates: &[String]) -> Reply {
    #[derive(Deserialize)]
    struct Inputs {
        input: Vec<String>,
    }
    let Ok(Inputs { input }) = serde_json::from_slice(&request.body) else { return Reply::new(400, "{}") };
    let mut body = String::with_capacity(input.len() * (templates[0].len() + 64));
    body.push_str("{\"object\":\"list\",\"data\":[");
    for (index, text) in input.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let template = &templates[text.len().wrapping_add(index) % templates.len()];
        body.extend([
            comma,
            "{\"object\":\"embedding\",\"index\":",
            &index.to_string(),
            ",\"embedding\":\"",
            template,
            "\"}",
        ]);
    }
    body.extend(["],\"usage\":{\"total_tokens\":", &(input.len() * 12).to_string(), "}}"]);
    Reply::new(200, body).after(PER_REQUEST + PER_INPUT * input.len() as u32)
}

/// The most memory that this process has had, in MiB.
fn peak_mib() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? >> 10)
}
