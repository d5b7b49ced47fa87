//! One run of `embed_text` over the rows of a file, measured from inside: a line of JSON for `beside_onnxruntime.py`.
//!
//! `cargo bench --bench rows -- FILE ROWS MODEL THREADS [QUERIES]`; `FILE` has a column `text`. `QUERIES` run at once,
//! each over all of the rows with a text of its own before them. Without arguments it does nothing.
mod process;

use std::time::Instant;

use datafusion::common::{Result, exec_datafusion_err};
use datafusion_semantic::session;
use futures::future::try_join_all;

use process::{cpu_seconds, peak_mib, print, run};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [file, rows, model, threads, queries @ ..] = arguments.as_slice() else { return Ok(()) };
    let queries = queries.first().map_or(Ok(1), |queries| queries.parse::<u32>());
    let queries = queries.map_err(|error| exec_datafusion_err!("QUERIES: {error}"))?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let ctx = session::new()?;
        run(&ctx, &format!("SET semantic.text_model = '{model}'")).await?;
        run(&ctx, &format!("SET semantic.threads = {threads}")).await?;
        run(&ctx, &format!("CREATE TABLE texts AS SELECT text FROM '{file}' LIMIT {rows}")).await?;
        run(&ctx, "SELECT embed_text(text) FROM (SELECT text FROM texts LIMIT 64)").await?;
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let query = async |prefix: String| {
            let rows = run(&ctx, &format!("SELECT embed_text(concat('{prefix}', text)) FROM texts")).await?;
            Ok::<_, datafusion::common::DataFusionError>((rows, started.elapsed().as_secs_f64()))
        };
        let prefixes = (0..queries).map(|query| if query == 0 { String::new() } else { query.to_string() });
        let done = try_join_all(prefixes.map(query)).await?;
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let (rows, each): (Vec<usize>, Vec<f64>) = done.into_iter().unzip();
        print(&format!(
            r#"{{"rows": {}, "wall_s": {wall:.4}, "cpu_s": {cpu:.2}, "each_s": {each:?}, "peak_mib": {}}}"#,
            rows.iter().sum::<usize>(),
            peak_mib()
        ));
        Ok(())
    })
}
