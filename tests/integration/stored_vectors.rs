//! Embeddings in files keep their type and their space, and are as they were.
use std::path::Path;

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_semantic::session;

async fn try_run(ctx: &SessionContext, sql: &str) -> Result<String> {
    let batches = session::sql(ctx, sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

async fn run(ctx: &SessionContext, sql: &str) -> String {
    try_run(ctx, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A session with a table `documents (id, text, embedding)`, of whose texts one is NULL, and a folder.
async fn documents() -> (SessionContext, tempfile::TempDir) {
    let (ctx, _) = super::mock::session().await.unwrap();
    let texts = "(VALUES (1, 'a'), (2, NULL), (3, 'three'), (4, 'aeiou'))";
    let sql = format!(
        "CREATE TABLE documents AS SELECT id, text, embed_text(text) AS embedding FROM {texts} AS t(id, text)"
    );
    run(&ctx, &sql).await;
    (ctx, tempfile::tempdir().unwrap())
}

fn path(folder: &tempfile::TempDir, file: &str) -> String {
    folder.path().join(file).display().to_string()
}

/// What the stored type of the column `embedding` is, as another reader sees it.
async fn stored_type(file: &str) -> DataType {
    let other = SessionContext::new();
    let table = other.read_parquet(file, ParquetReadOptions::default()).await.unwrap();
    table.schema().field_with_unqualified_name("embedding").unwrap().data_type().clone()
}

const CHECK: &str = "SELECT text, arrow_typeof(embedding) AS type, embedding, \
                     cosine_distance(embedding, embed_text('a')) AS distance FROM";

/// Whichever the file, a query over it gives what it gives over the table, and knows the space.
async fn check(ctx: &SessionContext, table: &str) {
    let stored = run(ctx, &format!("{CHECK} {table} ORDER BY id")).await;
    assert_eq!(stored, run(ctx, &format!("{CHECK} documents ORDER BY id")).await, "{table}");
    let other = format!("SELECT l2_distance(embedding, embed_text('a', 'mock-other')) FROM {table}");
    let error = try_run(ctx, &other).await.unwrap_err().to_string();
    assert!(error.contains("different spaces, 'mock' and 'mock-other'"), "{table}: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_subqueries_and_copies_of_a_table_keep_the_space() {
    let (ctx, _folder) = documents().await;
    run(&ctx, "CREATE VIEW seen AS SELECT id, text, embedding FROM documents").await;
    run(&ctx, "CREATE VIEW seen_twice AS WITH s AS (SELECT * FROM seen) SELECT * FROM s WHERE id > 0").await;
    run(&ctx, "CREATE TABLE copied AS SELECT * FROM seen_twice").await;
    for table in ["seen", "seen_twice", "copied", "(SELECT * FROM copied ORDER BY id LIMIT 9)"] {
        check(&ctx, table).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parquet_file_gives_what_was_written() {
    let (ctx, folder) = documents().await;
    for (layout, stored) in [("packed", DataType::FixedSizeBinary(12)), ("list", list_of_3())] {
        run(&ctx, &format!("SET semantic.parquet_vectors = '{layout}'")).await;
        let file = path(&folder, &format!("{layout}.parquet"));
        run(&ctx, &format!("COPY documents TO '{file}'")).await;
        assert_eq!(stored_type(&file).await, stored);
        check(&ctx, &format!("'{file}'")).await;
        let table = format!("CREATE EXTERNAL TABLE {layout} STORED AS PARQUET LOCATION '{file}'");
        run(&ctx, &table).await;
        check(&ctx, layout).await;
    }
}

fn list_of_3() -> DataType {
    DataType::new_fixed_size_list(DataType::Float32, 3, true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_arrow_file_gives_what_was_written() {
    let (ctx, folder) = documents().await;
    let file = path(&folder, "documents.arrow");
    run(&ctx, &format!("COPY documents TO '{file}'")).await;
    check(&ctx, &format!("'{file}'")).await;
}

/// More columns, filters and limits on top: the bytes are nowhere to be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_over_packed_vectors() {
    let (ctx, folder) = documents().await;
    let file = path(&folder, "two.parquet");
    let two = "SELECT id, normalize(embedding) AS unit, embedding AS \"The Embedding\" FROM documents";
    run(&ctx, &format!("COPY ({two}) TO '{file}'")).await;
    let sql = format!(
        "SELECT * FROM '{file}' WHERE id > 1 ORDER BY l2_distance(\"The Embedding\", embed_text('aeiou')) LIMIT 1"
    );
    let found = run(&ctx, &sql).await;
    assert!(found.contains("| 4  |") && found.contains("[5.0, 5.0, 1.0]"), "{found}");
    let plan = run(&ctx, &format!("EXPLAIN {sql}")).await;
    assert!(plan.contains("NearestJoinExec"), "{plan}");
    let counts = run(&ctx, &format!("SELECT count(*) AS a, count(unit) AS b FROM '{file}'")).await;
    assert!(counts.contains("| 4 | 3 |"), "{counts}");
}

/// What is inserted can be read as the rest can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_inserted_into_packed_vectors() {
    let (ctx, folder) = documents().await;
    let file = path(&folder, "all/documents.parquet");
    std::fs::create_dir(Path::new(&file).parent().unwrap()).unwrap();
    run(&ctx, &format!("COPY (SELECT * FROM documents WHERE id < 3) TO '{file}'")).await;
    let table =
        format!("CREATE EXTERNAL TABLE stored STORED AS PARQUET LOCATION '{}/'", path(&folder, "all"));
    run(&ctx, &table).await;
    run(&ctx, "INSERT INTO stored SELECT * FROM documents WHERE id >= 3").await;
    check(&ctx, "stored").await;
}

/// Row groups are small enough for several to be read at the same time, and pages of bytes are what they are.
#[tokio::test]
async fn how_bytes_are_written() {
    let (ctx, _folder) = documents().await;
    let vector = "as_embedding(arrow_cast(array_repeat(1, 384), 'FixedSizeList(384, Float32)'), 'mine')";
    let copy = format!("EXPLAIN COPY (SELECT {vector} AS v) TO 'x.parquet' STORED AS PARQUET");
    let options = |plan: &str| {
        ["compression::v uncompressed", "dictionary_enabled::v false", "max_row_group_size 43690"]
            .map(|option| plan.contains(option))
    };
    assert_eq!(options(&run(&ctx, &copy).await), [true, true, true]);
    let own = "OPTIONS ('format.compression' 'zstd(1)', 'format.max_row_group_size' '1000')";
    assert_eq!(options(&run(&ctx, &format!("{copy} {own}")).await), [false, true, false]);
}

/// A vector of unknown space may have NULLs in it, and stays a list; an option of the statement goes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_packed() {
    let (ctx, folder) = documents().await;
    let file = path(&folder, "some.parquet");
    let vector = "arrow_cast([1, NULL, 3], 'FixedSizeList(3, Float32)')";
    run(&ctx, &format!("COPY (SELECT {vector} AS embedding) TO '{file}'")).await;
    assert_eq!(stored_type(&file).await, list_of_3());
    let found = run(&ctx, &format!("SELECT embedding FROM '{file}'")).await;
    assert!(found.contains("[1.0, , 3.0]"), "{found}");

    let vector = "as_embedding(arrow_cast(array_repeat(1, 64), 'FixedSizeList(64, Float32)'), 'mine')";
    let compressed = "STORED AS PARQUET OPTIONS ('format.compression' 'zstd(1)')";
    run(&ctx, &format!("COPY (SELECT {vector} AS embedding) TO '{file}' {compressed}")).await;
    assert_eq!(stored_type(&file).await, DataType::FixedSizeBinary(256));
    let has_vector = |file: &str| {
        let vector: Vec<u8> = [1.0_f32; 64].into_iter().flat_map(f32::to_le_bytes).collect();
        std::fs::read(file).unwrap().windows(256).any(|window| window == vector)
    };
    assert!(!has_vector(&file), "the bytes are compressed");
    let again = path(&folder, "again.parquet");
    run(&ctx, &format!("COPY (SELECT embedding FROM '{file}') TO '{again}'")).await;
    assert!(has_vector(&again), "the bytes are as they are");
}
