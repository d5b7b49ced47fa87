//! One run of decode, convert, resize over the photos of a folder, measured from inside: a line of JSON.
//!
//! `cargo bench --bench images -- PATTERN [SIDE] [files]`: the bytes of the files that match are read before the clock
//! starts, or by the query itself with `files`; the results are kept in memory. `SET='semantic.cache_bytes = 0'` in the
//! environment sets an option. Without arguments it does nothing.
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some(pattern) = arguments.first() else { return Ok(()) };
    let side = arguments.get(1).map_or("224", String::as_str);
    let in_query = arguments.get(2).is_some_and(|argument| argument == "files");
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let ctx = session::new()?;
        if let Ok(set) = std::env::var("SET") {
            run(&ctx, &format!("SET {set}")).await?;
        }
        let image = |file: &str| format!("resize(convert_image(decode_image({file}), 'RGB'), {side}, {side})");
        let source = if in_query {
            run(&ctx, &format!("CREATE TABLE files AS SELECT path FROM glob('{pattern}')")).await?;
            "download(path)"
        } else {
            run(&ctx, &format!("CREATE TABLE files AS SELECT download(path) AS file FROM glob('{pattern}')")).await?;
            "file"
        };
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let rows = run(&ctx, &format!("SELECT {} AS image FROM files", image(source))).await?;
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let (per_s, per_cpu_s) = (rows as f64 / wall, rows as f64 / cpu);
        print(&format!(
            r#"{{"n": {rows}, "wall_s": {wall:.4}, "cpu_s": {cpu:.2}, "per_s": {per_s:.1}, "per_cpu_s": {per_cpu_s:.1}, "peak_mib": {}}}"#,
            peak_mib()
        ));
        Ok(())
    })
}

/// Runs a statement to its end, keeps its rows, and counts them.
async fn run(ctx: &SessionContext, sql: &str) -> Result<usize> {
    Ok(session::sql(ctx, sql).await?.collect().await?.iter().map(RecordBatch::num_rows).sum())
}

/// What the process has used of all processors, in hundredths of a second; 0 where there is no /proc.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // behind the name, which may hold anything: state is the 3rd field, user and system time the 14th and 15th
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory that the process had at a time; 0 where there is no /proc.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(line: &str) {
    println!("{line}");
}
