//! `semsql serve` as a process: its command line, its log, its signals.
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::StreamExt;
use tonic::transport::Channel;

use super::{query, table};

/// A process that serves, until it is dropped.
pub struct Process {
    child: Child,
    pub port: u16,
    out: BufReader<std::process::ChildStdout>,
}

impl Process {
    /// Waits until it is ready.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_semsql"))
            .args(["serve", "--bind", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let Some(port) = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()) else {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("{line}{error}");
        };
        Self { child, port, out }
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Its status and its log.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.signal("-TERM");
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command that must fail says.
fn refused(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
    let output = command.arg("serve").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub fn hash_password(password: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
    let command = command.arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_when_it_is_ready_logs_no_literal_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(
        folder.join("init.sql"),
        "CREATE TABLE t AS SELECT 1 AS id;\nCREATE VIEW v AS SELECT id + 1 AS id FROM t;",
    )
    .unwrap();
    fs::write(folder.join("auth.toml"), format!("[users]\nada = '{}'", hash_password("correct horse\n")))
        .unwrap();
    fs::write(folder.join("config.toml"), "[server]\nmax_rows = 10\n[semantic]\nthreads = 1\n").unwrap();
    let mut process = Process::start(&[
        "--config",
        &path(folder, "config.toml"),
        "--init",
        &path(folder, "init.sql"),
        "--auth-file",
        &path(folder, "auth.toml"),
        "--metrics",
        "127.0.0.1:0",
    ]);
    let mut line = String::new();
    process.out.read_line(&mut line).unwrap();
    assert!(line.starts_with("semsql: serving metrics at http://127.0.0.1:"), "{line}");

    let channel = Channel::from_shared(format!("http://127.0.0.1:{}", process.port)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client = FlightSqlServiceClient::new(channel.clone());
    client.handshake("ada", "correct horse").await.unwrap();
    let rows = table(&mut client, "SELECT id, 'SECRET' AS s FROM v WHERE 'SECRET' <> 'x'").await;
    assert!(rows.contains("| 2  | SECRET |"), "{rows}");
    let error = query(&mut client, "SELECT CAST('SECRET' AS INT) FROM t").await.unwrap_err();
    assert!(error.contains("Cannot cast string"), "{error}");
    let error = query(&mut client, "SELECT * FROM range(0, 11)").await.unwrap_err();
    assert!(error.contains("max_rows"), "{error}");

    // another password is known after SIGHUP at once
    fs::write(folder.join("auth.toml"), format!("[users]\nada = '{}'", hash_password("battery staple")))
        .unwrap();
    process.signal("-HUP");
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    query(&mut client, "SELECT 1").await.unwrap_err();
    client.clear_token();
    client.handshake("ada", "battery staple").await.unwrap();
    drop((client, channel));

    let (status, log) = process.end();
    assert_eq!(status, Some(0), "{log}");
    for secret in ["SECRET", "correct horse", "battery staple", "Bearer"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    assert_eq!(said("ready").len(), 1);
    assert_eq!(said("ended").len(), 1);
    let ok = said("statement").into_iter().find(|line| line["outcome"] == "ok").unwrap();
    assert_eq!(ok["statement"], "SELECT id, ? AS s FROM v WHERE ? <> ?");
    assert_eq!((&ok["user"], &ok["rows"], &ok["kind"]), (&"ada".into(), &1.into(), &"query".into()));
    assert!(ok["query"].as_str().unwrap().len() == 16 && ok["milliseconds"].is_u64());
    assert!(said("statement").iter().any(|line| line["outcome"] == "error"));
    assert!(said("statement").iter().any(|line| line["outcome"] == "exhausted"));
}

#[test]
fn what_is_configured_wrong_is_refused_before_anything_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        path(folder, name)
    };
    let unknown = write("unknown.toml", "[server]\nport = 1");
    let option = write("option.toml", "[semantic]\nnothing = 1");
    let memory = write("memory.toml", "[server]\nmemory_limit = 'much'");
    let queries = write("queries.toml", "[server]\nmax_queries = 4611686018427387904");
    let time = write("time.toml", "[server]\nquery_seconds = 0");
    let script = write("bad.sql", "SELECT 1;\nSELECT nope;");
    let users = write("auth.toml", "[users]\nada = 'SECRET'");
    let local = ["--bind", "127.0.0.1:0"];
    for (arguments, expected) in [
        (vec!["--bind", "0.0.0.0:0"], "without TLS passwords and data are sent in the clear"),
        (vec!["--bind", "0.0.0.0:0", "--auth-file", &users], "without TLS"),
        (vec!["--config", &unknown], "unknown field `port`"),
        (vec!["--config", &option], "unknown option semantic.nothing"),
        (
            vec!["--config", &memory],
            "memory_limit must be a number of bytes like 67108864 or 64M, found 'much'",
        ),
        (vec!["--config", &queries], "max_queries must be a number from 1 to"),
        (vec!["--config", &time], "query_seconds must be a number from 1, found 0"),
        (vec!["--config", "none.toml"], "cannot read none.toml"),
        ([&local[..], &["--init", &script]].concat(), "bad.sql:2:8: there is no column nope"),
        ([&local[..], &["--auth-file", &users]].concat(), "users.ada must be a hash"),
        ([&local[..], &["--tls-cert", &users]].concat(), "tls_cert and tls_key belong together"),
        (
            [&local[..], &["--tls-cert", &users, "--tls-key", &users]].concat(),
            "the certificate or its key cannot be used",
        ),
    ] {
        let error = refused(&arguments);
        assert!(error.contains(expected) && !error.contains("SECRET"), "{arguments:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_left_open_by_queries_that_are_cancelled() {
    const CANCELS: usize = 60;
    let process = Process::start(&[]);
    let files = || std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).map_or(0, Iterator::count);
    let mut before = 0;
    for number in 0..CANCELS {
        let channel = Channel::from_shared(format!("http://127.0.0.1:{}", process.port)).unwrap();
        let mut client = FlightSqlServiceClient::new(channel.connect().await.unwrap());
        // more rows than a client has room for
        let sql = "SELECT value, repeat('x', 1000) AS t FROM range(0, 10000000)".to_owned();
        let info = client.execute(sql, None).await.unwrap();
        let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        rows.next().await.unwrap().unwrap();
        if number == CANCELS / 6 {
            before = files();
        }
    }
    super::until("files are closed", || files() <= before + CANCELS / 4).await;
}
