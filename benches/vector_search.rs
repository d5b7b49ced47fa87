//! Searches of a file of vectors, measured from inside: a line of JSON for `beside_numpy.py`.
//!
//! `cargo bench --bench vector_search -- VECTORS QUERIES [rows=N] [queries=N] [k=N] [rounds=N] [from=memory|file]
//! [sql=limit|cross|row_number|lateral]`. Both files have columns `id` and `embedding`. Each round searches with other
//! queries; the median counts. Without arguments it does nothing.
mod process;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Float32Type;
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;

use process::{cpu_seconds, peak_mib, print, run};

/// That of the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::cast_precision_loss, reason = "no file has that many bytes")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [vectors, queries, options @ ..] = arguments.as_slice() else { return Ok(()) };
    let options: HashMap<&str, &str> = options.iter().filter_map(|option| option.split_once('=')).collect();
    let option = |name: &str, default: &'static str| options.get(name).copied().unwrap_or(default);
    let number = |name: &str, default: &'static str| {
        option(name, default).parse::<usize>().map_err(|error| exec_datafusion_err!("{name}: {error}"))
    };
    let (rows, count, rounds, k) =
        (number("rows", "1000000")?, number("queries", "1")?, number("rounds", "5")?, number("k", "10")?);
    let statement = match option("sql", "limit") {
        "limit" => format!(
            "SELECT id FROM vectors ORDER BY cosine_distance(embedding, (SELECT embedding FROM queries)) LIMIT {k}"
        ),
        "cross" => format!(
            "SELECT queries.id, vectors.id FROM queries CROSS JOIN vectors \
             ORDER BY cosine_distance(vectors.embedding, queries.embedding) LIMIT {k}"
        ),
        "row_number" => format!(
            "SELECT queries.id, vectors.id FROM queries CROSS JOIN vectors QUALIFY row_number() OVER \
             (PARTITION BY queries.id ORDER BY cosine_distance(vectors.embedding, queries.embedding)) <= {k}"
        ),
        "lateral" => format!(
            "SELECT queries.id, nearest.id FROM queries CROSS JOIN LATERAL (SELECT id FROM vectors \
             ORDER BY cosine_distance(vectors.embedding, queries.embedding) LIMIT {k}) AS nearest"
        ),
        other => return exec_err!("sql: unknown '{other}'"),
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let ctx = session::new()?;
        let source = format!("SELECT * FROM '{vectors}' LIMIT {rows}");
        match option("from", "memory") {
            "memory" => run(&ctx, &format!("CREATE TABLE vectors AS {source}")).await?,
            _ if option("rows", "").is_empty() => run(&ctx, &format!("CREATE VIEW vectors AS SELECT * FROM '{vectors}'")).await?,
            _ => run(&ctx, &format!("CREATE VIEW vectors AS {source}")).await?,
        };
        run(&ctx, &format!("CREATE TABLE all_queries AS SELECT * FROM '{queries}'")).await?;
        let (mut walls, mut reads, mut bytes) = (vec![], vec![], 0);
        for round in 0..=rounds {
            // other queries in each round; the first round warms up
            let first = (round * count) % 100;
            let sql = format!(
                "CREATE OR REPLACE TABLE queries AS SELECT * FROM all_queries \
                 WHERE (id + 100 - {first}) % 100 < {count}"
            );
            run(&ctx, &sql).await?;
            let started = Instant::now();
            session::sql(&ctx, &statement).await?.collect().await?;
            walls.push(started.elapsed().as_secs_f64());
            if option("from", "memory") == "memory" {
                let seconds;
                (bytes, seconds) = read(&ctx).await?;
                reads.push(bytes as f64 / seconds / 1e9);
            }
        }
        walls.remove(0);
        let (cpu, peak) = (cpu_seconds(), peak_mib());
        let (wall, read) = (median(&mut walls), median(&mut reads));
        print(&format!(
            r#"{{"rows": {rows}, "queries": {count}, "wall_s": {wall:.4}, "n": {}, "per_s": {:.1}, "gb_s": {:.2}, "read_gb_s": {read:.2}, "cpu_s": {cpu:.2}, "peak_mib": {peak}, "all_s": {walls:.4?}}}"#,
            rows * count,
            (rows * count) as f64 / wall,
            bytes as f64 / wall / 1e9,
        ));
        Ok(())
    })
}

/// The bytes of the vectors of the table, and the seconds in which two threads read them.
async fn read(ctx: &SessionContext) -> Result<(usize, f64)> {
    let batches = ctx.sql("SELECT embedding FROM vectors").await?.collect().await?;
    let started = Instant::now();
    let each = |batch: &RecordBatch| {
        let items = batch.column(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values();
        black_box(sum(items));
        size_of_val::<[f32]>(items)
    };
    let (one, other) = batches.split_at(batches.len() / 2);
    let bytes = std::thread::scope(|scope| {
        let other = scope.spawn(move || other.iter().map(each).sum::<usize>());
        one.iter().map(each).sum::<usize>() + other.join().unwrap_or_default()
    });
    Ok((bytes, started.elapsed().as_secs_f64()))
}

fn sum(items: &[f32]) -> f32 {
    let mut sums = [0.0; 64];
    for part in items.as_chunks::<64>().0 {
        for (sum, item) in sums.iter_mut().zip(part) {
            *sum += item;
        }
    }
    sums.iter().sum()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
