//! How providers are named and configured.
use datafusion::arrow::util::pretty::pretty_format_batches;

use super::server::Server;
use super::{api, error, run, set, vectors, with_server};
use datafusion_semantic::session;

#[tokio::test]
async fn planning_asks_nobody_and_knows_the_dimensions() {
    let ctx = session::new().unwrap();
    for (call, expected) in [
        ("provider => 'openai', model => 'text-embedding-3-small'", "FixedSizeList(1536 x Float32)"),
        ("model => 'openai/text-embedding-3-large', dimensions => 256", "FixedSizeList(256 x Float32)"),
        ("provider => 'openai', model => 'text-embedding-ada-002'", "FixedSizeList(1536 x Float32)"),
        (
            "provider => 'lm_studio', model => 'text-embedding-nomic-embed-text-v1.5'",
            "FixedSizeList(768 x Float32)",
        ),
        ("provider => 'lm_studio', model => 'whatever'", "List(Float32)"),
        ("provider => 'ollama', model => 'bge-m3:latest'", "FixedSizeList(1024 x Float32)"),
        ("model => 'cohere/embed-v4.0', input_type => 'query'", "FixedSizeList(1536 x Float32)"),
        ("provider => 'voyage', model => 'voyage-3.5'", "FixedSizeList(1024 x Float32)"),
        ("provider => 'google', model => 'gemini-embedding-001'", "FixedSizeList(3072 x Float32)"),
        (
            "provider => 'google', model => 'gemini-embedding-9', dimensions => 8",
            "FixedSizeList(8 x Float32)",
        ),
    ] {
        let frame = session::sql(&ctx, &format!("SELECT embed_text('a', {call})")).await.unwrap();
        assert_eq!(frame.schema().field(0).data_type().to_string(), expected, "{call}");
    }
}

#[tokio::test]
async fn mistakes_are_told_while_planning() {
    let ctx = session::new().unwrap();
    for (call, expected) in [
        (
            "provider => 'opanai', model => 'x'",
            "embed_text: unknown provider 'opanai': known are 'transformers' (or 'local'), 'openai', 'lm_studio', 'ollama', \
          'azure_openai', 'cohere', 'voyage', 'google'; another endpoint that speaks OpenAI's API gets a name by SET \
          semantic.providers.<name>.base_url",
        ),
        (
            "provider => 'openai', model => 'text-embedding-3-tiny'",
            "embed_text: provider 'openai' has no model 'text-embedding-3-tiny' that is known here: known are \
          text-embedding-3-small, text-embedding-3-large, text-embedding-ada-002; give the dimensions of another one, \
          dimensions => n",
        ),
        (
            "model => 'openai/text-embedding-3-small', dimensions => 2000",
            "embed_text: model 'text-embedding-3-small' has no vectors of 2000 dimensions: it has 1 to 1536",
        ),
        (
            "provider => 'cohere', model => 'embed-v4.0', dimensions => 100",
            "embed_text: model 'embed-v4.0' has no vectors of 100 dimensions: it has 256, 512, 1024, 1536",
        ),
        (
            "provider => 'azure_openai', model => 'x'",
            "embed_text: provider 'azure_openai' has no base_url: SET semantic.providers.azure_openai.base_url = \
          'https://host/v1'",
        ),
    ] {
        assert_eq!(error(&ctx, &format!("SELECT embed_text('a', {call})")).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_missing_is_told_by_the_call() {
    let ctx = session::new().unwrap();
    let sql = "SELECT embed_text('a', provider => 'voyage', model => 'voyage-3.5')";
    assert!(run(&ctx, &format!("EXPLAIN {sql}")).await.is_ok());
    let message = error(&ctx, sql).await;
    let expected = "embed_text: provider 'voyage' needs a key: set the environment variable VOYAGE_API_KEY, or name another \
                    one by semantic.providers.voyage.api_key_env, or a file by .api_key_file";
    assert_eq!(message, expected);
    set(&ctx, "providers.voyage.api_key_env = 'NO_SUCH_VARIABLE'").await;
    let message = error(&ctx, sql).await;
    assert!(message.contains("the environment variable NO_SUCH_VARIABLE, which"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_of_unknown_length_are_lists_that_functions_take() {
    let (ctx, server) = with_server(api::embed).await;
    set(&ctx, "providers.test.dimensions = ''").await;
    let sql =
        "SELECT embed_text(t, on_error => 'null') FROM (VALUES ('a'), (NULL), ('poison'), ('b')) AS v(t)";
    let found = vectors(&run(&ctx, sql).await.unwrap());
    assert_eq!(found, [Some(api::vector("a")), None, None, Some(api::vector("b"))]);
    let before = server.count();
    let sql = "SELECT t, round(cosine_distance(embed_text(t), embed_text('a')), 3) AS d FROM (VALUES ('a'), ('bbb')) AS v(t) ORDER BY d";
    let printed = pretty_format_batches(&run(&ctx, sql).await.unwrap()).unwrap().to_string();
    assert!(printed.contains("| a   | 0.0 |"), "{printed}");
    assert!(server.count() > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_endpoints_at_once() {
    let (ctx, first) = with_server(api::embed).await;
    let second = Server::start(api::embed).await;
    for option in [
        format!("base_url = '{}'", second.url),
        "dimensions = 3".to_owned(),
        "query_prefix = 'query: '".to_owned(),
    ] {
        set(&ctx, &format!("providers.second.{option}")).await;
    }
    let sql = "SELECT embed_text('a'), embed_text('a', model => 'second/BAAI/bge', input_type => 'query')";
    assert_eq!(vectors(&run(&ctx, sql).await.unwrap()), [Some(api::vector("query: a"))]);
    assert_eq!((first.count(), second.count()), (1, 1));
    assert_eq!(api::json(&second.requests()[0])["model"], "BAAI/bge");
    let message =
        error(&ctx, "SELECT cosine_distance(embed_text('a'), embed_text('a', model => 'second/m'))").await;
    assert!(message.contains("test/m") && message.contains("second/m"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_options() {
    let server = Server::start(api::embed).await;
    let text = format!(
        "[semantic]\nprovider = 'mine'\ntext_model = 'm'\nmax_requests_per_query = 100\n\n[semantic.providers.mine]\n\
         base_url = '{}/v1'\ndimensions = 3\nrequests_per_minute = 6000\n\n[datafusion.execution]\ntarget_partitions = 2\n",
        server.url
    );
    let ctx = session::new().unwrap();
    session::configure(&ctx, &text).unwrap();
    assert_eq!(vectors(&run(&ctx, "SELECT embed_text('a')").await.unwrap()), [Some(api::vector("a"))]);
    assert_eq!(ctx.state().config_options().execution.target_partitions, 2);
    for (text, expected) in [
        ("[semantic]\nprovidr = 'x'\n", "unknown option semantic.providr"),
        (
            "[semantic.providers.x]\ntimeout = 'soon'\n",
            "semantic.providers.x.timeout must be a number of seconds",
        ),
        ("[semantic\n", "line 1, column 10"),
        (
            "[semantic]\nprovider = ['a']\n",
            "semantic.provider must be a text, a number or a boolean, found an array",
        ),
        ("[semantic.providers.x]\napi_key = 'sk-TESTKEY'\n", "a key is no option"),
    ] {
        let message = session::configure(&ctx, text).unwrap_err().to_string();
        assert!(message.contains(expected) && !message.contains("TESTKEY"), "{message}");
    }
}
