//! A client that does not want its rows any more makes no further call of a model.
use std::time::Duration;

use arrow_flight::sql::{ActionCancelQueryRequest, ProstMessageExt};
use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use futures::StreamExt;
use prost::Message;
use tokio::time::sleep;

use super::{Client, fetch, query, serve, table, until};

/// 20 ms for each 16 of 200,000 texts: half a minute.
const SLOW: &str = "SELECT embed_text('text ' || value, model => 'mock-slow') AS e FROM range(0, 200000)";

/// Waits until the query runs, ends it as `end` says, and sees that it has ended.
async fn cancelled(end: impl AsyncFnOnce(Client, arrow_flight::FlightInfo)) {
    let serving = serve("server.metrics = '127.0.0.1:0'").await;
    let mut client = serving.client().await;
    let info = client.execute(SLOW.to_owned(), None).await.unwrap();
    end(client, info).await;
    assert!(serving.counts.take_calls() > 0, "the query has begun");
    sleep(Duration::from_millis(100)).await;
    serving.counts.take_calls();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(serving.counts.take_calls(), 0);
    let page = serving.page("/metrics").await;
    assert!(page.contains("semsql_running 0"), "{page}");
    assert!(page.contains("kind=\"query\",outcome=\"cancelled\"} 1"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_drops_its_rows_ends_the_query() {
    cancelled(async |mut client, info| {
        let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        rows.next().await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_query() {
    cancelled(async |mut client, info| {
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let rows = client.do_get(ticket).await.unwrap();
            rows.for_each(async |_| {}).await;
        });
        sleep(Duration::from_millis(100)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_cancelled_by_the_actions_of_flight() {
    for old in [true, false] {
        cancelled(async |client, info| {
            let ticket = info.endpoint[0].ticket.clone().unwrap();
            let mut other = client.clone();
            let mut tasks = tokio::task::JoinSet::new();
            let mut reader = client.clone();
            tasks.spawn(async move {
                let rows = reader.do_get(ticket).await.unwrap();
                let ends: Vec<_> = rows.filter_map(async |row| row.err()).collect().await;
                assert!(ends[0].to_string().contains("the statement was cancelled"), "{ends:?}");
            });
            sleep(Duration::from_millis(100)).await;
            let action = if old {
                let request = ActionCancelQueryRequest { info: info.encode_to_vec().into() };
                Action::new("CancelQuery", request.as_any().encode_to_vec())
            } else {
                let request = CancelFlightInfoRequest { info: Some(info.clone()) };
                Action::new("CancelFlightInfo", request.encode_to_vec())
            };
            other.do_action(action.clone()).await.unwrap().message().await.unwrap().unwrap();
            tasks.join_next().await.unwrap().unwrap();
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_queries_that_are_cancelled_at_random_times() {
    let count = std::env::var("SEMSQL_CANCELS").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    let serving = serve("server.metrics = '127.0.0.1:0'").await;
    let mut client = serving.client().await;
    let mut random = 7_u64;
    for _ in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = Duration::from_micros((random >> 33) % 60_000);
        let read = async {
            let info = client.execute(SLOW.to_owned(), None).await.unwrap();
            let rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
            rows.for_each(async |row| drop(row.unwrap())).await;
        };
        assert!(tokio::time::timeout(after, read).await.is_err());
    }
    until("no statement runs", || serving.counts.take_calls() == 0).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(serving.counts.take_calls(), 0);
    let page = serving.page("/metrics").await;
    assert!(page.contains("semsql_running 0") && page.contains("semsql_queued 0"), "{page}");
    assert!(page.contains("semsql_memory_bytes 0"), "{page}");
}

/// Cancels what a ticket is for; whether that was possible.
async fn cancel(client: &mut Client, info: &FlightInfo) -> bool {
    let request = CancelFlightInfoRequest { info: Some(info.clone()) };
    let action = Action::new("CancelFlightInfo", request.encode_to_vec());
    let mut answers = client.inner_mut().do_action(action).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let answer = CancelFlightInfoResult::decode(answer.body).unwrap();
    match answer.status() {
        CancelStatus::Cancelled => true,
        CancelStatus::NotCancellable => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_waits_for_its_turn_and_is_good_after_a_refusal_until_it_is_cancelled() {
    let serving = serve("server.max_queries = 1\nserver.queue_seconds = 1").await;
    let mut client = serving.client().await;
    let slow = client.execute(SLOW.to_owned(), None).await.unwrap();
    let mut infos = vec![];
    for _ in 0..2 {
        infos.push(client.execute("SELECT 1".to_owned(), None).await.unwrap());
    }
    let running = client.do_get(slow.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    for _ in 0..2 {
        let error = fetch(&mut client, infos[0].clone()).await.unwrap_err();
        assert!(error.contains("waited for 1 s (queue_seconds)"), "{error}");
    }
    // one that waits is cancelled at once, and never runs
    let (mut reader, waiting) = (client.clone(), infos[1].clone());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { fetch(&mut reader, waiting).await });
    sleep(Duration::from_millis(200)).await;
    assert!(cancel(&mut client, &infos[1]).await);
    let error = tasks.join_next().await.unwrap().unwrap().unwrap_err();
    assert!(error.contains("the statement was cancelled"), "{error}");
    drop(running);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(fetch(&mut client, infos[0].clone()).await.unwrap()[0].num_rows(), 1);
    for info in infos {
        assert!(!cancel(&mut client, &info).await);
        let error = fetch(&mut client, info).await.unwrap_err();
        assert!(error.contains("there is no such handle"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_has_run_is_not_cancelled() {
    let serving = serve("server.allow_writes = true").await;
    let mut client = serving.client().await;
    query(&mut client, "CREATE TABLE t AS SELECT 1 AS id").await.unwrap();
    let info = client.execute("INSERT INTO t VALUES (2)".to_owned(), None).await.unwrap();
    assert!(!cancel(&mut client, &info).await);
    assert_eq!(fetch(&mut client, info).await.unwrap()[0].num_rows(), 1);
    assert!(table(&mut client, "SELECT count(*) AS n FROM t").await.contains("| 2 |"));
}
