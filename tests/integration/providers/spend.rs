//! What a query has sent is counted, and bounded.
use std::time::Duration;

use datafusion::arrow::util::pretty::pretty_format_batches;
use serde_json::json;

use super::server::Reply;
use super::{api, error, run, set, texts, vectors, with_server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_requests_and_retries_are_metrics() {
    let (ctx, _) = with_server(|request| match request.number {
        0 => Reply::new(500, "").with_header("retry-after-ms", "5"),
        _ => api::embed(request),
    })
    .await;
    let sql = "EXPLAIN ANALYZE SELECT embed_text(concat('text ', i)) FROM generate_series(1, 20) AS t(i)";
    let text = pretty_format_batches(&run(&ctx, sql).await.unwrap()).unwrap().to_string();
    let line = text.lines().find(|line| line.contains("AsyncCallsExec")).unwrap();
    for metric in ["calls=2", "retries=1", "tokens=40", "failed_rows=0", "distinct_inputs=20"] {
        assert!(line.contains(metric), "{metric}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_stops_before_it_sends_too_many_requests() {
    let (ctx, server) = with_server(api::embed).await;
    for option in ["max_requests_per_query = 5", "providers.test.max_inputs = 10"] {
        set(&ctx, option).await;
    }
    let (sql, _) = texts(1000);
    let message = error(&ctx, &sql).await;
    assert!(message.contains("semantic.max_requests_per_query = 5: it has sent 5 requests"), "{message}");
    assert!(server.count() <= 5, "{}", server.count());
    // the next query has its own
    let (sql, expected) = texts(20);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_counts_nothing_does_not_make_tokens_free() {
    let (ctx, server) = with_server(|request| {
        let vectors: Vec<_> = api::inputs(request).iter().map(|text| api::vector(text)).collect();
        let mut body = api::answer(request, &vectors);
        body["usage"] = json!({"prompt_tokens": 0, "total_tokens": 0});
        Reply::new(200, body.to_string())
    })
    .await;
    for option in ["max_tokens_per_query = 100", "providers.test.max_inputs = 5", "max_concurrency = 1"] {
        set(&ctx, option).await;
    }
    let message = error(&ctx, &texts(500).0).await;
    assert!(message.contains("semantic.max_tokens_per_query = 100"), "{message}");
    assert!(server.count() <= 5, "{}", server.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_counts_wrongly_once_is_in_nobody_s_way() {
    let (ctx, _) = with_server(|request| {
        let vectors: Vec<_> = api::inputs(request).iter().map(|text| api::vector(text)).collect();
        let mut body = api::answer(request, &vectors);
        if request.number == 0 {
            body["usage"] = json!({"prompt_tokens": 1, "total_tokens": u64::MAX});
        }
        Reply::new(200, body.to_string())
    })
    .await;
    set(&ctx, "providers.test.tokens_per_minute = 60000").await;
    for _ in 0..2 {
        let found = tokio::time::timeout(Duration::from_secs(20), run(&ctx, &texts(2).0)).await;
        assert_eq!(vectors(&found.unwrap().unwrap()), texts(2).1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_stops_before_it_sends_too_many_tokens() {
    // the server counts two tokens a text, four are thought
    let (ctx, server) = with_server(api::embed).await;
    for option in ["max_tokens_per_query = 100", "providers.test.max_inputs = 5", "max_concurrency = 1"] {
        set(&ctx, option).await;
    }
    let (sql, expected) = texts(40);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
    let before = server.count();
    let (sql, _) = texts(500);
    let message = error(&ctx, &sql).await;
    assert!(
        message.contains("the query stops before it exceeds semantic.max_tokens_per_query = 100"),
        "{message}"
    );
    let tokens = (server.count() - before) * 10;
    assert!((60..=100).contains(&tokens), "{tokens}");
}
