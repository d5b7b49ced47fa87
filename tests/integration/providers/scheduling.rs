//! What queries of the process have to do with each other.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use datafusion_semantic::Result;
use datafusion_semantic::models::{
    Caller, LocalOptions, ModelRequest, Registry, RemoteOptions, TextEmbedder,
};
use futures::FutureExt;

use super::api::{self, answer, inputs};
use super::server::{Reply, Server};
use super::{error, run, set, vectors, with_server};

/// A query that may have any number of requests in flight.
#[derive(Debug, Clone)]
struct Query(u64);

impl Caller for Query {
    fn shared(&self) -> Arc<dyn Caller> {
        Arc::new(self.clone())
    }

    fn query(&self) -> u64 {
        self.0
    }

    fn max_concurrency(&self) -> usize {
        8
    }

    fn begin_request(&self, _: usize, _: bool) -> Result<()> {
        Ok(())
    }

    fn end_request(&self, _: usize, _: usize) {}
}

fn embedder(server: &Server, options: &[(&str, &str)]) -> Arc<dyn TextEmbedder> {
    let mut remote = RemoteOptions::default();
    remote.set("test.base_url", &server.url).unwrap();
    for (option, value) in options {
        remote.set(&format!("test.{option}"), value).unwrap();
    }
    let local = LocalOptions::default();
    let request = ModelRequest {
        model: "m".to_owned(),
        dimensions: Some(3),
        input_type: None,
        local,
        remote,
        files: Arc::default(),
    };
    Registry::default().text_embedder(Some("test"), "test", request).unwrap().embedder
}

/// Some operators leave a call alone for a while: while they wait for another input, or for who reads their rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_nobody_polls_is_in_nobody_s_way() {
    let server = Server::start(|request| api::embed(request).after(Duration::from_millis(20))).await;
    let embedder = embedder(&server, &[("max_concurrency", "1"), ("max_inputs", "1")]);
    let left = embedder.embed(&["a", "b", "c"], &Query(1_000_001));
    futures::pin_mut!(left);
    assert!(left.as_mut().now_or_never().is_none());
    let other = embedder.embed(&["d", "a"], &Query(1_000_002));
    let found = tokio::time::timeout(Duration::from_secs(10), other).await.unwrap().unwrap();
    assert_eq!((found.vector(0), found.vector(1)), (&*api::vector("d"), &*api::vector("a")));
    assert_eq!(left.await.unwrap().vector(2), api::vector("c"));
    assert_eq!(server.count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_changes_between_queries() {
    let length = Arc::new(AtomicUsize::new(3));
    let of_server = Arc::clone(&length);
    let (ctx, _) = with_server(move |request| {
        let vectors = vec![vec![1.0; of_server.load(Ordering::Relaxed)]; inputs(request).len()];
        Reply::new(200, answer(request, &vectors).to_string())
    })
    .await;
    set(&ctx, "providers.test.dimensions = ''").await;
    for found in [3, 4, 2] {
        length.store(found, Ordering::Relaxed);
        assert_eq!(vectors(&run(&ctx, "SELECT embed_text('a')").await.unwrap()), [Some(vec![1.0; found])]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_changes_within_a_query() {
    let (ctx, _) = with_server(|request| {
        let vectors = vec![vec![1.0; if request.number < 5 { 3 } else { 4 }]; inputs(request).len()];
        Reply::new(200, answer(request, &vectors).to_string())
    })
    .await;
    for option in ["providers.test.dimensions = ''", "providers.test.max_inputs = 10", "slice_rows = 10"] {
        set(&ctx, option).await;
    }
    let (sql, _) = super::texts(200);
    let message = error(&ctx, &sql).await;
    assert!(
        message.contains("its model is another one than when the query began; run the query again"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_megabytes_are_read() {
    let (ctx, server) = with_server(move |request| {
        let vectors: Vec<_> = inputs(request).iter().map(|text| api::vector(text).repeat(2000)).collect();
        Reply::new(200, answer(request, &vectors).to_string())
    })
    .await;
    for option in ["providers.test.dimensions = 6000", "slice_rows = 4096"] {
        set(&ctx, option).await;
    }
    let (sql, expected) = super::texts(300);
    let expected: Vec<_> = expected.into_iter().map(|vector| Some(vector?.repeat(2000))).collect();
    assert!(vectors(&run(&ctx, &sql).await.unwrap()) == expected);
    // of which each is 32 kB
    let most = server.requests().iter().map(|request| inputs(request).len()).max().unwrap();
    assert!(most * 32_000 > 2 << 20, "{most}");
}
