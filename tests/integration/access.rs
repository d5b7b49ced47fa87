//! What a session may reach: hosts before they are looked up or connected to, files before they are touched.
use std::fs;
use std::net::TcpListener;
use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::config::ExtensionOptions;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_semantic::config::SemanticOptions;
use datafusion_semantic::session;
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use crate::server::{Server, answer, redirect};

fn options(options: &[(&str, &str)]) -> SemanticOptions {
    let mut semantic = SemanticOptions::default();
    for (key, value) in options {
        semantic.set(key, value).unwrap();
    }
    semantic
}

async fn query(ctx: &SessionContext, sql: &str) -> Result<String, String> {
    let frame = session::sql(ctx, sql).await.map_err(|error| error.to_string())?;
    let batches = frame.collect().await.map_err(|error| error.to_string())?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

/// The ways in by which SQL can name a URL.
fn ways(url: &str) -> [String; 5] {
    [
        format!("SELECT download('{url}')"),
        format!("SELECT * FROM glob('{url}')"),
        format!("SELECT content FROM read_blob('{url}')"),
        format!("SELECT * FROM '{url}'"),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{url}'"),
    ]
}

#[tokio::test]
async fn private_hosts_are_refused_before_a_socket_opens_however_they_are_written() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let ctx = session::with_options(options(&[("allow_hosts", "*")])).unwrap();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.1",
        "127.0.0.1.",
        "１２７.０.０.１",
        "%31%32%37.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "ⓛocalhost",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
        "user:SECRET@localhost",
    ];
    for host in hosts {
        for sql in ways(&format!("http://{host}:{port}/x.csv")) {
            let error = query(&ctx, &sql).await.unwrap_err();
            assert!(error.contains("is not allowed") || error.contains("is not asked"), "{sql}: {error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
    for url in [
        "ftp://127.0.0.1/x.csv",
        "gopher://127.0.0.1/x.csv",
        "file:///etc/passwd",
        "/etc/passwd",
        "s3://bucket/x.csv",
        "hf://datasets/x/y/z.csv",
    ] {
        for sql in ways(url) {
            assert!(query(&ctx, &sql).await.is_err(), "{sql}");
        }
    }
    assert!(listener.accept().is_err(), "a socket was opened");

    // by its name it is allowed
    let server = Server::start(|_| answer("200 OK", "", b"hello"));
    let allowed = [("allow_hosts", format!("*, 127.0.0.1:{}, localhost", server.port))];
    let ctx = session::with_options(options(&[(allowed[0].0, &allowed[0].1)])).unwrap();
    for host in ["127.0.0.1", "2130706433", "localhost"] {
        let sql = format!("SELECT arrow_cast(download('http://{host}:{}/x'), 'Utf8') AS t", server.port);
        assert!(query(&ctx, &sql).await.unwrap().contains("hello"), "{host}");
    }
}

#[tokio::test]
async fn every_redirect_is_checked() {
    let private = Server::start(|_| answer("200 OK", "", b"secret"));
    let target = private.port;
    let open = Server::start(move |request| match request.path.as_str() {
        "/name" => redirect(&format!("http://localhost:{target}/x")),
        "/address" => redirect(&format!("http://[::ffff:127.0.0.1]:{target}/x")),
        "/metadata" => redirect("http://169.254.169.254/latest/meta-data/"),
        "/file" => redirect("file:///etc/passwd"),
        "/loop" => redirect("/loop"),
        "/nowhere" => redirect("http://"),
        "/user" => redirect(&format!("//user:SECRET@127.0.0.1:{target}/x")),
        _ => answer("404 Not Found", "", b""),
    });
    let hosts = format!("*, 127.0.0.1:{}", open.port);
    let ctx = session::with_options(options(&[("allow_hosts", &hosts)])).unwrap();
    for (path, expected) in [
        ("name", "host 'localhost' is not allowed: its address is not public"),
        ("address", "host '[::ffff:7f00:1]' is not allowed: its address is not public"),
        ("metadata", "host '169.254.169.254' is not allowed"),
        ("file", "it redirects to a 'file' URL"),
        ("loop", "it redirects more than 10 times"),
        ("nowhere", "it redirects to what is not a URL"),
        ("user", "host '127.0.0.1' is not asked"),
    ] {
        for sql in &ways(&format!("{}/{path}", open.url()))[..3] {
            let error = query(&ctx, sql).await.unwrap_err();
            assert!(error.contains(expected) && !error.contains("SECRET"), "{path}: {error}");
        }
    }
    assert_eq!(private.take_paths(), [""; 0]);
}

#[tokio::test]
async fn files_outside_the_listed_folders_are_not_touched_by_any_statement() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path).display().to_string();
    for file in ["in/a.csv", "out/b.csv"] {
        fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
        fs::write(root.path().join(file), "id\n1\n").unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(at("out/b.csv"), at("in/link.csv")).unwrap();
    let ctx =
        session::with_options(options(&[("allow_paths", &at("in")), ("allow_upload", "true")])).unwrap();

    for sql in &ways(&at("in/a.csv"))[..4] {
        assert!(query(&ctx, sql).await.unwrap().contains('1'), "{sql}");
    }
    for path in [
        at("out/b.csv"),
        at("in/../out/b.csv"),
        format!("file://{}", at("out/b.csv")),
        at("in/link.csv"),
        at("out/*.csv"),
        at("out"),
    ] {
        for sql in ways(&path) {
            let mut error = query(&ctx, &sql).await.err();
            if error.is_none() && sql.starts_with("CREATE") {
                // DataFusion looks at the files of some tables when they are read
                error = query(&ctx, "SELECT * FROM t").await.err();
            }
            let error = error.unwrap_or_else(|| panic!("{sql}"));
            assert!(error.contains("is not allowed: semantic.allow_paths"), "{sql}: {error}");
        }
    }
    // a link that leads out is not listed
    let listed = query(&ctx, &format!("SELECT path FROM glob('{}')", at("in/*"))).await.unwrap();
    assert!(listed.contains("a.csv") && !listed.contains("link.csv"), "{listed}");

    for sql in [
        format!("COPY (SELECT 1) TO '{}'", at("out/new.csv")),
        format!("SELECT upload(x'61', '{}')", at("out/new.csv")),
        format!("SELECT upload(x'61', '{}', overwrite => true)", at("in/link.csv")),
        format!("SELECT upload(x'61', '{}')", at("in/../out/new.csv")),
    ] {
        let error = query(&ctx, &sql).await.unwrap_err();
        assert!(error.contains("is not allowed: semantic.allow_paths"), "{sql}: {error}");
    }
    assert!(!root.path().join("out/new.csv").exists());
    assert_eq!(fs::read_to_string(root.path().join("out/b.csv")).unwrap(), "id\n1\n");
    query(&ctx, &format!("COPY (SELECT 1) TO '{}'", at("in/new.csv"))).await.unwrap();
    query(&ctx, &format!("SELECT upload(x'61', '{}')", at("in/new.txt"))).await.unwrap();

    let ctx = session::with_options(options(&[("allow_paths", &at("in"))])).unwrap();
    for sql in [
        format!("COPY (SELECT 1) TO '{}'", at("in/newer.csv")),
        format!("SELECT upload(x'61', '{}')", at("in/newer.csv")),
    ] {
        let error = query(&ctx, &sql).await.unwrap_err();
        assert!(
            error.contains("writing files is not allowed: semantic.allow_upload is false"),
            "{sql}: {error}"
        );
    }
    assert!(!root.path().join("in/newer.csv").exists());
}

#[tokio::test]
async fn a_program_says_what_queries_reach_and_set_does_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "hello").unwrap();
    let path = folder.path().join("a").display().to_string();
    let download = format!("SELECT arrow_cast(download('{path}'), 'Utf8') AS t");

    // nothing by default
    let ctx = SessionContext::new();
    datafusion_semantic::register_all(&ctx).unwrap();
    let error = query(&ctx, &download).await.unwrap_err();
    assert!(
        error.contains(&format!("download: '{path}' is not allowed: semantic.allow_paths does not list it")),
        "{error}"
    );
    let error = query(&ctx, "SELECT download('https://example.com/x')").await.unwrap_err();
    assert!(
        error.contains("host 'example.com' is not allowed: semantic.allow_hosts does not list it"),
        "{error}"
    );

    let config = SessionConfig::new()
        .with_option_extension(options(&[("allow_paths", &folder.path().display().to_string())]));
    let ctx = SessionContext::new_with_config(config);
    datafusion_semantic::register_all(&ctx).unwrap();
    assert!(query(&ctx, &download).await.unwrap().contains("hello"));
    for sql in [
        "SET semantic.allow_paths = 'all'",
        "SET semantic.allow_hosts = 'all'",
        "SET semantic.allow_upload = true",
        "SET semantic.allow_providers = 'all'",
        "SET semantic.providers.openai.base_url = 'http://localhost:1/v1'",
        "SET semantic.providers.openai.api_key_env = 'HOME'",
        "SET semantic.providers.other.api_key_file = '/etc/hostname'",
        "RESET semantic.allow_paths",
    ] {
        let error = query(&ctx, sql).await.unwrap_err();
        assert!(
            sql.starts_with("RESET")
                || error.contains("is fixed: the program that opened this session sets it"),
            "{sql}: {error}"
        );
    }
    query(&ctx, "SET semantic.providers.transformers.query_prefix = 'query: '").await.unwrap();
    // registering again, and sessions that copy the configuration, change nothing
    datafusion_semantic::register_all(&ctx).unwrap();
    assert!(query(&ctx, "SET semantic.allow_paths = 'all'").await.is_err());
    let copy = SessionContext::new_with_config(ctx.copied_config());
    datafusion_semantic::register_all(&copy).unwrap();
    assert!(query(&copy, "SET semantic.allow_paths = 'all'").await.is_err());
    assert!(query(&copy, "SELECT download('/etc/passwd')").await.is_err());

    // who types at a shell may, and it holds for every statement, however often the extension is registered
    let shell = session::new().unwrap();
    datafusion_semantic::register_all(&shell).unwrap();
    assert!(query(&shell, &download).await.unwrap().contains("hello"));
    query(&shell, "SET semantic.allow_paths = ''").await.unwrap();
    assert!(query(&shell, &download).await.is_err());
    assert!(query(&shell, &format!("SELECT * FROM '{path}'")).await.is_err());
    let external = format!("CREATE EXTERNAL TABLE e STORED AS CSV LOCATION '{path}'");
    assert!(query(&shell, &external).await.unwrap_err().contains("is not allowed"));
    query(&shell, "SET semantic.allow_paths = 'all'").await.unwrap();
    query(&shell, &external).await.unwrap();
    assert!(query(&shell, &download).await.is_ok());
    let error = query(&shell, "SET semantic.allow_hosts = 'a b'").await.unwrap_err();
    assert!(error.contains("semantic.allow_hosts: 'a b' is not a host: write 'all', or a list"), "{error}");
}

#[tokio::test]
async fn a_program_says_to_which_providers_queries_send() {
    let toml = "[semantic]\nallow_providers = 'one'\n\n[semantic.providers.one]\nbase_url = 'http://127.0.0.1:1/v1'\n\n\
                [semantic.providers.other]\nbase_url = 'http://127.0.0.1:1/v1'\n";
    let ctx = session::with_options(SemanticOptions::default()).unwrap();
    // the program may, though `SET` may not
    session::configure(&ctx, toml).unwrap();
    let call = |provider: &str| format!("EXPLAIN SELECT embed_text('x', 'm', '{provider}')");
    query(&ctx, &call("one")).await.unwrap();
    for sql in
        [call("other"), call("lm_studio"), "SELECT embed_text('x', 'openai/text-embedding-3-small')".into()]
    {
        let error = query(&ctx, &sql).await.unwrap_err();
        assert!(
            error.contains("is not allowed: semantic.allow_providers does not list it"),
            "{sql}: {error}"
        );
    }
    session::configure(&ctx, "semantic.allow_providers = ''").unwrap();
    assert!(query(&ctx, &call("one")).await.is_err());
    let error = session::configure(&ctx, "semantic.allow_providers = 'all, one'").unwrap_err().to_string();
    assert!(error.contains("semantic.allow_providers: 'all' stands alone, found 'all, one'"), "{error}");
}

#[tokio::test]
async fn credentials_are_not_sent_to_the_account_that_a_location_names() {
    let ctx = session::new().unwrap();
    for location in
        ["az://c@other.blob.core.windows.net/x.csv", "s3://user:SECRET@bucket/x.csv", "s3://bucket:81/x.csv"]
    {
        let sql = format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{location}'");
        let error = query(&ctx, &sql).await.unwrap_err();
        assert!(error.contains("names more than a bucket or container"), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
}

#[tokio::test]
async fn errors_of_tables_show_no_user_name_and_password() {
    let server = Server::start(|request| match request.path.as_str() {
        "/none.csv" => answer("404 Not Found", "", b""),
        "/broken.csv" => answer("500 Internal Server Error", "", b""),
        _ => answer("200 OK", "", b"no table"),
    });
    let ctx = session::new().unwrap();
    query(&ctx, "SET semantic.file_retries = 0").await.unwrap();
    for (name, expected) in [
        ("none.csv", "file not found: 'http://127.0.0.1"),
        ("broken.csv", "the server answered 500"),
        ("x.txt", ".txt is not supported"),
        ("x.parquet", "as Parquet"),
        ("x.arrow", "as Arrow"),
        ("x%FF.csv", "cannot be listed"),
    ] {
        let sql = format!("SELECT * FROM 'http://user:SECRET@127.0.0.1:{}/{name}'", server.port);
        let error = query(&ctx, &sql).await.unwrap_err();
        assert!(error.contains(expected) && !error.contains("SECRET"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_registered_store_is_written_to_only_where_that_is_allowed() {
    let store = Arc::new(InMemory::new());
    let url = Url::parse("http://files.example").unwrap();
    for (allowed, expected) in [("false", 0), ("true", 1)] {
        let options = options(&[("allow_hosts", "files.example"), ("allow_upload", allowed)]);
        let ctx = session::with_options(options).unwrap();
        ctx.register_object_store(&url, Arc::clone(&store) as _);
        // without the check of the statement, as other front ends run it
        let frame = ctx.sql("COPY (SELECT 1) TO 'http://files.example/a.csv'").await.unwrap();
        let outcome = frame.collect().await;
        assert_eq!(outcome.is_ok(), allowed == "true", "{outcome:?}");
        let written: Vec<_> = store.list(None).collect().await;
        assert_eq!(written.len(), expected);
    }
}
