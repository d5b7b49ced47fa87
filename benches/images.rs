//! One run of decode, convert, resize over the photos of a folder, measured from inside: a line of JSON.
//!
//! `cargo bench --bench images -- PATTERN [SIDE] [files]`: the bytes of the files that match are read before the clock
//! starts, or by the query itself with `files`; the results are kept in memory. `SET='semantic.cache_bytes = 0'` in the
//! environment sets an option, or several with `;` between them. Without arguments it does nothing.
mod process;

use std::time::Instant;

use datafusion::common::Result;
use datafusion_semantic::session;

use process::{cpu_seconds, peak_mib, print, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some(pattern) = arguments.first() else { return Ok(()) };
    let side = arguments.get(1).map_or("224", String::as_str);
    let in_query = arguments.get(2).is_some_and(|argument| argument == "files");
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let ctx = session::new()?;
        for set in std::env::var("SET").iter().flat_map(|set| set.split(';')) {
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
