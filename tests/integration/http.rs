//! `download` over HTTP, against a server of the test.
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::mock;
use crate::server::{Server, answer};

/// Serves `answers` by path, whole HTTP messages.
fn serve(answers: HashMap<&'static str, &'static str>) -> Server {
    Server::start(move |request| match answers.get(request.path.as_str()) {
        Some(text) => text.as_bytes().to_vec(),
        None => answer("404 Not Found", "", b""),
    })
}

async fn query(sql: &str) -> Result<String, String> {
    let (ctx, _) = mock::session().await.unwrap();
    let frame = datafusion_semantic::session::sql(&ctx, sql).await.map_err(|error| error.to_string())?;
    let batches = frame.collect().await.map_err(|error| error.to_string())?;
    Ok(datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string())
}

#[tokio::test]
async fn bodies_redirects_and_each_location_once() {
    let server = serve(HashMap::from([
        ("/a", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"),
        ("/moved", "HTTP/1.1 302 Found\r\nlocation: /a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ]));
    let address = server.url();
    let sql = format!(
        "SELECT arrow_cast(download(url), 'Utf8') AS body FROM (VALUES (1, '{address}/a'), (2, NULL), (3, '{address}/a'), \
         (4, '{address}/moved')) AS t(id, url) ORDER BY id"
    );
    let printed = query(&sql).await.unwrap();
    let expected = "+-------+\n| body  |\n+-------+\n| hello |\n|       |\n| hello |\n| hello |\n+-------+";
    assert_eq!(printed, expected);
    assert_eq!(server.take_paths(), ["/a", "/a", "/moved"]);
}

#[tokio::test]
async fn failures_name_the_location_without_its_secrets() {
    let server = serve(HashMap::from([(
        "/cut",
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\nhello",
    )]));
    let address = server.url();
    for (path, reason) in [("/none?key=SECRET", "the server answered 404"), ("/cut", "end of file")] {
        let error = query(&format!("SELECT download('{address}{path}')")).await.unwrap_err();
        let shown = path.split('?').next().unwrap();
        assert!(error.contains(&format!("download: cannot read '{address}{shown}': ")), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
    let error = query("SELECT download('https://user:SECRET@ho st/x?sig=SECRET')").await.unwrap_err();
    assert!(
        error.contains("download: cannot read this 'https://' location") && !error.contains("SECRET"),
        "{error}"
    );
    let error = query("SELECT download('http://127.0.0.1:1/x')").await.unwrap_err();
    assert!(error.contains("refused"), "{error}");
    let null =
        query(&format!("SELECT download('{address}/none', on_error => 'null') IS NULL AS n")).await.unwrap();
    assert!(null.contains("true"), "{null}");
}

/// Answers the first requests with the first answers, and then with the last one.
fn in_turn(answers: Vec<Vec<u8>>) -> Server {
    let asked = AtomicUsize::new(0);
    Server::start(move |_| {
        let turn = asked.fetch_add(1, Ordering::Relaxed);
        answers[turn.min(answers.len() - 1)].clone()
    })
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let (ok, fails) = (|| answer("200 OK", "", b"hello"), |status: &str| answer(status, "", b"BODY"));
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\nhello".to_vec();
    for (answers, requests, expected) in [
        (vec![fails("503 Service Unavailable"), fails("500 Internal Server Error"), ok()], 3, Ok(())),
        (vec![fails("429 Too Many Requests"), ok()], 2, Ok(())),
        (vec![fails("408 Request Timeout"), ok()], 2, Ok(())),
        (vec![cut.clone(), ok()], 2, Ok(())),
        (vec![vec![], ok()], 2, Ok(())),
        (vec![fails("503 Service Unavailable")], 3, Err("the server answered 503 Service Unavailable")),
        (vec![fails("404 Not Found"), ok()], 1, Err("the server answered 404 Not Found")),
        (vec![fails("401 Unauthorized"), ok()], 1, Err("the server answered 401 Unauthorized")),
        (
            vec![answer("429 Too Many Requests", "retry-after: 3600\r\n", b""), ok()],
            1,
            Err("the server answered 429"),
        ),
    ] {
        let server = in_turn(answers);
        let outcome = query(&format!("SELECT arrow_cast(download('{}/x'), 'Utf8') AS t", server.url())).await;
        assert_eq!(server.take().len(), requests, "{outcome:?}");
        match expected {
            Ok(()) => assert!(outcome.unwrap().contains("hello")),
            Err(expected) => {
                let error = outcome.unwrap_err();
                assert!(error.contains(expected) && !error.contains("BODY"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn the_pause_that_a_server_asks_for_is_kept_and_retries_are_counted() {
    let server = in_turn(vec![
        answer("429 Too Many Requests", "retry-after: 2\r\n", b""),
        answer("200 OK", "", b"hello"),
    ]);
    let started = Instant::now();
    let plan = query(&format!(
        "EXPLAIN ANALYZE SELECT download(url) FROM (VALUES ('{}/x')) AS t(url)",
        server.url()
    ))
    .await
    .unwrap();
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert!(plan.contains("retries=1"), "{plan}");
}

#[tokio::test]
async fn a_file_larger_than_allowed_is_not_held() {
    let declared = Server::start(|_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\nconnection: close\r\n\r\n".to_vec()
    });
    let endless = Server::start(|_| {
        let body = "10\r\n0123456789abcdef\r\n".repeat(10_000);
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n", body.as_bytes()]
            .concat()
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large").display().to_string();
    std::fs::write(&file, [0; 101]).unwrap();
    for location in [
        format!("{}/x", declared.url()),
        format!("{}/x", endless.url()),
        file.clone(),
        "/dev/zero".to_owned(),
    ] {
        let error = query(&format!("SELECT download('{location}', max_bytes => 100)")).await.unwrap_err();
        let expected = ["it has more than the 100 bytes that one value may have", "it is not a file"];
        assert!(expected.iter().any(|text| error.contains(text)), "{error}");
    }
    assert_eq!((declared.take().len(), endless.take().len()), (1, 1));
    let error = query(&format!("SELECT download('{file}', max_bytes => 0)")).await.unwrap_err();
    assert!(error.contains("download: max_bytes must be a whole number from 1"), "{error}");

    let (ctx, _) = mock::session().await.unwrap();
    datafusion_semantic::session::sql(&ctx, "SET semantic.max_bytes = 100").await.unwrap();
    let sql = format!("SELECT download('{file}', max_bytes => 1000000)");
    let error = ctx
        .sql(&format!("SELECT download('{file}', NULL, 1000000)"))
        .await
        .unwrap()
        .collect()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than the 100 bytes"), "{sql}: {error}");
}

#[tokio::test]
async fn a_file_that_takes_too_long_is_given_up() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(3));
        answer("200 OK", "", b"late")
    });
    let (ctx, _) = mock::session().await.unwrap();
    datafusion_semantic::session::sql(&ctx, "SET semantic.file_timeout = 1").await.unwrap();
    let started = Instant::now();
    let sql = format!("SELECT download('{}/x')", server.url());
    let error = ctx.sql(&sql).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(error.contains("it took longer than 1 s: semantic.file_timeout"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_query_that_is_dropped_asks_for_nothing_more() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_millis(200));
        answer("200 OK", "", b"hello")
    });
    let (ctx, _) = mock::session().await.unwrap();
    datafusion_semantic::session::sql(&ctx, "SET semantic.max_concurrency = 4").await.unwrap();
    let sql = format!("SELECT download('{}/' || value) FROM range(100)", server.url());
    let query = ctx.sql(&sql).await.unwrap().collect();
    assert!(tokio::time::timeout(Duration::from_millis(300), query).await.is_err());
    let asked = server.take().len();
    assert!((1..=12).contains(&asked), "{asked}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.take().len(), 0);
}

#[tokio::test]
async fn a_table_that_takes_too_long_is_given_up() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(3));
        answer("200 OK", "", b"id\n1\n")
    });
    let (ctx, _) = mock::session().await.unwrap();
    datafusion_semantic::session::sql(&ctx, "SET semantic.file_timeout = 1").await.unwrap();
    let started = Instant::now();
    let sql = format!("SELECT * FROM '{}/x.csv'", server.url());
    let error = datafusion_semantic::session::sql(&ctx, &sql).await.unwrap_err().to_string();
    assert!(error.contains("it took longer than 1 s: semantic.file_timeout"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn requests_are_not_made_again_without_end() {
    let error = query("SET semantic.file_retries = 21").await.unwrap_err();
    assert!(error.contains("semantic.file_retries must be a number from 0 to 20, found '21'"), "{error}");
    assert!(query("SET semantic.file_retries = 20").await.is_ok());
}
