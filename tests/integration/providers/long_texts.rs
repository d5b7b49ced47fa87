//! Texts that are longer than their model reads.
use super::api::{answer, inputs, vector};
use super::server::{Reply, Request};
use super::{error, run, set, vectors, with_server};

/// A server whose model reads 40 characters, which are 10 tokens of its own.
fn short_model(request: &Request) -> Reply {
    let texts = inputs(request);
    if texts.iter().any(|text| text.len() > 40) {
        let body = r#"{"error":{"message":"This model's maximum context length is 10 tokens","code":"context_length_exceeded"}}"#;
        return Reply::new(400, body);
    }
    let vectors: Vec<_> = texts.iter().map(|text| vector(text)).collect();
    Reply::new(200, answer(request, &vectors).to_string())
}

const SQL: &str = "SELECT embed_text(t) FROM (VALUES ('short'), ('aaaaaaaaa bbbbbbbbb ccccccccc ddddddddd eeeeeeeee fffffffff'), ('other')) AS v(t)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_an_error_that_says_how_long() {
    let (ctx, server) = with_server(short_model).await;
    set(&ctx, "providers.test.max_input_tokens = 10").await;
    let message = error(&ctx, SQL).await;
    assert!(
        message
            .contains("(it has about 21 tokens, the model reads 10; SET semantic.providers.test.long_text"),
        "{message}"
    );
    // it went alone: the others were not sent twice
    let null = SQL.replace("(t)", "(t, on_error => 'null')").replace(" v(t, on_error => 'null')", " v(t)");
    let before = server.count();
    assert_eq!(
        vectors(&run(&ctx, &null).await.unwrap()),
        [Some(vector("short")), None, Some(vector("other"))]
    );
    assert!(server.count() - before <= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_cut_where_that_is_asked_for() {
    let (ctx, _) = with_server(short_model).await;
    for option in ["max_input_tokens = 10", "long_text = 'truncate'"] {
        set(&ctx, &format!("providers.test.{option}")).await;
    }
    let found = vectors(&run(&ctx, SQL).await.unwrap());
    assert_eq!(found, [Some(vector("short")), Some(vector("aaaaaaaaa bbbbbbbbb ")), Some(vector("other"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_averaged_over_windows_where_that_is_asked_for() {
    let (ctx, server) = with_server(short_model).await;
    for option in ["max_input_tokens = 10", "long_text = 'average'"] {
        set(&ctx, &format!("providers.test.{option}")).await;
    }
    let found = vectors(&run(&ctx, SQL).await.unwrap());
    assert_eq!((&found[0], &found[2]), (&Some(vector("short")), &Some(vector("other"))));
    let windows = ["aaaaaaaaa bbbbbbbbb ", "ccccccccc ddddddddd ", "eeeeeeeee fffffffff"];
    assert!(server.requests().iter().any(|request| inputs(request) == windows));
    // weighted by the estimates of their tokens
    let mut expected = [0.0_f64; 3];
    for (window, weight) in windows.iter().zip([8.0, 8.0, 8.0]) {
        for (sum, value) in expected.iter_mut().zip(vector(window)) {
            *sum += f64::from(value) * weight;
        }
    }
    let length = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
    for (found, expected) in found[1].as_ref().unwrap().iter().zip(expected) {
        assert!((f64::from(*found) - expected / length).abs() < 1e-6, "{found} {}", expected / length);
    }
}

/// Some say the same of every text that is too long, and not that it is too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_averaged_where_no_other_text_comes_first() {
    let (ctx, _) = with_server(|request| match inputs(request).iter().any(|text| text.len() > 40) {
        true => Reply::new(400, r#"{"error":{"message":"bad request"}}"#),
        false => short_model(request),
    })
    .await;
    for option in ["max_input_tokens = 10", "long_text = 'average'"] {
        set(&ctx, &format!("providers.test.{option}")).await;
    }
    let sql = "SELECT embed_text(concat(repeat('aaaaaaaaa ', 6), i)) FROM generate_series(1, 4) AS t(i)";
    assert_eq!(vectors(&run(&ctx, sql).await.unwrap()).iter().flatten().count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_not_given_to_a_provider_that_would_cut_them_silently() {
    let (ctx, server) = with_server(short_model).await;
    for option in ["protocol = 'google'", "max_input_tokens = 10"] {
        set(&ctx, &format!("providers.test.{option}")).await;
    }
    let message = error(&ctx, SQL).await;
    assert!(
        message.contains("a text has about 21 tokens, the model reads 10 and ignores the rest"),
        "{message}"
    );
    assert!(server.requests().iter().all(|request| inputs(request).iter().all(|text| text.len() < 40)));
}

/// A model that wants to be told what a text is, is told so for each of its windows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_have_the_prefix_of_their_text() {
    let (ctx, server) = with_server(short_model).await;
    for option in ["max_input_tokens = 10", "long_text = 'average'", "document_prefix = 'passage: '"] {
        set(&ctx, &format!("providers.test.{option}")).await;
    }
    run(
        &ctx,
        &SQL.replace("(t)", "(t, input_type => 'document')")
            .replace(" v(t, input_type => 'document')", " v(t)"),
    )
    .await
    .unwrap();
    let texts: Vec<String> = server.requests().iter().flat_map(inputs).collect();
    assert!(
        texts.iter().all(|text| text.starts_with("passage: ") && text.matches("passage: ").count() == 1),
        "{texts:?}"
    );
    for word in ["aaaaaaaaa", "ccccccccc", "fffffffff"] {
        assert!(texts.iter().any(|text| text.len() <= 40 && text.contains(word)), "{texts:?}");
    }
}
