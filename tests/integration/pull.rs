//! Models by name, from a server that speaks the hub's routes, with another one for its large files.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::local_models::home_of_the_tests;
use crate::server::{Request, Server, answer, file, redirect};
use crate::tiny_models::{Folder, image_tower_graph, table_bytes, text_graph, text_tower_graph, tokenizer};

const TOKEN: &str = "hf_TESTTOKEN0123456789";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// What the server has and does.
#[derive(Default)]
struct State {
    /// Of each repository, the files at the one commit.
    repositories: Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>,
    commit: Mutex<String>,
    /// Bytes of large files after which answers break off.
    cut: AtomicUsize,
    /// Whether large files are others than the listing says.
    wrong: AtomicBool,
    /// Whether ranges are ignored; answers that break off do so at places that change, then.
    whole: AtomicBool,
    answers: AtomicUsize,
}

struct Hub {
    server: Server,
    content: Arc<Server>,
    state: Arc<State>,
    home: tempfile::TempDir,
}

impl Hub {
    /// With the model `o/n` of two dimensions.
    fn start() -> Self {
        let state = Arc::new(State::default());
        *state.commit.lock().unwrap() = COMMIT.to_owned();
        let of_content = Arc::clone(&state);
        let content = Arc::new(Server::start(move |request| large_file(&of_content, request)));
        let (of_hub, url) = (Arc::clone(&state), content.url());
        let server = Server::start(move |request| hub_answer(&of_hub, &url, request));
        let home = tempfile::tempdir().unwrap();
        let runtime = home_of_the_tests().join("onnxruntime");
        std::os::unix::fs::symlink(runtime, home.path().join("onnxruntime")).unwrap();
        let hub = Self { server, content, state, home };
        for (path, bytes) in [
            ("config.json", br#"{"hidden_size": 2}"#.to_vec()),
            ("tokenizer.json", tokenizer(false, "null").into_bytes()),
            ("onnx/model.onnx", text_graph(None)),
            ("odd~name:of a\\file", b"which is not needed".to_vec()),
            ("pytorch_model.bin", b"a pickle".to_vec()),
            ("README.md", b"---\nlicense: mit\n---".to_vec()),
        ] {
            hub.put("o/n", path, bytes);
        }
        hub
    }

    fn put(&self, repository: &str, path: &str, bytes: impl Into<Vec<u8>>) {
        let mut repositories = self.state.repositories.lock().unwrap();
        repositories.entry(repository.to_owned()).or_default().insert(path.to_owned(), bytes.into());
    }

    /// Everything is another commit's from now on.
    fn commit(&self, digit: &str) {
        *self.state.commit.lock().unwrap() = digit.repeat(40);
    }

    fn remove(&self, repository: &str, path: &str) {
        self.state.repositories.lock().unwrap().get_mut(repository).unwrap().remove(path);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
        command
            .args(arguments)
            .env("SEMSQL_HOME", self.home.path())
            .env("HF_HUB_CACHE", self.home.path().join("of libraries"))
            .env("HF_ENDPOINT", self.server.url())
            .env("HF_TOKEN", TOKEN)
            .env_remove("ORT_DYLIB_PATH");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(TOKEN));
        output
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// The rows of a query.
    #[track_caller]
    fn rows(&self, sql: &str) -> Vec<String> {
        self.ok(&["--format", "csv", "-c", sql]).lines().skip(1).map(ToOwned::to_owned).collect()
    }

    fn models(&self) -> PathBuf {
        self.home.path().join("models")
    }

    /// The files below the folder of models, but for locks.
    fn files(&self) -> Vec<String> {
        let (mut files, mut folders) = (vec![], vec![self.models()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path().is_dir() {
                    true => folders.push(entry.path()),
                    false => {
                        files.push(entry.path().strip_prefix(self.models()).unwrap().display().to_string());
                    }
                }
            }
        }
        files.retain(|file| !file.contains(".lock"));
        files.sort();
        files
    }
}

/// Files of more bytes than these are in large file storage.
const LARGE: usize = 150;

fn hub_answer(state: &State, content: &str, request: &Request) -> Vec<u8> {
    let path = request.path.split('?').next().unwrap();
    let commit = state.commit.lock().unwrap().clone();
    for (repository, files) in &*state.repositories.lock().unwrap() {
        let api = format!("/api/models/{repository}/");
        if let Some(revision) = path.strip_prefix(&api).and_then(|rest| rest.strip_prefix("revision/")) {
            if !["main", "v1", &commit].contains(&revision) {
                return answer("404 Not Found", "x-error-code: RevisionNotFound\r\n", b"BODY");
            }
            let text = json!({"sha": commit, "cardData": {"license": "apache-2.0"}, "tags": []}).to_string();
            return answer("200 OK", "", text.as_bytes());
        }
        if path == format!("{api}tree/{commit}") {
            let entries: Vec<_> = files.iter().map(|(path, bytes)| entry(path, bytes)).collect();
            return answer("200 OK", "", serde_json::to_string(&entries).unwrap().as_bytes());
        }
        if let Some(name) = path.strip_prefix(&format!("/{repository}/resolve/{commit}/")) {
            return match files.get(name) {
                Some(bytes) if bytes.len() <= LARGE => file(request, bytes),
                Some(_) => redirect(&format!("{content}/{repository}/{name}?SIGNATURE=1")),
                None => answer("404 Not Found", "x-error-code: EntryNotFound\r\n", b"BODY"),
            };
        }
    }
    answer("404 Not Found", "x-error-code: RepoNotFound\r\n", b"BODY")
}

fn entry(path: &str, bytes: &[u8]) -> serde_json::Value {
    let git = Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize();
    match bytes.len() > LARGE {
        false => json!({"type": "file", "oid": hex(git), "size": bytes.len(), "path": path}),
        // in git there is a pointer, of which the identity is
        true => json!({"type": "file", "oid": "0".repeat(40), "size": bytes.len(), "path": path,
                       "lfs": {"oid": hex(Sha256::digest(bytes)), "size": bytes.len(), "pointerSize": 134}}),
    }
}

fn large_file(state: &State, request: &Request) -> Vec<u8> {
    let path = request.path.split('?').next().unwrap().trim_start_matches('/');
    let repositories = state.repositories.lock().unwrap();
    let found = repositories.iter().find_map(|(repository, files)| {
        files.get(path.strip_prefix(repository.as_str())?.strip_prefix('/')?)
    });
    let mut bytes = found.unwrap().clone();
    if state.wrong.load(Ordering::Relaxed) && path.contains(".onnx") {
        bytes[LARGE] ^= 1;
    }
    let mut request = request.clone();
    if state.whole.load(Ordering::Relaxed) {
        request.headers.retain(|(name, _)| name != "range");
    }
    let mut answer = file(&request, &bytes);
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    match state.cut.load(Ordering::Relaxed) {
        0 => {}
        cut if state.whole.load(Ordering::Relaxed) => {
            let odd = state.answers.fetch_add(1, Ordering::Relaxed) % 2;
            answer.truncate(head + cut / (1 + odd));
        }
        cut => answer.truncate(head + cut),
    }
    answer
}

const EMBED: &str = "SELECT embed_text('b', model => 'o/n')";

#[test]
fn a_name_is_enough() {
    let hub = Hub::start();
    assert_eq!(hub.rows(EMBED), ["\"[5.0,8.0]\""]);
    let expected = ["o/n/config.json", "o/n/onnx/model.onnx", "o/n/pull.json", "o/n/tokenizer.json"];
    assert_eq!(hub.files(), expected);
    // the token is for the hub, and not for where its files are
    let (asked, content) = (hub.server.take(), hub.content.take());
    assert!(asked.iter().all(|request| request.header("authorization").unwrap().ends_with(TOKEN)));
    assert!(!content.is_empty());
    assert!(content.iter().all(|request| request.header("authorization").is_none()), "{content:?}");
    assert!(asked.iter().all(|request| !request.path.contains(".bin")));

    // it is here, under each of its names
    for name in ["o/n", "n", "o/n@main", &format!("o/n@{}", &COMMIT[..10]), "o/n@fp32"] {
        let sql = format!(
            "SELECT cosine_distance(embed_text('b', model => '{name}'), embed_text('b', model => 'n'))"
        );
        assert_eq!(hub.rows(&sql), ["0.0"], "{name}");
    }
    let sql = "SELECT model, kind, dimensions, max_tokens, revision, licence, bytes > 1000, path FROM models() WHERE provider = 'transformers'";
    let path = hub.models().join("o/n").display().to_string();
    assert_eq!(hub.rows(sql), [format!("o/n,text,2,512,{COMMIT},apache-2.0,true,{path}")]);
    let sql = "SELECT kind, dimensions, path IS NULL FROM models() WHERE provider = 'openai' AND model = 'text-embedding-3-small'";
    assert_eq!(hub.rows(sql), ["text,1536,true"]);
    assert!(hub.server.take().is_empty());
}

#[test]
fn nothing_is_asked_while_planning_offline_or_where_it_is_not_allowed() {
    let hub = Hub::start();
    let here = format!("model 'o/n' is not on this machine: in {} there is no model", hub.models().display());
    for (sql, expected) in [
        (format!("EXPLAIN {EMBED}"), "`semsql models pull o/n` fetches it from the hub"),
        (
            format!("SET semantic.offline = true; {EMBED}"),
            "semantic.offline is true; `semsql models pull o/n`",
        ),
        (
            format!("SET semantic.allow_hosts = 'example.com'; {EMBED}"),
            "'hf://models' is not allowed: semantic.allow_hosts does not list it; `semsql models pull o/n`",
        ),
    ] {
        let error = hub.error(&["-c", &sql]);
        assert!(error.contains(&here) && error.contains(expected), "{sql}: {error}");
    }
    assert!(hub.server.take().is_empty());
    let server = format!("127.0.0.1:{}", hub.content.port);
    let sql = format!("SET semantic.allow_hosts = 'hf://models, {server}'; {EMBED}");
    assert_eq!(hub.rows(&sql).last().unwrap(), "\"[5.0,8.0]\"");
    // once it is here none of this matters
    let sql = format!("SET semantic.allow_hosts = ''; SET semantic.offline = true; {EMBED}");
    assert_eq!(hub.rows(&sql).last().unwrap(), "\"[5.0,8.0]\"");
}

/// A program that allows nothing is told what to do; one that plans without our entry is, too.
#[tokio::test]
async fn a_program_that_allows_nothing_fetches_nothing() {
    use datafusion::prelude::SessionContext;
    use datafusion_semantic::{register_all, session};

    let sql = "SELECT embed_text('b', model => 'nobody/knows-this-model')";
    let ctx = SessionContext::new();
    register_all(&ctx).unwrap();
    let error = session::sql(&ctx, sql).await.unwrap_err().to_string();
    assert!(
        error.contains("'hf://models' is not allowed") && error.contains("semsql models pull nobody/"),
        "{error}"
    );
    let error = session::new().unwrap().sql(sql).await.unwrap_err().to_string();
    assert!(
        error.contains("is not on this machine") && error.contains("semsql models pull nobody/"),
        "{error}"
    );
}

#[test]
fn a_file_that_breaks_off_is_read_on() {
    let hub = Hub::start();
    hub.state.cut.store(100, Ordering::Relaxed);
    hub.ok(&["models", "pull", "o/n"]);
    let ranges: Vec<_> =
        hub.content.take().iter().filter_map(|request| request.header("range").map(str::to_owned)).collect();
    assert!(
        ranges.contains(&"bytes=100-".to_owned()) && ranges.contains(&"bytes=200-".to_owned()),
        "{ranges:?}"
    );
    assert_eq!(hub.rows(EMBED), ["\"[5.0,8.0]\""]);
}

#[test]
fn a_pull_that_was_killed_leaves_nothing_and_is_gone_on_with() {
    let hub = Hub::start();
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let graph = [&text_graph(None)[..], &[0x7a, 0x80, 0xb6, 0xdc, 0x05][..], &large].concat();
    hub.put("o/n", "onnx/model.onnx", graph.clone());
    // every answer breaks off, so that it takes long
    hub.state.cut.store(200_000, Ordering::Relaxed);
    let mut killed = hub.command(&["models", "pull", "o/n"]).stderr(Stdio::null()).spawn().unwrap();
    let mut answered = 0;
    while answered < 3 {
        answered += hub.content.take().len();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(hub.files().iter().all(|file| file.starts_with(".pulling/")), "{:?}", hub.files());
    assert!(hub.rows("SELECT model FROM models() WHERE provider = 'transformers'").is_empty());
    hub.content.take();
    hub.state.cut.store(0, Ordering::Relaxed);
    hub.ok(&["models", "pull", "o/n"]);
    let asked = hub.content.take();
    let range = asked.iter().find(|request| request.path.contains("model.onnx")).unwrap().header("range");
    assert!(range.is_some_and(|range| range != "bytes=0-"), "{asked:?}");
    assert_eq!(fs::read(hub.models().join("o/n/onnx/model.onnx")).unwrap(), graph);
    assert!(hub.files().iter().all(|file| file.starts_with("o/n/")), "{:?}", hub.files());
}

#[test]
fn a_server_without_ranges_costs_time_only() {
    let hub = Hub::start();
    let part = hub.models().join(format!(".pulling/o%2Fn={COMMIT}/.parts"));
    fs::create_dir_all(&part).unwrap();
    let graph = text_graph(None);
    fs::write(part.join(format!("onnx--model.onnx-{}", hex(Sha256::digest(&graph)))), &graph[..50]).unwrap();
    hub.state.whole.store(true, Ordering::Relaxed);
    hub.ok(&["models", "pull", "o/n"]);
    assert_eq!(
        hub.content.take().iter().filter(|request| request.header("range") == Some("bytes=50-")).count(),
        1
    );
    assert_eq!(fs::read(hub.models().join("o/n/onnx/model.onnx")).unwrap(), graph);
    // and where it never gets further, an end
    let hub = Hub::start();
    hub.state.whole.store(true, Ordering::Relaxed);
    hub.state.cut.store(100, Ordering::Relaxed);
    assert!(hub.error(&["models", "pull", "o/n"]).contains("cannot fetch"));
}

#[test]
fn what_does_not_match_its_hash_is_refused() {
    let hub = Hub::start();
    hub.state.wrong.store(true, Ordering::Relaxed);
    let error = hub.error(&["-c", EMBED]);
    assert!(
        error.contains("has SHA-256") && error.contains("the hub lists") && error.contains("it was deleted"),
        "{error}"
    );
    assert!(hub.files().iter().all(|file| !file.contains("onnx")), "{:?}", hub.files());
    // a beginning that was left behind, and is another file's
    hub.state.wrong.store(false, Ordering::Relaxed);
    let part = hub.models().join(format!(".pulling/o%2Fn={COMMIT}/.parts"));
    let name = format!("onnx--model.onnx-{}", hex(Sha256::digest(text_graph(None))));
    fs::write(part.join(name), b"not this file").unwrap();
    assert!(hub.error(&["models", "pull", "o/n"]).contains("it was deleted; try again"));
    // what is begun is removed by the name of the model
    assert!(!hub.files().is_empty());
    assert_eq!(hub.ok(&["models", "remove", "o/n"]), "removed o/n\n");
    assert!(hub.files().is_empty(), "{:?}", hub.files());
    hub.ok(&["models", "pull", "o/n"]);
}

#[test]
fn two_processes_fetch_one_after_the_other() {
    let hub = Hub::start();
    hub.state.cut.store(40, Ordering::Relaxed);
    let pulls: Vec<_> =
        (0..3).map(|_| hub.command(&["-c", EMBED]).stdout(Stdio::piped()).spawn().unwrap()).collect();
    for pull in pulls {
        assert!(pull.wait_with_output().unwrap().status.success());
    }
    let whole = hub
        .content
        .take()
        .iter()
        .filter(|request| request.path.contains("onnx") && request.header("range").is_none())
        .count();
    assert_eq!(whole, 1);
}

#[test]
fn files_outside_of_the_folder_are_refused() {
    let hub = Hub::start();
    hub.put("o/evil", "../../escaped", "x");
    hub.put("o/evil", "config.json", "{}");
    let error = hub.error(&["models", "pull", "o/evil"]);
    assert!(
        error.contains("the hub lists a file '../../escaped': it would be outside of the model's folder"),
        "{error}"
    );
    hub.put("o/n", "onnx/model.onnx", text_graph(Some("../../../secret")));
    let error = hub.error(&["models", "pull", "o/n"]);
    assert!(error.contains("keeps weights in '../../../secret', outside of its own folder"), "{error}");
    hub.commit("a");
    hub.put("o/n", "onnx/model.onnx", text_graph(Some("missing.data")));
    let error = hub.error(&["models", "pull", "o/n"]);
    assert!(error.contains("keeps weights in 'missing.data', which it does not have"), "{error}");
    // what nobody can use is not kept
    assert!(hub.files().is_empty(), "{:?}", hub.files());
    for name in ["../x", "o/n/x", "o/..", "a@b@c@d", ""] {
        let error = hub.error(&["models", "pull", name]);
        assert!(error.contains("names no model of the hub"), "{name}: {error}");
    }
    // weights beside the graph are fetched with it
    hub.commit("b");
    hub.put("o/n", "onnx/model.onnx", text_graph(Some("model.onnx_data")));
    hub.put("o/n", "onnx/model.onnx_data", table_bytes());
    assert_eq!(hub.rows(EMBED), ["\"[5.0,8.0]\""]);
}

#[test]
fn a_revision_is_a_model_of_its_own_and_pull_brings_the_newest() {
    let hub = Hub::start();
    hub.ok(&["models", "pull", "o/n@v1"]);
    assert!(hub.models().join("o/n@v1/pull.json").is_file());
    let error = hub.error(&["-c", "SELECT embed_text('b', model => 'o/n@v2')"]);
    assert!(error.contains("the repository has no such revision"), "{error}");
    hub.ok(&["models", "pull", "o/n"]);
    let sql = "SELECT cosine_distance(embed_text('b', model => 'o/n'), embed_text('b', model => 'o/n@v1'))";
    assert!(hub.error(&["-c", sql]).contains("different spaces, 'o/n' and 'o/n@v1'"));

    // another commit, with another limit
    hub.commit("f");
    hub.put("o/n", "sentence_bert_config.json", r#"{"max_seq_length": 7}"#);
    let sql = "SELECT max_tokens FROM models() WHERE model = 'o/n'";
    assert_eq!((hub.rows(EMBED), hub.rows(sql)), (vec!["\"[5.0,8.0]\"".to_owned()], vec!["512".to_owned()]));
    assert!(hub.ok(&["models", "pull", "o/n"]).starts_with("pulled o/n at ffffffffffff"));
    assert_eq!(hub.rows(sql), ["7"]);
    assert!(hub.ok(&["models", "pull", "o/n"]).starts_with("is here: o/n at ffffffffffff"));
    assert!(hub.files().iter().all(|file| !file.starts_with(".pulling")), "{:?}", hub.files());
}

#[test]
fn a_variant_is_added_to_a_model_that_is_here() {
    let hub = Hub::start();
    hub.put("o/n", "onnx/model_q4.onnx", [&text_graph(None)[..], &[0x7a, 1, 0]].concat());
    assert_eq!(hub.rows(EMBED).len(), 1);
    assert!(!hub.files().contains(&"o/n/onnx/model_q4.onnx".to_owned()));
    hub.server.take();
    assert_eq!(hub.rows("SELECT embed_text('b', model => 'o/n@q4')"), ["\"[5.0,8.0]\""]);
    assert!(hub.files().contains(&"o/n/onnx/model_q4.onnx".to_owned()));
    // the commit that is here, and only what was missing
    let asked = hub.server.take_paths();
    assert_eq!(
        asked,
        [
            format!("/api/models/o/n/tree/{COMMIT}?recursive=true"),
            format!("/o/n/resolve/{COMMIT}/onnx/model_q4.onnx")
        ]
    );
    hub.ok(&["models", "verify", "o/n"]);
    // the newest commit has both
    hub.commit("e");
    assert!(hub.ok(&["models", "pull", "o/n"]).starts_with("pulled o/n at eeeeeeeeeeee"));
    for name in ["o/n@q4", "o/n@fp32"] {
        let sql = format!("SET semantic.offline = true; SELECT embed_text('b', model => '{name}')");
        assert_eq!(hub.rows(&sql).last().unwrap(), "\"[5.0,8.0]\"", "{name}");
    }
    let error = hub.error(&["-c", "SELECT embed_text('b', model => 'o/n@int8')"]);
    assert!(error.contains("it has no variant 'int8': there are 'fp32', 'q4'"), "{error}");
}

#[test]
fn models_are_listed_verified_and_removed() {
    let hub = Hub::start();
    assert!(hub.error(&["models", "verify", "o/n"]).contains("no model 'o/n' in"));
    hub.ok(&["models", "pull", "o/n"]);
    assert!(hub.ok(&["models", "list"]).contains("o/n"));
    assert_eq!(hub.ok(&["models", "verify", "n"]), "o/n is as it was fetched\n");
    let config = hub.models().join("o/n/config.json");
    fs::write(&config, r#"{"hidden_size": 3}"#).unwrap();
    let error = hub.error(&["models", "verify", "o/n"]);
    assert!(error.contains("o/n is not as it was fetched: config.json has SHA-256"), "{error}");
    fs::remove_file(&config).unwrap();
    fs::write(&config, "{}").unwrap();
    let error = hub.error(&["models", "verify", "o/n"]);
    assert!(error.contains("config.json has 2 bytes, expected 18"), "{error}");
    assert!(error.contains("`semsql models pull o/n` fetches what is missing or wrong"), "{error}");
    // a pull does, of no more than that
    hub.content.take();
    assert!(hub.ok(&["models", "pull", "o/n"]).starts_with("pulled o/n"));
    hub.ok(&["models", "verify", "o/n"]);
    assert!(hub.content.take().is_empty());
    let graph = hub.models().join("o/n/onnx/model.onnx");
    let damaged = fs::read(&graph).unwrap().iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
    fs::remove_file(&graph).unwrap();
    fs::write(&graph, damaged).unwrap();
    assert!(hub.error(&["models", "verify", "o/n"]).contains("onnx/model.onnx has SHA-256"));
    hub.ok(&["models", "pull", "o/n"]);
    hub.ok(&["models", "verify", "o/n"]);
    // and what is missing comes back when it is needed
    for file in ["config.json", "onnx/model.onnx"] {
        fs::remove_file(hub.models().join("o/n").join(file)).unwrap();
        assert_eq!(hub.rows(EMBED), ["\"[5.0,8.0]\""], "{file}");
    }
    // what was added and would be read is not as it was fetched; a user's prompts stay
    fs::write(hub.models().join("o/n/config_sentence_transformers.json"), "{}").unwrap();
    fs::write(hub.models().join("o/n/notes.txt"), "").unwrap();
    let error = hub.error(&["models", "verify", "o/n"]);
    assert!(error.contains("fetched: config_sentence_transformers.json was not fetched with it;"), "{error}");
    fs::remove_file(&config).unwrap();
    hub.ok(&["models", "pull", "o/n"]);
    assert!(hub.files().contains(&"o/n/config_sentence_transformers.json".to_owned()));
    // a manifest without a hash proves nothing
    let manifest = hub.models().join("o/n/pull.json");
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    text["sha256"].as_object_mut().unwrap().remove("config.json");
    fs::write(&manifest, text.to_string()).unwrap();
    assert!(hub.error(&["models", "verify", "o/n"]).contains("config.json has no known SHA-256"));
    assert_eq!(hub.ok(&["models", "remove", "o/n"]), "removed o/n\n");
    assert!(hub.files().is_empty(), "{:?}", hub.files());
    assert!(hub.error(&["models", "remove", "o/n"]).contains("no model 'o/n'"));
    // what somebody else has put there is not replaced
    let own = Folder::text();
    copy(own.path(), &hub.models().join("o/n"));
    let error = hub.error(&["models", "pull", "o/n"]);
    assert!(error.contains("was not fetched from the hub: delete it first"), "{error}");
}

#[test]
fn a_repository_that_cannot_be_run_says_why() {
    let hub = Hub::start();
    hub.remove("o/n", "onnx/model.onnx");
    let error = hub.error(&["models", "pull", "o/n"]);
    assert!(
        error.contains(
            "neither onnx/model.onnx nor model.safetensors, and pickled weights (.bin, .pt) are not read"
        ),
        "{error}"
    );
    let error = hub.error(&["models", "pull", "o/unknown"]);
    assert!(
        error.contains("there is no such repository, or the token (that of HF_TOKEN) may not read it"),
        "{error}"
    );
    assert!(!error.contains("BODY"));
    // an answer that is final is asked for once
    hub.server.take();
    hub.error(&["models", "pull", "o/unknown"]);
    assert_eq!(hub.server.take_paths(), ["/api/models/o/unknown/revision/main"]);
    // names without an owner are those of sentence-transformers
    hub.error(&["models", "pull", "n"]);
    assert!(
        hub.server.take_paths().contains(&"/api/models/sentence-transformers/n/revision/main".to_owned())
    );
}

/// What its settings say is known before gigabytes are fetched.
#[test]
fn no_weights_are_fetched_of_a_model_that_cannot_be_run() {
    let hub = Hub::start();
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    for (repository, file, content) in [
        ("o/unknown-family", "model.safetensors.index.json", index),
        ("o/unknown-family", "config.json", r#"{"model_type": "qwen3", "hidden_size": 2}"#),
        ("o/unknown-family", "model-00002-of-00002.safetensors", "x"),
        ("o/lost-part", "model.safetensors.index.json", index),
        ("o/lost-part", "config.json", r#"{"model_type": "bert", "hidden_size": 2}"#),
        ("o/pickled-layer", "onnx/model.onnx", "x"),
        ("o/pickled-layer", "config.json", r#"{"hidden_size": 2}"#),
        ("o/pickled-layer", "modules.json", r#"[{"path": "2_Dense", "type": "x.Dense"}]"#),
        ("o/pickled-layer", "2_Dense/config.json", r#"{"in_features": 2, "out_features": 2}"#),
        ("o/pickled-layer", "2_Dense/pytorch_model.bin", "x"),
        ("o/unknown-module", "model.safetensors", "x"),
        ("o/unknown-module", "config.json", r#"{"model_type": "bert", "hidden_size": 2}"#),
        ("o/unknown-module", "modules.json", r#"[{"path": "1_Router", "type": "x.Router"}]"#),
    ] {
        hub.put(repository, file, content);
        hub.put(repository, "tokenizer.json", tokenizer(false, "null"));
        hub.put(repository, "model-00001-of-00002.safetensors", "x".repeat(2 * LARGE));
    }
    for (name, expected) in [
        ("o/unknown-family", "model_type is 'qwen3', known are bert,"),
        ("o/lost-part", "keeps weights in 'model-00002-of-00002.safetensors', which it does not have"),
        ("o/pickled-layer", "has no file 2_Dense/model.safetensors; pickled weights (.bin) are not read"),
        ("o/unknown-module", "cannot fetch model 'o/unknown-module'"),
    ] {
        let error = hub.error(&["models", "pull", name]);
        assert!(error.contains(expected), "{name}: {error}");
    }
    let asked = [hub.server.take_paths(), hub.content.take_paths()].concat();
    let weights = |path: &&String| [".onnx", ".safetensors"].iter().any(|end| path.ends_with(end));
    assert_eq!(asked.iter().find(weights), None);
    assert!(hub.files().is_empty(), "{:?}", hub.files());
}

#[test]
fn weights_in_parts_come_with_their_index() {
    let hub = Hub::start();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/architectures/bert-f16");
    for file in fs::read_dir(model).unwrap().flatten() {
        hub.put("o/parts", file.file_name().to_str().unwrap(), fs::read(file.path()).unwrap());
    }
    hub.put("o/parts", "onnx/model_q4.onnx", text_graph(None));
    hub.put("o/parts", "model-00003-of-00003.safetensors", "of another index");
    let index = "o/parts/model.safetensors.index.json".to_owned();
    // an index without its files would be a model that is here, and cannot be run
    hub.ok(&["models", "pull", "o/parts@q4"]);
    assert!(!hub.files().contains(&index));
    let sql = "SELECT cardinality(embed_text('a', model => 'o/parts'))";
    assert_eq!(hub.rows(sql), ["16"]);
    let files = hub.files();
    assert!(files.contains(&index) && files.contains(&"o/parts/onnx/model_q4.onnx".to_owned()), "{files:?}");
    assert!(!files.contains(&"o/parts/model-00003-of-00003.safetensors".to_owned()));
    // a part that is lost is fetched again
    fs::remove_file(hub.models().join("o/parts/model-00002-of-00002.safetensors")).unwrap();
    assert_eq!(hub.rows(sql), ["16"]);
}

#[test]
fn what_one_of_two_towers_needs_is_fetched() {
    let hub = Hub::start();
    let config = r#"{"model_type": "clip", "projection_dim": 3, "text_config": {}, "vision_config": {}}"#;
    let pixels = r#"{"size": 2, "crop_size": 2, "do_normalize": false}"#;
    for (path, bytes) in [
        ("config.json", config.as_bytes().to_vec()),
        ("preprocessor_config.json", pixels.as_bytes().to_vec()),
        ("tokenizer.json", tokenizer(false, "null").into_bytes()),
        ("onnx/text_model.onnx", text_tower_graph()),
        ("onnx/vision_model.onnx", image_tower_graph()),
    ] {
        hub.put("o/towers", path, bytes);
    }
    hub.ok(&["models", "pull", "o/towers"]);
    let vision = hub.models().join("o/towers/onnx/vision_model.onnx");
    fs::remove_file(&vision).unwrap();
    assert_eq!(hub.rows("SELECT embed_text('a', model => 'o/towers')"), ["\"[1.0,2.0,1.0]\""]);
    assert!(!vision.exists());
    let sql = "SELECT cardinality(embed_image(download('sql/data/photos/cat.png'), model => 'o/towers'))";
    assert_eq!(hub.rows(sql), ["3"]);
    assert!(vision.exists());
}

#[test]
fn the_cache_of_the_libraries_is_read() {
    let hub = Hub::start();
    let model = Folder::text();
    let repository = hub.home.path().join("of libraries/models--x--y");
    copy(model.path(), &repository.join("snapshots/abcdef0"));
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), "abcdef0").unwrap();
    // as a library leaves it that pools nothing: how the model does is not known
    let sql = "SET semantic.offline = true; SELECT embed_text('b', model => 'x/y')";
    let error = hub.error(&["-c", sql]);
    assert!(
        error.contains("the cache of the Hugging Face libraries has it in")
            && error.contains(
                "snapshots/abcdef0 without modules.json, which says how vectors are made of tokens"
            )
            && error.contains("semantic.offline is true"),
        "{error}"
    );
    assert!(hub.rows("SELECT model FROM models() WHERE provider = 'transformers'").is_empty());
    let known = repository.join(".no_exist/abcdef0");
    fs::create_dir_all(&known).unwrap();
    fs::write(known.join("modules.json"), "").unwrap();
    assert_eq!(hub.rows("SELECT embed_text('b', model => 'y')"), ["\"[5.0,8.0]\""]);
    assert_eq!(hub.rows("SELECT embed_text('b', model => 'x/y')"), ["\"[5.0,8.0]\""]);
    let sql = "SELECT model, revision FROM models() WHERE provider = 'transformers'";
    assert_eq!(hub.rows(sql), ["x/y,abcdef0"]);
    assert!(hub.server.take().is_empty());
    assert!(hub.error(&["models", "remove", "x/y"]).contains("which is only read"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
