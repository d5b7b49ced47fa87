//! How rows stream through calls: early, in order, in bounded memory, and to be seen.
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionContext;
use datafusion_semantic::execution::progress;
use datafusion_semantic::session;
use futures::StreamExt;

use crate::mock::{self, Counts};

/// A session with these options, and the counts of its model.
async fn with_options(options: &[&str]) -> (SessionContext, Arc<Counts>) {
    let (ctx, counts) = mock::session().await.unwrap();
    for option in options {
        session::sql(&ctx, &format!("SET {option}")).await.unwrap();
    }
    (ctx, counts)
}

async fn run(ctx: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    session::sql(ctx, sql).await?.collect().await
}

async fn plan(ctx: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    session::sql(ctx, sql).await.unwrap().create_physical_plan().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_rows_come_before_the_last_are_read() {
    let (ctx, counts) = with_options(&["datafusion.execution.target_partitions = 1"]).await;
    let sql = "SELECT embed_text(concat('text ', i)) FROM generate_series(1, 1000000) AS t(i)";
    let mut rows = execute_stream(plan(&ctx, sql).await, ctx.task_ctx()).unwrap();
    assert!(rows.next().await.unwrap().unwrap().num_rows() > 0);
    let inputs = counts.take_inputs();
    assert!(inputs < 10_000, "{inputs} inputs for the first rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_whatever_ends_first() {
    let (ctx, _) = with_options(&["semantic.slice_rows = 7", "semantic.slices_in_flight = 5"]).await;
    // the cached inputs come back at once, the others wait for the model
    let sql = "SELECT i, embed_text(concat('text ', CASE WHEN i % 3 = 0 THEN i ELSE 0 END), 'mock-slow') AS e
               FROM generate_series(1, 2000) AS t(i)";
    let batches = run(&ctx, sql).await.unwrap();
    let ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(ids, (1..=2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sorted_input_is_not_sorted_again() {
    let (ctx, _) = with_options(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    run(&ctx, &format!("COPY (VALUES (1, 'a'), (2, 'b')) TO '{path}/d.parquet'")).await.unwrap();
    let table = format!(
        "CREATE EXTERNAL TABLE d (column1 BIGINT, column2 VARCHAR) STORED AS PARQUET WITH ORDER (column1) \
         LOCATION '{path}/d.parquet'"
    );
    run(&ctx, &table).await.unwrap();
    let sql = "SELECT row_number() OVER (ORDER BY column1), e FROM (SELECT column1, embed_text(column2) AS e FROM d)";
    let text = displayable(plan(&ctx, sql).await.as_ref()).indent(false).to_string();
    assert!(text.contains("AsyncCallsExec") && !text.contains("SortExec"), "{text}");
}

#[tokio::test]
async fn explain_shows_the_calls_with_their_models_and_rows() {
    let (ctx, counts) = with_options(&["datafusion.execution.target_partitions = 1"]).await;
    run(&ctx, "CREATE TABLE d AS VALUES (1, 'a'), (2, 'bb'), (3, 'a'), (4, 'poison')").await.unwrap();
    let plan = plan(&ctx, "SELECT embed_text(upper(column2)) FROM d WHERE column1 > 0").await;
    insta::assert_snapshot!(displayable(plan.as_ref()).indent(false), @r"
    ProjectionExec: expr=[__async_fn_0@1 as embed_text(upper(d.column2))]
      AsyncCallsExec: calls=[embed_text(upper(column2@0)) AS __async_fn_0 WITH mock/mock], rows=about 4
        FilterExec: column1@0 > 0, projection=[column2@1]
          DataSourceExec: partitions=1, partition_sizes=[1]
    ");
    assert_eq!(counts.take_calls(), 0);
    let analyzed =
        run(&ctx, "EXPLAIN ANALYZE SELECT embed_text(column2, on_error => 'null') FROM d").await.unwrap();
    let text = pretty_format_batches(&analyzed).unwrap().to_string();
    let line = text.lines().find(|line| line.contains("AsyncCallsExec")).unwrap();
    for metric in ["output_rows=4", "distinct_inputs=3", "calls=5", "tokens=2", "failed_rows=1", "retries=0"]
    {
        assert!(line.contains(metric), "{metric}: {line}");
    }
    for metric in ["bytes=", "elapsed_compute=", "time_waiting="] {
        assert!(line.contains(metric), "{metric}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_rows_are_counted_wherever_they_become_null() {
    let (ctx, _) = with_options(&["semantic.on_error = 'null'"]).await;
    run(&ctx, "CREATE TABLE d AS VALUES (CAST('no image' AS BYTEA)), (NULL), (CAST('none' AS BYTEA))")
        .await
        .unwrap();
    for call in [
        "decode_image(column1)",
        "embed_image(column1)",
        "embed_image(decode_image(column1))",
        "download(CAST(column1 AS VARCHAR))",
    ] {
        let analyzed = run(&ctx, &format!("EXPLAIN ANALYZE SELECT {call} FROM d")).await.unwrap();
        let text = pretty_format_batches(&analyzed).unwrap().to_string();
        let line = text.lines().find(|line| line.contains("AsyncCallsExec")).unwrap();
        assert!(line.contains("failed_rows=2"), "{call}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_can_be_read_while_the_query_runs() {
    let (ctx, _) = with_options(&["semantic.slice_rows = 32"]).await;
    run(&ctx, "CREATE TABLE d AS SELECT concat('text ', i) AS text FROM generate_series(1, 2000) AS t(i)")
        .await
        .unwrap();
    let plan = plan(&ctx, "SELECT embed_text(text, 'mock-slow') FROM d").await;
    let before = progress(&plan);
    assert_eq!((before.len(), before[0].rows, before[0].tokens), (1, 0, 0));
    assert_eq!(before[0].total_rows, Some(2000));
    assert!(before[0].calls.contains("mock/mock-slow"), "{}", before[0].calls);
    let mut rows = execute_stream(Arc::clone(&plan), ctx.task_ctx()).unwrap();
    let first = rows.next().await.unwrap().unwrap().num_rows();
    let during = &progress(&plan)[0];
    assert!(during.rows >= first && during.rows < 2000, "{during:?}");
    assert!(during.tokens >= first, "{during:?}");
    while rows.next().await.is_some() {}
    let after = &progress(&plan)[0];
    assert_eq!((after.rows, after.tokens), (2000, 2000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_memory_names_the_option() {
    let (ctx, _) = with_options(&["datafusion.runtime.memory_limit = '64K'"]).await;
    let sql =
        "SELECT embed_text(t) FROM (SELECT repeat('y', 100000 + i) AS t FROM generate_series(1, 9) AS s(i))";
    let error = run(&ctx, sql).await.unwrap_err().find_root().to_string();
    assert!(error.contains("embed_text: 1 row takes 10"), "{error}");
    assert!(error.contains("raise datafusion.runtime.memory_limit"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_memory_makes_slices_small_and_few_not_fail() {
    for cache in ["semantic.cache_bytes = 0", "semantic.cache_bytes = '64M'"] {
        let (ctx, counts) = with_options(&["datafusion.execution.target_partitions = 4", cache]).await;
        let sql = "CREATE TABLE d AS SELECT repeat('y', 1000 + i) AS t FROM generate_series(1, 9000) AS s(i)";
        run(&ctx, sql).await.unwrap();
        run(&ctx, "SET datafusion.runtime.memory_limit = '1M'").await.unwrap();
        // arguments of columns, and arguments that are made
        for text in ["t", "concat(t, t)"] {
            let batches = run(&ctx, &format!("SELECT count(embed_text({text})) FROM d")).await.unwrap();
            assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 9000, "{text}, {cache}");
            assert_eq!(counts.take_inputs(), 9000, "{text}, {cache}");
        }
    }
}

/// A download of the later rows and the embedding of the earlier ones are under way at the same time, and neither
/// runs far ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nested_call_is_ahead_of_the_one_around_it() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..2000 {
        std::fs::write(folder.path().join(format!("{i:04}")), format!("text {i}")).unwrap();
    }
    let (ctx, counts) =
        with_options(&["datafusion.execution.target_partitions = 1", "semantic.slices_in_flight = 2"]).await;
    let sql = format!(
        "SELECT embed_text(CAST(download(path) AS VARCHAR), 'mock-slow') FROM glob('{}/*')",
        folder.path().display()
    );
    let plan = plan(&ctx, &sql).await;
    let mut rows = execute_stream(Arc::clone(&plan), ctx.task_ctx()).unwrap();
    rows.next().await.unwrap().unwrap();
    let running = progress(&plan);
    let (embedded, downloaded) = (running[0].rows, running[1].rows);
    assert!(embedded < downloaded && downloaded < 2000, "{embedded} embedded, {downloaded} downloaded");
    while rows.next().await.is_some() {}
    assert_eq!(counts.take_inputs(), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_are_limited_over_all_partitions() {
    for partitions in [1, 4] {
        let partitions = format!("datafusion.execution.target_partitions = {partitions}");
        let (ctx, counts) = with_options(&[&partitions, "semantic.max_concurrency = 3"]).await;
        let sql = "CREATE TABLE d AS SELECT concat('text ', i) AS text FROM generate_series(1, 3000) AS t(i)";
        run(&ctx, sql).await.unwrap();
        run(&ctx, "SELECT count(embed_text(text, 'mock-slow')) FROM d").await.unwrap();
        assert_eq!(counts.take_most_in_flight(), 3, "{partitions}");
    }
}

/// Starts a query of thousands of calls, drops it after `slices` and a while, and returns the calls before and after.
async fn calls_around_a_cancel(partitions: usize, slices: usize, after: Duration) -> (usize, usize) {
    let partitions = format!("datafusion.execution.target_partitions = {partitions}");
    let (ctx, counts) = with_options(&[&partitions, "semantic.max_concurrency = 2"]).await;
    let sql = "SELECT embed_text(concat('text ', i), 'mock-slow') FROM generate_series(1, 32000) AS t(i)";
    let mut rows = execute_stream(plan(&ctx, sql).await, ctx.task_ctx()).unwrap();
    for _ in 0..slices {
        rows.next().await.unwrap().unwrap();
    }
    // polled once, it has calls in flight
    let _ = tokio::time::timeout(after, rows.next()).await;
    drop(rows);
    // a task that runs at this moment ends at its next pause
    tokio::time::sleep(Duration::from_millis(30)).await;
    let before = counts.take_calls();
    tokio::time::sleep(Duration::from_millis(150)).await;
    (before, counts.take_calls())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_ends_its_calls() {
    for partitions in [1, 4] {
        for (slices, after) in [(0, 0), (0, 10), (1, 0), (3, 30)] {
            let (before, after) =
                calls_around_a_cancel(partitions, slices, Duration::from_millis(after)).await;
            assert!(before > 0 || slices == 0, "{partitions} partitions, {slices} slices");
            assert_eq!(after, 0, "{partitions} partitions, {slices} slices");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_was_never_polled_makes_no_call() {
    let (ctx, counts) = with_options(&[]).await;
    let plan = plan(&ctx, "SELECT embed_text('a')").await;
    drop(execute_stream(plan, ctx.task_ctx()).unwrap());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(counts.take_calls(), 0);
}
