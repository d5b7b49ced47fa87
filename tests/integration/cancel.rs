//! A query that nobody waits for any more makes no further call.
use std::time::Duration;

use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use crate::mock;

/// Starts a query of 2,000 calls, drops it after a while, and returns the calls before and after.
async fn calls_around_a_cancel(partitions: usize, after: Duration) -> (usize, usize) {
    let (ctx, counts) = mock::session().await.unwrap();
    for sql in [
        format!("SET datafusion.execution.target_partitions = {partitions}"),
        "SET datafusion.execution.batch_size = 1000".to_owned(),
        "SET semantic.max_concurrency = 2".to_owned(),
    ] {
        ctx.sql(&sql).await.unwrap();
    }
    let sql = "SELECT embed_text(concat('text ', i), 'mock-slow') FROM generate_series(1, 32000) AS t(i)";
    let frame = ctx.sql(sql).await.unwrap();
    let context = ctx.task_ctx();
    let mut stream = execute_stream(frame.create_physical_plan().await.unwrap(), context).unwrap();
    let rows = tokio::time::timeout(after, stream.next()).await;
    assert!(rows.is_err(), "the first batch takes longer than that");
    drop(stream);
    let before = counts.take_calls();
    tokio::time::sleep(Duration::from_millis(150)).await;
    (before, counts.take_calls())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_ends_its_calls() {
    for partitions in [1, 4] {
        let (before, after) = calls_around_a_cancel(partitions, Duration::from_millis(200)).await;
        assert!(before > 0, "it had begun");
        assert_eq!(after, 0, "in {partitions} partitions");
    }
}
