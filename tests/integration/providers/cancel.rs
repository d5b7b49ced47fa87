//! A query that is dropped asks for nothing more.
use std::time::Duration;

use futures::StreamExt;

use super::server::Reply;
use super::{api, run, set, with_server};
use datafusion_semantic::session;

/// Runs a query over many texts for a while, drops it, and counts the requests then and later.
async fn requests_after_drop(partitions: usize, reply: fn(&super::Request) -> Reply) -> (usize, usize) {
    let (ctx, server) = with_server(reply).await;
    set(&ctx, "providers.test.max_inputs = 10").await;
    run(&ctx, &format!("SET datafusion.execution.target_partitions = {partitions}")).await.unwrap();
    let sql = "SELECT embed_text(concat('text ', i)) FROM generate_series(1, 100000) AS t(i)";
    let mut rows = session::sql(&ctx, sql).await.unwrap().execute_stream().await.unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(150), async { while rows.next().await.is_some() {} })
        .await;
    drop(rows);
    // what was on its way is read by then, also by a server that has few turns
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = server.count();
    tokio::time::sleep(Duration::from_millis(700)).await;
    (before, server.count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_requests_are_in_flight() {
    for partitions in [1, 8] {
        let reply = |request: &super::Request| api::embed(request).after(Duration::from_millis(30));
        let (before, after) = requests_after_drop(partitions, reply).await;
        assert!(before > 0 && before == after, "{before} then {after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_waits_to_send_again() {
    let (before, after) =
        requests_after_drop(4, |_| Reply::new(500, "").with_header("retry-after-ms", "400")).await;
    assert!(before > 0 && before == after, "{before} then {after}");
}
