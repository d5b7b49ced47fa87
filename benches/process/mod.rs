//! What a benchmark that measures itself runs and reports.
use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;

/// Runs a statement to its end, keeps its rows until then, and counts them.
pub async fn run(ctx: &SessionContext, sql: &str) -> Result<usize> {
    Ok(session::sql(ctx, sql).await?.collect().await?.iter().map(RecordBatch::num_rows).sum())
}

/// What the process has used of all processors, in hundredths of a second; 0 where there is no /proc.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // behind the name, which may hold anything: state is the 3rd field, user and system time the 14th and 15th
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory that the process had at a time; 0 where there is no /proc.
pub fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[expect(clippy::print_stdout, reason = "the result")]
pub fn print(line: &str) {
    println!("{line}");
}
