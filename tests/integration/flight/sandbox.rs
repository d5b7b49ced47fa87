//! What a client may not do.
use std::fmt::Write;
use std::fs;

use super::{query, serve_with, table};
use crate::server::{Server, answer};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_only_reads_what_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().canonicalize().unwrap().join("in");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("a.csv"), "id\n7\n").unwrap();
    let path = |name: &str| inside.join(name).display().to_string();
    let toml = format!("semantic.allow_paths = '{}'", inside.display());
    let init = ["CREATE TABLE t AS SELECT 1 AS id"];
    let serving = serve_with(&toml, &init).await;
    let mut client = serving.client().await;

    for sql in [
        "CREATE TABLE x AS SELECT 1".to_owned(),
        "CREATE VIEW x AS SELECT 1".to_owned(),
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
        "CREATE FUNCTION f(int) RETURNS int RETURN $1 + 1".to_owned(),
        "CREATE SCHEMA x".to_owned(),
        "DROP TABLE t".to_owned(),
        "INSERT INTO t VALUES (2)".to_owned(),
        "EXPLAIN ANALYZE INSERT INTO t VALUES (2)".to_owned(),
        "DELETE FROM t".to_owned(),
        "UPDATE t SET id = 2".to_owned(),
        "SET semantic.allow_paths = 'all'".to_owned(),
        "SET semantic.text_model = 'mock-wide'".to_owned(),
        "RESET semantic.text_model".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "BEGIN".to_owned(),
        format!("COPY (SELECT 1) TO '{}'", path("new.csv")),
        format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{}'", path("new.csv")),
        "COPY (SELECT 1) TO '/tmp/semsql-must-not-be-written.csv'".to_owned(),
    ] {
        let error = query(&mut client, &sql).await.unwrap_err();
        assert!(
            error.contains("the server only reads")
                || error.contains("is not allowed")
                || error.contains("Unsupported SQL statement"),
            "{sql}: {error}"
        );
        // the same by the way of updates, and of prepared statements
        assert!(client.execute_update(sql.clone(), None).await.is_err(), "{sql}");
        assert!(client.prepare(sql.clone(), None).await.is_err(), "{sql}");
    }
    for sql in [
        "SELECT * FROM '/etc/passwd'".to_owned(),
        "SELECT * FROM '/etc/*.conf'".to_owned(),
        "SELECT download('/etc/passwd')".to_owned(),
        "SELECT * FROM read_blob('/etc/passwd')".to_owned(),
        "SELECT download('http://169.254.169.254/latest/meta-data')".to_owned(),
        "SELECT * FROM 'http://127.0.0.1:1/x.csv'".to_owned(),
        "SELECT * FROM 's3://bucket/x.parquet'".to_owned(),
        format!("SELECT upload(x'61', '{}')", path("new.txt")),
        format!("SELECT * FROM '{}'", path("../../etc/passwd")),
    ] {
        let error = query(&mut client, &sql).await.unwrap_err();
        assert!(error.contains("not allowed") || error.contains("not supported"), "{sql}: {error}");
    }
    assert!(!inside.join("new.csv").exists() && !inside.join("new.txt").exists());
    assert!(table(&mut client, &format!("SELECT * FROM '{}'", path("a.csv"))).await.contains('7'));
    assert!(table(&mut client, "SELECT * FROM t").await.contains("| 1  |"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_too_deep_is_an_error_and_not_the_end_of_the_server() {
    let serving = serve_with("", &[]).await;
    let mut client = serving.client().await;
    let nested = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    let error = query(&mut client, &nested).await.unwrap_err();
    assert!(error.contains("nested too deeply"), "{error}");
    let sum = format!("SELECT 1{}", " + 1".repeat(3000));
    assert!(table(&mut client, &sum).await.contains("3001"));
    let long = format!("SELECT '{}'", "x".repeat(2 << 20));
    let error = query(&mut client, &long).await.unwrap_err();
    assert!(error.contains("a statement has at most 1048576 bytes, found 2097161"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_a_failed_provider_says_to_try_again_and_nothing_tells_its_key() {
    const KEY: &str = "sk-TESTKEY-0123456789";
    let provider = Server::start(|request| {
        let key = request.header("authorization").unwrap_or_default();
        let status =
            if request.path.contains("/denied/") { "401 Unauthorized" } else { "500 Internal Server Error" };
        answer(status, "", format!(r#"{{"error":{{"message":"the key {key}"}}}}"#).as_bytes())
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), KEY).unwrap();
    let mut toml = "semantic.max_retries = 0\nsemantic.allow_hosts = 'all'\n".to_owned();
    for name in ["denied", "failing"] {
        let _ = write!(
            toml,
            "semantic.providers.{name}.base_url = '{}/{name}/v1'\nsemantic.providers.{name}.api_key_file = '{}'\n\
             semantic.providers.{name}.dimensions = 3\n",
            provider.url(),
            file.path().display()
        );
    }
    let serving = serve_with(&toml, &[]).await;
    let mut client = serving.client().await;
    for (name, code) in [("denied", "invalid argument"), ("failing", "currently unavailable")] {
        let sql = format!("SELECT embed_text('a', model => 'm', provider => '{name}')");
        let error = query(&mut client, &sql).await.unwrap_err();
        assert!(error.contains(&format!("provider '{name}', model 'm'")), "{error}");
        assert!(error.to_lowercase().contains(code), "{error}");
        assert!(!error.contains("TESTKEY"), "{error}");
    }
}
