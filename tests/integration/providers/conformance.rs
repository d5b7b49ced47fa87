//! What every provider does.
use std::sync::LazyLock;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::api::{self, answer, inputs, vector};
use super::server::{Reply, Server};
use super::{error, run, set, vectors};
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;

/// A provider, how it is asked, and what its requests look like.
struct Provider {
    name: &'static str,
    /// What its base URL is behind the server's.
    base: &'static str,
    path: &'static str,
    model: &'static str,
    key_header: (&'static str, &'static str),
    /// Where requests say whether an input is a query, and what then.
    query: Option<(&'static str, &'static str)>,
    /// Where requests have the length of vectors.
    dimensions: &'static str,
    base64: bool,
    max_inputs: usize,
}

const PROVIDERS: [Provider; 8] = [
    Provider {
        name: "openai",
        base: "/v1",
        path: "/v1/embeddings",
        model: "text-embedding-3-small",
        key_header: ("authorization", "Bearer sk-TESTKEY-conformance"),
        query: None,
        dimensions: "/dimensions",
        base64: true,
        max_inputs: 2048,
    },
    Provider {
        name: "my_vllm",
        base: "/v1",
        path: "/v1/embeddings",
        model: "BAAI/bge-m3",
        key_header: ("authorization", "Bearer sk-TESTKEY-conformance"),
        query: None,
        dimensions: "/dimensions",
        base64: true,
        max_inputs: 2048,
    },
    Provider {
        name: "lm_studio",
        base: "",
        path: "/v1/embeddings",
        model: "text-embedding-nomic-embed-text-v1.5",
        key_header: ("authorization", "Bearer sk-TESTKEY-conformance"),
        query: Some(("/input/0", "search_query: a")),
        dimensions: "/dimensions",
        base64: true,
        max_inputs: 256,
    },
    Provider {
        name: "ollama",
        base: "",
        path: "/api/embed",
        model: "nomic-embed-text:latest",
        key_header: ("authorization", "Bearer sk-TESTKEY-conformance"),
        query: Some(("/input/0", "search_query: a")),
        dimensions: "/dimensions",
        base64: false,
        max_inputs: 256,
    },
    Provider {
        name: "azure_openai",
        base: "",
        path: "/openai/deployments/my-deployment/embeddings?api-version=2024-10-21",
        model: "my-deployment",
        key_header: ("api-key", "sk-TESTKEY-conformance"),
        query: None,
        dimensions: "/dimensions",
        base64: true,
        max_inputs: 2048,
    },
    Provider {
        name: "cohere",
        base: "/v2",
        path: "/v2/embed",
        model: "embed-v4.0",
        key_header: ("authorization", "Bearer sk-TESTKEY-conformance"),
        query: Some(("/input_type", "search_query")),
        dimensions: "/output_dimension",
        base64: true,
        max_inputs: 96,
    },
    Provider {
        name: "voyage",
        base: "/v1",
        path: "/v1/embeddings",
        model: "voyage-3.5",
        key_header: ("authorization", "Bearer sk-TESTKEY-conformance"),
        query: Some(("/input_type", "query")),
        dimensions: "/output_dimension",
        base64: true,
        max_inputs: 1000,
    },
    Provider {
        name: "google",
        base: "/v1beta",
        path: "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        model: "gemini-embedding-001",
        key_header: ("x-goog-api-key", "sk-TESTKEY-conformance"),
        query: Some(("/requests/0/taskType", "RETRIEVAL_QUERY")),
        dimensions: "/requests/0/outputDimensionality",
        base64: false,
        max_inputs: 100,
    },
];

/// The file with the key of all of them.
static KEY: LazyLock<NamedTempFile> = LazyLock::new(|| {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-TESTKEY-conformance\n").unwrap();
    file
});

/// The body of an answer.
type Script = fn(&super::Request) -> Value;

impl Provider {
    /// A session that knows the endpoint and its key, whose vectors have 3 dimensions.
    async fn session(&self, server: &Server) -> SessionContext {
        let ctx = session::new().unwrap();
        let option = |name: &str, value: &str| format!("providers.{}.{name} = '{value}'", self.name);
        for option in [
            option("base_url", &format!("{}{}", server.url, self.base)),
            option("api_key_file", KEY.path().to_str().unwrap()),
            option("dimensions", "3"),
            format!("provider = '{}'", self.name),
            format!("text_model = '{}'", self.model),
        ] {
            set(&ctx, &option).await;
        }
        ctx
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_come_back_in_order_and_nulls_are_not_sent() {
    for provider in PROVIDERS {
        let server = Server::start(api::embed).await;
        let ctx = provider.session(&server).await;
        let sql =
            "SELECT embed_text(t) FROM (VALUES ('one'), (NULL), ('three'), ('one'), ('üñî \"x\"\n')) AS v(t)";
        let found = vectors(&run(&ctx, sql).await.unwrap());
        let expected = [Some("one"), None, Some("three"), Some("one"), Some("üñî \"x\"\n")];
        assert_eq!(found, expected.map(|text| text.map(vector)), "{}", provider.name);
        let requests = server.requests();
        assert_eq!((requests.len(), inputs(&requests[0]).len()), (1, 3), "{}", provider.name);
        assert_eq!(requests[0].path, provider.path);
        let (header, value) = provider.key_header;
        assert_eq!(requests[0].headers[header], value, "{}", provider.name);
        let body = String::from_utf8_lossy(&requests[0].body);
        assert_eq!(body.contains("base64"), provider.base64, "{}: {body}", provider.name);
        assert!(!body.contains("TESTKEY"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_have_the_provider_s_limits() {
    for provider in PROVIDERS {
        let server = Server::start(api::embed).await;
        let ctx = provider.session(&server).await;
        for option in ["slice_rows = 4096", "slices_in_flight = 1"] {
            set(&ctx, option).await;
        }
        run(&ctx, "SET datafusion.execution.batch_size = 8192").await.unwrap();
        let (sql, expected) = super::texts(9000);
        assert_eq!(vectors(&run(&ctx, &sql).await.unwrap()), expected, "{}", provider.name);
        let most = server.requests().iter().map(|request| inputs(request).len()).max().unwrap();
        assert_eq!(most, provider.max_inputs, "{}", provider.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_and_documents_and_dimensions_are_asked_for() {
    for provider in PROVIDERS {
        let server = Server::start(|request| {
            let vectors = vec![vec![0.5; 256]; inputs(request).len()];
            Reply::new(200, answer(request, &vectors).to_string())
        })
        .await;
        let ctx = provider.session(&server).await;
        run(&ctx, "SELECT embed_text('a', dimensions => 256, input_type => 'query')").await.unwrap();
        let body = api::json(&server.requests()[0]);
        assert_eq!(body.pointer(provider.dimensions), Some(&json!(256)), "{}: {body}", provider.name);
        if let Some((place, value)) = provider.query {
            assert_eq!(body.pointer(place), Some(&json!(value)), "{}: {body}", provider.name);
            run(&ctx, "SELECT embed_text('a', dimensions => 256, input_type => 'document')").await.unwrap();
            let body = api::json(&server.requests()[1]);
            let document = body.pointer(place).unwrap().as_str().unwrap().to_lowercase();
            assert!(document.contains("document"), "{}: {body}", provider.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_is_one_bad_row() {
    for provider in PROVIDERS {
        let server = Server::start(api::embed).await;
        let ctx = provider.session(&server).await;
        let sql = "SELECT embed_text(t, on_error => 'null') FROM (VALUES ('a'), ('b'), ('some poison'), ('c')) AS v(t)";
        let found = vectors(&run(&ctx, sql).await.unwrap());
        assert_eq!(
            found,
            [Some("a"), Some("b"), None, Some("c")].map(|text| text.map(vector)),
            "{}",
            provider.name
        );
        let message = error(&ctx, &sql.replace(", on_error => 'null'", "")).await;
        for part in [
            &format!("embed_text: provider '{}', model '{}'", provider.name, provider.model),
            "the text \"some poison\" was refused with HTTP 400 Bad Request (bad_input): the input is poisoned",
            "on_error => 'null' makes such rows NULL",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_answers_are_errors_and_no_rows() {
    let wrong: [(&str, Script); 5] = [
        ("2 vectors for 3 inputs", |request| answer(request, &vec![vec![1.0; 3]; 2])),
        ("a vector of 4 dimensions, expected 3", |request| answer(request, &vec![vec![1.0; 4]; 3])),
        ("the vector has NaN in it", |request| {
            answer(request, &[vec![1.0; 3], vec![1.0, f32::NAN, 1.0], vec![1.0; 3]])
        }),
        ("an answer that is not as its API describes", |_| json!({"nothing": "here"})),
        ("an answer that is not as its API describes", |_| json!("<html>")),
    ];
    for provider in PROVIDERS {
        for (message, script) in wrong {
            let server = Server::start(move |request| Reply::new(200, script(request).to_string())).await;
            let ctx = provider.session(&server).await;
            let error = error(&ctx, "SELECT embed_text(t) FROM (VALUES ('a'), ('b'), ('c')) AS v(t)").await;
            assert!(error.contains(message), "{}: {error}", provider.name);
            assert_eq!(server.count(), 1, "{}: {error}", provider.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vector_that_is_no_vector_is_one_bad_row() {
    let (ctx, _) = super::with_server(|request| {
        let rows = inputs(request);
        let vectors = rows.iter().map(|text| if text == "b" { vec![f32::INFINITY; 3] } else { vector(text) });
        Reply::new(200, answer(request, &vectors.collect::<Vec<_>>()).to_string())
    })
    .await;
    let sql = "SELECT embed_text(t, on_error => 'null') FROM (VALUES ('a'), ('b'), ('c')) AS v(t)";
    assert_eq!(vectors(&run(&ctx, sql).await.unwrap()), [Some(vector("a")), None, Some(vector("c"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reordered_answer_is_an_error() {
    let (ctx, _) = super::with_server(|request| {
        let mut body = answer(request, &[vector("a"), vector("b")]);
        body["data"].as_array_mut().unwrap().reverse();
        Reply::new(200, body.to_string())
    })
    .await;
    let error = error(&ctx, "SELECT embed_text(t) FROM (VALUES ('a'), ('b')) AS v(t)").await;
    assert!(error.contains("the vectors of 2 inputs in another order than the inputs"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_sent_as_png_where_the_provider_takes_them() {
    for (name, model) in [("cohere", "embed-v4.0"), ("voyage", "voyage-multimodal-3")] {
        let provider = PROVIDERS.into_iter().find(|provider| provider.name == name).unwrap();
        let server = Server::start(api::embed).await;
        let ctx = provider.session(&server).await;
        let sql = format!(
            "SELECT embed_image(decode_image(download(path)), model => '{model}') FROM glob('sql/data/photos/*') ORDER BY path"
        );
        let found = vectors(&run(&ctx, &sql).await.unwrap());
        assert_eq!(found.len(), 4);
        let mut images = server.requests().iter().flat_map(inputs).collect::<Vec<_>>();
        assert_eq!(images.len(), 4);
        images.retain(|image| image.starts_with("data:image/png;base64,iVBORw0KGgo"));
        assert_eq!(images.len(), 4, "{name}");
        assert!(images.iter().all(|image| found.contains(&Some(vector(image)))), "{name}");
    }
    let server = Server::start(api::embed).await;
    let ctx = PROVIDERS[0].session(&server).await;
    let message = error(
        &ctx,
        "SELECT embed_image(download('sql/data/photos/cat.png'), model => 'text-embedding-3-small')",
    )
    .await;
    assert!(
        message.contains(
            "model 'text-embedding-3-small' of provider 'openai' does not embed images: it embeds text"
        ),
        "{message}"
    );
}
