//! Equal inputs are asked for once.
use std::time::Duration;

use super::api::{self, inputs, vector};
use super::server::Reply;
use super::{run, set, vectors, with_server};
use datafusion_semantic::session;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_query() {
    let (ctx, server) = with_server(api::embed).await;
    let sql = "SELECT embed_text(concat('text ', i % 10)) FROM generate_series(1, 5000) AS t(i)";
    assert_eq!(vectors(&run(&ctx, sql).await.unwrap()).len(), 5000);
    let sent: usize = server.requests().iter().map(|request| inputs(request).len()).sum();
    assert_eq!(sent, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_several_queries_at_the_same_time() {
    // longer than it takes until all three are planned
    let (ctx, server) = with_server(|request| api::embed(request).after(Duration::from_millis(1500))).await;
    let (other, _) = with_server(api::embed).await;
    set(&other, &format!("providers.test.base_url = '{}/v1'", server.url)).await;
    let sql = "SELECT embed_text(concat('text ', i)) FROM generate_series(1, 30) AS t(i) ORDER BY i";
    let expected: Vec<_> = (1..=30).map(|row| Some(vector(&format!("text {row}")))).collect();
    let (first, second, third) = tokio::join!(run(&ctx, sql), run(&ctx, sql), run(&other, sql));
    for batches in [first, second, third] {
        assert_eq!(vectors(&batches.unwrap()), expected);
    }
    let sent: usize = server.requests().iter().map(|request| inputs(request).len()).sum();
    assert_eq!(sent, 30);
    // what is used differently is another input
    let query = sql.replace("i))", "i), dimensions => 3, input_type => 'query')");
    assert_eq!(vectors(&run(&ctx, &query).await.unwrap()), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_several_wait_for_is_not_tried_by_each_of_them() {
    let failing = |_: &super::Request| {
        Reply::new(500, "").with_header("retry-after-ms", "5").after(Duration::from_millis(700))
    };
    let (ctx, server) = with_server(failing).await;
    let (other, _) = with_server(api::embed).await;
    set(&other, &format!("providers.test.base_url = '{}/v1'", server.url)).await;
    for ctx in [&ctx, &other] {
        set(ctx, "max_retries = 2").await;
    }
    let sql = "SELECT embed_text('a')";
    let (first, second, third) = tokio::join!(run(&ctx, sql), run(&ctx, sql), run(&other, sql));
    for outcome in [first, second, third] {
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("given up after 3 requests"), "{message}");
    }
    assert_eq!(server.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_gives_up_gives_up_for_itself() {
    let script = |request: &super::Request| match request.number {
        0 => Reply::new(500, "").after(Duration::from_millis(1500)),
        _ => api::embed(request),
    };
    let (ctx, server) = with_server(script).await;
    let (other, _) = with_server(api::embed).await;
    set(&other, &format!("providers.test.base_url = '{}/v1'", server.url)).await;
    set(&ctx, "max_retries = 0").await;
    let sql = "SELECT embed_text('a')";
    let later = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        run(&other, sql).await
    };
    let (first, second) = tokio::join!(run(&ctx, sql), later);
    let message = first.unwrap_err().to_string();
    assert!(message.contains("given up after 1 requests"), "{message}");
    assert_eq!(vectors(&second.unwrap()), [Some(vector("a"))]);
    assert_eq!(server.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_is_dropped_leaves_its_inputs_to_the_others() {
    let (ctx, server) = with_server(|request| api::embed(request).after(Duration::from_millis(200))).await;
    for option in ["providers.test.max_concurrency = 1", "providers.test.max_inputs = 10"] {
        set(&ctx, option).await;
    }
    let sql = "SELECT embed_text(concat('text ', i)) FROM generate_series(1, 30) AS t(i) ORDER BY i";
    let dropped = session::sql(&ctx, sql).await.unwrap();
    let (_, kept) =
        tokio::join!(tokio::time::timeout(Duration::from_millis(300), dropped.collect()), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            tokio::time::timeout(Duration::from_secs(10), run(&ctx, sql)).await
        });
    let expected: Vec<_> = (1..=30).map(|row| Some(vector(&format!("text {row}")))).collect();
    assert_eq!(vectors(&kept.unwrap().unwrap()), expected);
    assert!(server.count() <= 4, "{}", server.count());
}
