//! The clients that people have: ADBC's Flight SQL driver and pyarrow, with TLS and users, where they are installed.
//!
//! `FLIGHT_PYTHON`, else `~/.cache/semsql-bench/venv-flight/bin/python`, else `python3` is asked for the packages
//! `adbc-driver-flightsql`, `adbc-driver-manager` and `pyarrow`.
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};

use super::process::{Process, hash_password};

fn python() -> Option<String> {
    let own = std::env::var("HOME").unwrap_or_default() + "/.cache/semsql-bench/venv-flight/bin/python";
    let candidates = [std::env::var("FLIGHT_PYTHON").ok(), Some(own), Some("python3".to_owned())];
    candidates.into_iter().flatten().find(|python| {
        let packages = "import adbc_driver_flightsql.dbapi, pyarrow.flight";
        let output = Command::new(python).args(["-c", packages]).output();
        output.is_ok_and(|output| output.status.success())
    })
}

/// Runs a script of Python; false where Python lacks the packages.
fn run(script: &str, arguments: &[&str]) -> bool {
    let Some(python) = python() else {
        println!("skipped: no Python with adbc-driver-flightsql and pyarrow; set FLIGHT_PYTHON to one");
        return false;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = Command::new(python).arg(&script).args(arguments).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}\n{error}", script.display());
    println!("{out}");
    true
}

#[test]
fn adbc_and_pyarrow_query_with_tls_and_users() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(path("auth.toml"), format!("[users]\nada = '{}'", hash_password("correct horse")))
        .unwrap();
    let init =
        "CREATE TABLE documents (id INT, text VARCHAR) AS VALUES (1, 'a cat'), (2, NULL), (3, 'the dogs');";
    std::fs::write(path("init.sql"), init).unwrap();
    let process = Process::start(&[
        "--tls-cert",
        &path("cert.pem"),
        "--tls-key",
        &path("key.pem"),
        "--auth-file",
        &path("auth.toml"),
        "--init",
        &path("init.sql"),
        "--allow-writes",
    ]);
    let uri = format!("grpc+tls://localhost:{}", process.port);
    run("tests/flight_clients.py", &[&uri, &path("cert.pem"), "ada", "correct horse"]);
}

#[test]
fn the_example_in_python_runs() {
    let process = Process::start(&["--allow-writes"]);
    run("examples/flight_client.py", &[&format!("grpc://127.0.0.1:{}", process.port)]);
}
