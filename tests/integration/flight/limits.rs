//! What queries may take.
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::StreamExt;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{query, serve, serve_with, table};

const SLOW: &str = "SELECT embed_text('text ' || value, model => 'mock-slow') AS e FROM range(0, 200000)";

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_get_a_turn_is_refused_at_once_or_after_a_while() {
    let serving = serve("server.max_queries = 2\nserver.max_queued = 3\nserver.queue_seconds = 1").await;
    let mut reader = serving.client().await;
    let mut running = vec![];
    for _ in 0..2 {
        let info = reader.execute(SLOW.to_owned(), None).await.unwrap();
        running.push(reader.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap());
    }
    let mut clients = JoinSet::new();
    for _ in 0..30 {
        let mut client = serving.client().await;
        clients.spawn(async move {
            let started = Instant::now();
            (query(&mut client, "SELECT 1").await.unwrap_err(), started.elapsed())
        });
    }
    let refused = clients.join_all().await;
    let waited = refused.iter().filter(|(error, _)| error.contains("waited for 1 s (queue_seconds)")).count();
    assert_eq!(waited, 3);
    for (error, time) in &refused {
        assert!(error.contains("ResourceExhausted") || error.contains("exhausted"), "{error}");
        if error.contains("(max_queued)") {
            assert!(*time < Duration::from_millis(900), "{time:?}");
        }
    }
    // turns are given back
    drop(running);
    sleep(Duration::from_millis(200)).await;
    assert!(table(&mut reader, "SELECT 1 AS one").await.contains("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_rows_have_limits() {
    let serving = serve("server.query_seconds = 1").await;
    let mut client = serving.client().await;
    let started = Instant::now();
    let error = query(&mut client, SLOW).await.unwrap_err();
    assert!(error.contains("the statement ran for 1 s (query_seconds)"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
    let few = serve("server.max_rows = 1500").await;
    let mut client = few.client().await;
    let error = query(&mut client, "SELECT * FROM range(0, 5000)").await.unwrap_err();
    assert!(error.contains("more than 1500 rows (max_rows)"), "{error}");
    query(&mut client, "SELECT * FROM range(0, 1500)").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    serving.counts.take_calls();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(serving.counts.take_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_has_a_limit_and_sorts_spill() {
    let serving = serve("server.memory_limit = '64M'\nserver.metrics = '127.0.0.1:0'").await;
    let mut client = serving.client().await;
    // sorted by what is random, and wider than the memory
    let sql =
        "SELECT value, repeat('x', 500) AS t FROM range(0, 300000) ORDER BY sha256(CAST(value AS VARCHAR))";
    let rows: usize = query(&mut client, sql).await.unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 300_000);
    let greedy = "SELECT max(a.t), max(b.t) FROM (SELECT value, repeat('x', 1000) AS t FROM range(0, 300000)) a \
                  JOIN (SELECT value, repeat('y', 1000) AS t FROM range(0, 300000)) b ON a.value = b.value";
    let error = query(&mut client, greedy).await.unwrap_err();
    assert!(error.to_lowercase().contains("exhausted"), "{error}");
    // the partitions of a failed query end at their next pause
    let mut page = serving.page("/metrics").await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !page.contains("semsql_memory_bytes 0") && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
        page = serving.page("/metrics").await;
    }
    assert!(page.contains("semsql_memory_bytes 0"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_back_the_query() {
    let serving = serve("").await;
    let mut client = serving.client().await;
    // 2 GB
    let sql = "SELECT embed_text(CAST(value AS VARCHAR)) AS e, repeat('x', 2000) AS t FROM range(0, 1000000)";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    rows.next().await.unwrap().unwrap();
    sleep(Duration::from_millis(500)).await;
    let ahead = serving.counts.take_inputs();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(serving.counts.take_inputs(), 0, "{ahead} rows were embedded ahead");
    assert!(ahead < 200_000, "{ahead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_rows_gives_its_turn_back() {
    let serving = serve("server.client_seconds = 1\nserver.metrics = '127.0.0.1:0'").await;
    let mut client = serving.client().await;
    let sql = "SELECT repeat('x', 2000) AS t FROM range(0, 1000000)";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    rows.next().await.unwrap().unwrap();
    sleep(Duration::from_secs(2)).await;
    let page = serving.page("/metrics").await;
    assert!(page.contains("semsql_running 0"), "{page}");
    let ends: Vec<_> = rows.filter_map(async |row| row.err()).collect().await;
    assert!(ends[0].to_string().contains("has taken no rows for 1 s (client_seconds)"), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_have_a_limit() {
    let serving = serve("server.max_handles = 3").await;
    let mut client = serving.client().await;
    let mut kept = vec![];
    for _ in 0..3 {
        kept.push(client.prepare("SELECT 1".to_owned(), None).await.unwrap());
    }
    let Err(error) = client.prepare("SELECT 1".to_owned(), None).await else { panic!("a fourth") };
    assert!(error.to_string().contains("there are 3 prepared statements of this user"), "{error}");
    kept.pop().unwrap().close().await.unwrap();
    client.prepare("SELECT 1".to_owned(), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_counts_what_it_does() {
    let init = ["CREATE TABLE t AS SELECT * FROM (VALUES ('a'), ('b'), ('a'), (NULL)) v(text)"];
    let serving = serve_with("server.metrics = '127.0.0.1:0'", &init).await;
    let mut client = serving.client().await;
    query(&mut client, "SELECT embed_text(text) FROM t").await.unwrap();
    query(&mut client, "SELECT nothing").await.unwrap_err();
    let page = serving.page("/metrics").await;
    for expected in [
        "HTTP/1.1 200 OK",
        "semsql_statements_total{kind=\"query\",outcome=\"ok\"} 1",
        "semsql_statements_total{kind=\"plan\",outcome=\"error\"} 1",
        "semsql_statement_seconds_count{kind=\"query\"} 1",
        "semsql_rows_total 4",
        "semsql_model_calls_total 1",
        "semsql_called_rows_total 4",
        "semsql_cache_hits_total 1",
        "semsql_tokens_total 2",
        "semsql_running 0",
        "# EOF",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(serving.page("/healthz").await.ends_with("ok\n"));
    assert!(serving.page("/").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_may_end_when_the_server_does_and_no_new_ones_begin() {
    let serving = serve("server.shutdown_seconds = 20").await;
    let mut client = serving.client().await;
    let sql = "SELECT embed_text('text ' || value, model => 'mock-slow') AS e FROM range(0, 20000)";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let late = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    let mut read = JoinSet::new();
    read.spawn(async move {
        let batches: Vec<_> = rows.collect().await;
        batches.into_iter().map(|batch| batch.unwrap().num_rows()).sum::<usize>()
    });
    let started = Instant::now();
    let mut stopping = JoinSet::new();
    stopping.spawn(serving.stop());
    sleep(Duration::from_millis(50)).await;
    assert!(client.do_get(late.endpoint[0].ticket.clone().unwrap()).await.is_err());
    assert_eq!(read.join_next().await.unwrap().unwrap(), 20_000);
    drop(client);
    stopping.join_next().await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "it does not wait for what has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_do_not_end_in_time_are_cancelled() {
    let serving = serve("server.shutdown_seconds = 0").await;
    let mut client = serving.client().await;
    let info = client.execute(SLOW.to_owned(), None).await.unwrap();
    let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    rows.next().await.unwrap().unwrap();
    let mut stopping = JoinSet::new();
    let counts = std::sync::Arc::clone(&serving.counts);
    stopping.spawn(serving.stop());
    let ends: Vec<_> = rows.filter_map(async |row| row.err()).collect().await;
    assert!(!ends.is_empty());
    stopping.join_next().await.unwrap().unwrap();
    counts.take_calls();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(counts.take_calls(), 0);
}
