//! Servers that fail: what is sent again, what is not, and what the user reads.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::api::{self, inputs};
use super::server::{Reply, Request, Server};
use super::{error, run, set, texts, vectors, with_server};

/// A draw from 0 to 99 for the request of a number, the same in each run.
fn draw(request: &Request) -> usize {
    let mixed = (request.number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize % 100
}

/// What users meet: refusals, errors and broken connections.
fn storm(request: &Request) -> Reply {
    match draw(request) {
        0..20 => Reply::new(429, "{}").with_header("retry-after", "1"),
        20..25 => Reply::new(500, "{}"),
        25..27 => api::embed(request).cut(),
        _ => api::embed(request).after(Duration::from_millis(50)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vector_arrives_through_refusals_errors_and_broken_connections() {
    let (ctx, server) = with_server(storm).await;
    set(&ctx, "providers.test.max_inputs = 200").await;
    let (sql, expected) = texts(10_000);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
    let requests = server.requests();
    let mut asked: HashMap<String, usize> = HashMap::new();
    for text in requests.iter().flat_map(inputs) {
        *asked.entry(text).or_default() += 1;
    }
    assert_eq!(asked.len(), 10_000);
    assert!(asked.values().all(|times| *times <= 11), "{:?}", asked.values().max());
    // what was on its way when the refusal was sent could not know of it, and a busy machine reads late
    let grace = Duration::from_millis(300);
    for refusal in requests.iter().filter(|request| draw(request) < 20) {
        let window = refusal.at + grace..refusal.at + Duration::from_secs(1);
        let inside = requests.iter().find(|request| window.contains(&request.at));
        assert!(inside.is_none(), "{:?} after {:?}", inside.map(|request| request.at), refusal.at);
    }
    assert!(requests.iter().any(|request| draw(request) < 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_and_what_is_not() {
    let refused = [("retry-after-ms", "20")];
    for (status, body, headers, requests) in [
        (408, "{}", &refused[..], 2),
        (409, "{}", &refused, 2),
        (429, "{}", &refused, 2),
        (500, "{}", &refused, 2),
        (502, "<html>", &refused, 2),
        (503, "", &refused, 2),
        (504, "{}", &refused, 2),
        (529, "{}", &refused, 2),
        (400, "{}", &[("x-should-retry", "true"), ("retry-after-ms", "20")], 2),
        (500, "{}", &[("x-should-retry", "false")], 1),
        (200, "{\"data\": [", &refused, 2),
        (401, "{}", &[], 1),
        (403, "{}", &[], 1),
        (404, "{}", &[], 1),
        (302, "", &[("location", "http://127.0.0.1:9/")], 1),
        (429, r#"{"error":{"code":"insufficient_quota"}}"#, &[], 1),
        (429, "{}", &[("retry-after", "3600")], 1),
    ] {
        let headers: Vec<_> = headers.to_vec();
        let (ctx, server) = with_server(move |request| match request.number {
            0 => headers
                .iter()
                .fold(Reply::new(status, body), |reply, (name, value)| reply.with_header(name, *value)),
            _ => api::embed(request),
        })
        .await;
        let outcome = run(&ctx, "SELECT embed_text('a')").await;
        assert_eq!((server.count(), outcome.is_ok()), (requests, requests == 2), "{status} {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_who_what_and_what_to_do() {
    let body = |code: &str, message: &str| json!({"error": {"code": code, "message": message}}).to_string();
    for (status, body, expected) in [
        (
            401,
            body("invalid_api_key", "Incorrect key sk-TEST"),
            "embed_text: provider 'test', model 'm': HTTP 401 Unauthorized (invalid_api_key); check the key: where it comes \
          from, and what it may do",
        ),
        (
            404,
            body("model_not_found", "The model `m` does not exist."),
            "embed_text: provider 'test', model 'm': HTTP 404 Not Found (model_not_found): The model `m` does not exist; check \
          the model's name and the base_url",
        ),
        (
            429,
            body("insufficient_quota", "You exceeded your quota"),
            "embed_text: provider 'test', model 'm': HTTP 429 Too Many Requests (insufficient_quota): You exceeded your quota; \
          the quota of this key is used up: see the provider's billing page",
        ),
        (
            405,
            "<html>secret page</html>".to_owned(),
            "embed_text: provider 'test', model 'm': HTTP 405 Method Not Allowed",
        ),
    ] {
        let (ctx, _) = with_server(move |_| Reply::new(status, body.clone())).await;
        assert_eq!(error(&ctx, "SELECT embed_text('a', on_error => 'null')").await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_ever() {
    let (ctx, server) = with_server(|_| Reply::new(500, "").with_header("retry-after-ms", "5")).await;
    set(&ctx, "max_retries = 3").await;
    let message = error(&ctx, "SELECT embed_text('a', on_error => 'null')").await;
    assert!(message.contains("HTTP 500 Internal Server Error; given up after 4 requests in"), "{message}");
    assert!(message.contains("semantic.max_retries = 3"), "{message}");
    assert_eq!(server.count(), 4);

    let (ctx, server) = with_server(|_| Reply::new(500, "").with_header("retry-after", "2")).await;
    set(&ctx, "providers.test.retry_timeout = 1").await;
    let message = error(&ctx, "SELECT embed_text('a')").await;
    assert!(message.contains("given up after 1 requests in 0 s"), "{message}");
    assert_eq!(server.count(), 1);

    let (ctx, server) = with_server(|request| api::embed(request).after(Duration::from_secs(5))).await;
    for option in ["providers.test.timeout = 1", "max_retries = 0"] {
        set(&ctx, option).await;
    }
    let message = error(&ctx, "SELECT embed_text('a')").await;
    assert!(message.contains("no answer in time"), "{message}");
    assert_eq!(server.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_this_machine_that_is_not_running() {
    let (ctx, _) = with_server(api::embed).await;
    set(&ctx, "providers.test.base_url = 'http://127.0.0.1:1/v1'").await;
    let message = error(&ctx, "SELECT embed_text('a', on_error => 'null')").await;
    let start = "embed_text: provider 'test', model 'm': no server listens at http://127.0.0.1:1/v1 (Connection refused";
    assert!(message.starts_with(start), "{message}");
    let end = " times): start its server, or SET semantic.providers.test.base_url to where it listens";
    assert!(message.contains(end), "{message}");
    // fewer where the machine is busy
    assert!([", 2 ", ", 3 ", ", 4 "].iter().any(|times| message.contains(times)), "{message}");
    for option in ["providers.ollama.base_url = 'http://127.0.0.1:2'", "max_retries = 1"] {
        set(&ctx, option).await;
    }
    let message = error(&ctx, "SELECT embed_text('a', model => 'ollama/bge-m3')").await;
    assert!(message.contains(", 2 times): start it by 'ollama serve', or SET"), "{message}");
}

/// Serves at an address for a while, then ends with all connections.
fn serve(address: SocketAddr, time: Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let script = |request: &Request| api::embed(request).after(Duration::from_millis(100));
        Server::start_at(address, script).await;
        tokio::time::sleep(time).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_this_machine_that_starts_again() {
    let (ctx, _) = with_server(api::embed).await;
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = [&format!("base_url = 'http://{address}/v1'"), "max_concurrency = 1", "max_inputs = 5"];
    for option in options {
        set(&ctx, &format!("providers.test.{option}")).await;
    }
    std::thread::spawn(move || {
        serve(address, Duration::from_secs(3));
        std::thread::sleep(Duration::from_secs(3));
        serve(address, Duration::from_mins(1));
    });
    // the first server would take four seconds, and ends before
    let (sql, expected) = texts(200);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
}

/// An error that does not say which part of the request it is about.
fn unclear(message: &str) -> Reply {
    Reply::new(400, json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_every_request_costs_few() {
    for (on_error, max_inputs) in [("null", 64), ("raise", 64), ("null", 1)] {
        let (ctx, server) = with_server(|_| unclear("no model is loaded")).await;
        set(&ctx, &format!("providers.test.max_inputs = {max_inputs}")).await;
        let sql = texts(5000).0.replace("i)) FROM", &format!("i), on_error => '{on_error}') FROM"));
        let message = error(&ctx, &sql).await;
        let expected = "embed_text: provider 'test', model 'm': HTTP 400 Bad Request (invalid_request_error): no model is \
                        loaded; inputs that were sent alone were refused alike, and so was a plain one: check the model's \
                        name";
        assert!(message.starts_with(expected), "{message}");
        // those in flight, each, three inputs alone, and a plain one
        assert!(server.count() <= 40, "{}", server.count());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_refused_without_a_word_are_bad_rows() {
    let script = |request: &Request| match inputs(request).iter().any(|text| text.contains("poison")) {
        true => unclear("something is wrong"),
        false => api::embed(request),
    };
    let (ctx, server) = with_server(script).await;
    let poisoned = |rows: usize, bad: &str| {
        format!(
            "SELECT embed_text(concat(CASE WHEN i IN ({bad}) THEN 'poison ' ELSE 'text ' END, i), on_error => 'null') \
             FROM generate_series(1, {rows}) AS t(i) ORDER BY i"
        )
    };
    for (rows, bad) in [
        (1000, &[3, 501, 900][..]),
        (1000, &[1, 1000]),
        (2, &[1, 2]),
        (1, &[1]),
        (3, &[1, 3]),
        // no row has a vector, or none that is asked first
        (3, &[1, 2, 3]),
        (64, &[1, 33, 64]),
        (200, &[1, 2, 3, 4, 5, 101, 199, 200]),
    ] {
        let mut expected = texts(rows).1;
        for row in bad {
            expected[*row - 1] = None;
        }
        let list: Vec<_> = bad.iter().map(usize::to_string).collect();
        let found = vectors(&run(&ctx, &poisoned(rows, &list.join(", "))).await.unwrap());
        assert!(found == expected, "{rows} rows, {bad:?}");
    }
    assert!(server.count() < 250, "{}", server.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_are_not_tried_as_often_again() {
    let (ctx, server) = with_server(|request| match (inputs(request).len(), request.number) {
        (1, _) | (_, ..3) => Reply::new(500, "").with_header("retry-after-ms", "5"),
        _ => Reply::new(413, "{}"),
    })
    .await;
    set(&ctx, "max_retries = 3").await;
    let message = error(&ctx, &texts(2).0).await;
    assert!(message.contains("given up after 4 requests"), "{message}");
    // three failed, one was too large, and one of each half
    assert!(server.count() <= 6, "{}", server.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poisoned_row_of_a_thousand() {
    let (ctx, server) = with_server(api::embed).await;
    let poisoned = |on_error| {
        format!(
            "SELECT embed_text(concat(CASE WHEN i = 617 THEN 'poison ' ELSE 'text ' END, i), on_error => '{on_error}') \
             FROM generate_series(1, 1000) AS t(i) ORDER BY i"
        )
    };
    let (_, mut expected) = texts(1000);
    expected[616] = None;
    assert_eq!(vectors(&run(&ctx, &poisoned("null")).await.unwrap()), expected);
    let sent: usize = server.requests().iter().map(|request| inputs(request).len()).sum();
    assert!(sent < 3000 && server.count() < 40, "{sent} inputs in {} requests", server.count());
    let message = error(&ctx, &poisoned("raise")).await;
    assert!(message.contains("the text \"poison 617\" was refused"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_too_large_is_halved() {
    let (ctx, server) = with_server(|request| match inputs(request).len() {
        ..=40 => api::embed(request),
        _ => Reply::new(413, "{}"),
    })
    .await;
    let (sql, expected) = texts(1000);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
    assert!(server.count() < 100, "{}", server.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_text_is_refused_where_the_provider_refuses_it() {
    let (ctx, server) = with_server(api::embed).await;
    let sql = "SELECT embed_text(t, on_error => 'null') FROM (VALUES ('a'), (''), ('c')) AS v(t)";
    let vector = api::vector;
    assert_eq!(vectors(&run(&ctx, sql).await.unwrap()), [Some(vector("a")), None, Some(vector("c"))]);
    assert_eq!(server.count(), 1);
    let message = error(&ctx, "SELECT embed_text('')").await;
    assert!(message.contains("provider 'test', model 'm': an empty text cannot be embedded"), "{message}");
}

/// Requests that come while a window is full are refused, as a server does that takes a number a minute.
struct TokenBucket {
    a_second: f64,
    burst: f64,
    state: Mutex<(f64, Duration)>,
}

impl TokenBucket {
    fn takes(&self, at: Duration) -> bool {
        let mut state = self.state.lock().unwrap();
        let level = (state.0 + (at.saturating_sub(state.1)).as_secs_f64() * self.a_second).min(self.burst);
        *state = (if level >= 1.0 { level - 1.0 } else { level }, at);
        level >= 1.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_nobody_told_costs_few_requests() {
    let bucket = TokenBucket { a_second: 4.0, burst: 4.0, state: Mutex::new((4.0, Duration::ZERO)) };
    let taken = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&taken);
    let (ctx, server) = with_server(move |request| {
        if !bucket.takes(request.at) {
            return Reply::new(429, "{}").with_header("retry-after", "1");
        }
        if inputs(request).iter().any(|text| text.contains("poison")) {
            return api::embed(request);
        }
        counted.fetch_add(1, Ordering::Relaxed);
        api::embed(request).after(Duration::from_millis(50))
    })
    .await;
    set(&ctx, "providers.test.max_inputs = 64").await;
    let (sql, expected) = texts(2000);
    assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected);
    let (requests, necessary) = (server.count(), 2000_usize.div_ceil(64));
    assert!(requests * 10 <= necessary * 12, "{requests} requests, {necessary} necessary, {taken:?} taken");
}
