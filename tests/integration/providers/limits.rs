//! How many requests are in flight, how fast they come, and for whom.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::api::{self, inputs};
use super::server::Reply;
use super::{error, run, set, texts, vectors, with_server};
use datafusion_semantic::session;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_requests_in_flight_as_allowed() {
    let (ctx, server) = with_server(|request| api::embed(request).after(Duration::from_millis(50))).await;
    for option in ["max_concurrency = 5", "providers.test.max_inputs = 10", "slice_rows = 100"] {
        set(&ctx, option).await;
    }
    let (sql, expected) = texts(1000);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
    assert_eq!(server.most_in_flight(), 5);
    // and over all queries
    set(&ctx, "providers.test.max_concurrency = 3").await;
    let other = sql.replace("text ", "other ");
    let (first, second) = tokio::join!(run(&ctx, &sql), run(&ctx, &other));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(server.most_in_flight(), 5);
    let late = server.requests().len();
    assert!(late >= 200, "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_rows_come_before_the_last_request_is_sent() {
    let (ctx, server) = with_server(|request| api::embed(request).after(Duration::from_millis(20))).await;
    let sql = "SELECT embed_text(concat('text ', i)) FROM generate_series(1, 1000000) AS t(i)";
    let mut rows = session::sql(&ctx, sql).await.unwrap().execute_stream().await.unwrap();
    assert!(rows.next().await.unwrap().unwrap().num_rows() > 0);
    let sent: usize = server.requests().iter().map(|request| inputs(request).len()).sum();
    assert!(sent < 20_000, "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_a_minute_are_kept() {
    let (ctx, server) = with_server(api::embed).await;
    for option in ["providers.test.requests_per_minute = 600", "providers.test.max_inputs = 10"] {
        set(&ctx, option).await;
    }
    let (sql, expected) = texts(400);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
    let requests = server.requests();
    // ten at once, then ten a second
    for (position, first) in requests.iter().enumerate() {
        let in_second =
            requests[position..].iter().take_while(|request| request.at < first.at + Duration::from_secs(1));
        assert!(in_second.count() <= 20);
    }
    let (first, last) = (requests[0].at, requests.last().unwrap().at);
    assert!(
        last >= first + Duration::from_millis(2500),
        "{} requests in {first:?} to {last:?}",
        requests.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_headers_leave_is_not_exceeded() {
    // two requests a second, told by headers
    let left = AtomicUsize::new(2);
    let (ctx, server) = with_server(move |request| {
        let before = left.load(Ordering::Relaxed);
        let remaining = if before == 0 { 1 } else { before - 1 };
        left.store(remaining, Ordering::Relaxed);
        api::embed(request)
            .with_header("x-ratelimit-remaining-requests", remaining.to_string())
            .with_header("x-ratelimit-reset-requests", "500ms")
    })
    .await;
    for option in ["providers.test.max_inputs = 10", "max_concurrency = 1"] {
        set(&ctx, option).await;
    }
    let (sql, expected) = texts(60);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
    let times: Vec<_> = server.requests().iter().map(|request| request.at).collect();
    assert!(times.len() >= 6, "{times:?}");
    for pair in times.windows(2).skip(1).step_by(2) {
        assert!(pair[1] >= pair[0] + Duration::from_millis(490), "{times:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_query_does_not_wait_for_a_long_one() {
    let (ctx, server) = with_server(|request| api::embed(request).after(Duration::from_millis(20))).await;
    for option in ["providers.test.max_concurrency = 1", "providers.test.max_inputs = 10"] {
        set(&ctx, option).await;
    }
    let long = "SELECT embed_text(concat('text ', i)) FROM generate_series(1, 2000) AS t(i)";
    let (mut ended, start) = (None, Instant::now());
    let short = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        run(&ctx, "SELECT embed_text('short')").await.unwrap();
        ended = Some(start.elapsed());
    };
    let (outcome, ()) = tokio::join!(run(&ctx, long), short);
    outcome.unwrap();
    assert!(ended.unwrap() < start.elapsed() / 2, "{ended:?} of {:?}", start.elapsed());
    assert_eq!(server.most_in_flight(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_an_hour() {
    let (ctx, server) = with_server(|_| Reply::new(429, "{}").with_header("retry-after", "3600")).await;
    let message = error(&ctx, "SELECT embed_text('a')").await;
    assert!(
        message.contains("it asks to wait 3600 s, longer than the 120 s that a query waits"),
        "{message}"
    );
    let later = error(&ctx, "SELECT embed_text('b')");
    let message = tokio::time::timeout(Duration::from_secs(20), later).await.unwrap();
    assert!(message.contains("it has asked another request to wait, 35"), "{message}");
    assert_eq!(server.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_s_rest_is_one_of_its_model() {
    let (ctx, server) = with_server(|request| match (api::json(request)["model"].as_str(), request.number) {
        (Some("m"), _) => Reply::new(429, "{}").with_header("retry-after", "3600"),
        (_, 1) => Reply::new(503, "{}").with_header("retry-after", "3600"),
        _ => api::embed(request),
    })
    .await;
    error(&ctx, "SELECT embed_text('a')").await;
    // a fault says nothing about later requests
    let other = "SELECT embed_text('a', model => 'test/other')";
    let message = error(&ctx, other).await;
    assert!(message.contains("HTTP 503 Service Unavailable; it asks to wait 3600 s"), "{message}");
    assert_eq!(vectors(&run(&ctx, other).await.unwrap()), [Some(api::vector("a"))]);
    assert_eq!(server.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_stops_all_queries() {
    let (ctx, server) = with_server(|request| match request.number {
        0 => Reply::new(429, "{}").with_header("retry-after", "1"),
        _ => api::embed(request),
    })
    .await;
    let other = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        run(&ctx, "SELECT embed_text('b')").await
    };
    let (first, second) = tokio::join!(run(&ctx, "SELECT embed_text('a')"), other);
    assert!(first.is_ok() && second.is_ok());
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[1..].iter().all(|request| request.at >= requests[0].at + Duration::from_secs(1)));
}
