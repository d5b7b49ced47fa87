//! `hf://` against a server that speaks the hub's listing and resolve routes, with another one for its content.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::json;

use crate::server::{Request, Server, answer, file, redirect};

const TOKEN: &str = "hf_TESTTOKEN0123456789";

/// A hub with the public dataset `x/y`, whose large files are at another host, and the private one `x/secret`.
struct Hub {
    server: Server,
    content: Arc<Server>,
    folder: tempfile::TempDir,
}

impl Hub {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        write(&root, "images/a.png", b"content of a");
        write(&root, "images/b c.png", b"content of b");
        write(&root, "images/.hidden.png", b"");
        write(&root, "images/deep/d.png", b"content of d");
        write(&root, "images/empty.png", b"");
        write(&root, "data/part=1/rows.csv", b"id,name\n1,one\n2,two\n");
        write(&root, "data/part=2/rows.csv", b"id,name\n3,three\n");
        let at_content = root.clone();
        let content = Arc::new(Server::start(move |request| {
            match fs::read(
                at_content.join(decoded(request.path.trim_start_matches("/cdn/").split('?').next().unwrap())),
            ) {
                Ok(body) => file(request, &body),
                Err(_) => answer("404 Not Found", "", b""),
            }
        }));
        let content_url = content.url();
        let server = Server::start(move |request| hub_answer(request, &root, &content_url));
        Self { server, content, folder }
    }

    fn command(&self, sql: &str, token: Option<&str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
        command
            .args(["--format", "csv", "-c", sql])
            .env("HF_ENDPOINT", self.server.url())
            .env_remove("HF_TOKEN");
        if let Some(token) = token {
            command.env("HF_TOKEN", token);
        }
        command
    }

    fn run(&self, sql: &str, token: Option<&str>) -> Output {
        self.command(sql, token).output().unwrap()
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let output = self.run(sql, Some(TOKEN));
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().skip(1).map(ToOwned::to_owned).collect()
    }

    fn error(&self, sql: &str, token: Option<&str>) -> String {
        let output = self.run(sql, token);
        assert!(!output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stdout));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!error.contains(TOKEN) && !error.contains("SIGNATURE"), "{error}");
        error
    }
}

fn write(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn decoded(path: &str) -> PathBuf {
    path.replace("%20", " ").replace("%C3%A9", "é").into()
}

fn hub_answer(request: &Request, root: &Path, content: &str) -> Vec<u8> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let known = request.header("authorization") == Some(&format!("Bearer {TOKEN}"));
    if path.contains("/x/secret/") && !known {
        return answer("401 Unauthorized", "x-error-code: RepoNotFound\r\n", b"{\"error\": \"BODY\"}");
    }
    if path.contains("/x/gated/") {
        return answer("403 Forbidden", "x-error-code: GatedRepo\r\n", b"{\"error\": \"BODY\"}");
    }
    let routes = ["x/y", "x/secret"].into_iter().flat_map(|name| {
        ["main", "v1", "refs%2Fconvert%2Fparquet"].map(|revision| {
            (format!("/api/datasets/{name}/tree/{revision}"), format!("/datasets/{name}/resolve/{revision}/"))
        })
    });
    for (tree, resolve) in routes {
        if let Some(folder) = path.strip_prefix(&tree) {
            return listing(&root.join(decoded(folder.trim_start_matches('/'))), root, &tree, query);
        }
        if let Some(name) = path.strip_prefix(&resolve) {
            let found = root.join(decoded(name));
            return match fs::read(&found) {
                // small files are the hub's own, others are elsewhere
                Ok(body) if name.starts_with("data/") => file(request, &body),
                Ok(_) => redirect(&format!("{content}/cdn/{name}?SIGNATURE=1")),
                Err(_) => answer("404 Not Found", "x-error-code: EntryNotFound\r\n", b"BODY"),
            };
        }
    }
    let code = if path.contains("/x/y/") { "RevisionNotFound" } else { "RepoNotFound" };
    answer("404 Not Found", &format!("x-error-code: {code}\r\n"), b"BODY")
}

/// Pages of two entries, as the hub's are of a thousand.
fn listing(folder: &Path, root: &Path, tree: &str, query: &str) -> Vec<u8> {
    if !folder.is_dir() {
        return answer("404 Not Found", "x-error-code: EntryNotFound\r\n", b"BODY");
    }
    let mut entries = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let directory = path.is_dir();
            let size = fs::metadata(&path).unwrap().len();
            let kind = if directory { "directory" } else { "file" };
            entries.push((name.clone(), json!({"type": kind, "oid": "0123", "size": size, "path": name})));
            if directory && query.contains("recursive=true") {
                folders.push(path);
            }
        }
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    let start: usize = query.split("cursor=").nth(1).map_or(0, |cursor| cursor.parse().unwrap());
    let page: Vec<_> = entries.iter().skip(start).take(2).map(|(_, entry)| entry).collect();
    let below = folder.strip_prefix(root).unwrap().display().to_string();
    let slash = if below.is_empty() { "" } else { "/" };
    let recursive = if query.contains("recursive=true") { "recursive=true&" } else { "" };
    let link = format!("link: <{tree}{slash}{below}?{recursive}cursor={}>; rel=\"next\"\r\n", start + 2);
    let link = if start + 2 < entries.len() { link } else { String::new() };
    answer("200 OK", &link, serde_json::to_string(&page).unwrap().as_bytes())
}

#[test]
fn files_are_listed_over_pages_and_downloaded_over_redirects() {
    let hub = Hub::start();
    let sql = "SELECT path, size, last_modified IS NULL FROM glob('hf://datasets/x/y/images/*')";
    assert_eq!(
        hub.rows(sql),
        [
            "hf://datasets/x/y/images/a.png,12,true",
            "hf://datasets/x/y/images/b c.png,12,true",
            "hf://datasets/x/y/images/empty.png,0,true",
        ]
    );
    let asked = hub.server.take();
    assert_eq!(asked[0].path, "/api/datasets/x/y/tree/main/images");
    assert_eq!(asked.len(), 3);

    let sql = "SELECT arrow_cast(download(path), 'Utf8') FROM glob('hf://datasets/x/y/images/**/*.png') WHERE size > 0 ORDER BY path";
    assert_eq!(hub.rows(sql), ["content of a", "content of b", "content of d"]);
    let sql = "SELECT path, arrow_cast(content, 'Utf8') FROM read_blob('hf://datasets/x/y@v1/images/a.png')";
    assert_eq!(hub.rows(sql), ["hf://datasets/x/y@v1/images/a.png,content of a"]);
    // the token is for the hub, not for the host of the content
    let hub_requests = hub.server.take();
    let content_requests = hub.content.take();
    assert!(hub_requests.iter().all(|request| request.header("authorization").unwrap().ends_with(TOKEN)));
    assert!(!content_requests.is_empty());
    assert!(
        content_requests.iter().all(|request| request.header("authorization").is_none()),
        "{content_requests:?}"
    );

    assert_eq!(hub.rows("SELECT * FROM glob('hf://datasets/x/y/images/*.jpeg')"), [""; 0]);
    assert_eq!(hub.rows("SELECT * FROM glob('hf://datasets/x/y/images/none.png')"), [""; 0]);
    let refs = "SELECT count(*) FROM glob('hf://datasets/x/y@~parquet/images/*')";
    assert_eq!(hub.rows(refs), ["3"]);
}

#[test]
fn files_are_tables() {
    let hub = Hub::start();
    let parquet = hub.folder.path().join("tables/rows.parquet").display().to_string();
    let sql = format!("COPY (SELECT value AS id, repeat('x', 100) AS text FROM range(50000)) TO '{parquet}'");
    assert!(hub.run(&sql, None).status.success());
    let whole = fs::metadata(&parquet).unwrap().len();

    let sql = "SELECT count(*), min(id), max(id) FROM 'hf://datasets/x/y/tables/*.parquet'";
    assert_eq!(hub.rows(sql), ["50000,0,49999"]);
    // ranges, not the whole file
    let asked = hub.content.take();
    assert!(whole > 1000 && !asked.is_empty());
    assert!(asked.iter().all(|request| request.header("range").is_some()), "{asked:?}");

    let sql = "SELECT id, name, part FROM 'hf://datasets/x/y/data' ORDER BY id";
    assert_eq!(hub.rows(sql), ["1,one,1", "2,two,1", "3,three,2"]);
    let sql = "SELECT count(*) FROM 'hf://datasets/x/y/data/*/rows.csv'";
    assert_eq!(hub.rows(sql), ["3"]);
    let sql = "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'hf://datasets/x/y/tables/rows.parquet'; SELECT sum(id) FROM t";
    assert_eq!(hub.rows(sql).last().unwrap(), "1249975000");

    // over http(s) too
    let url = hub.content.url();
    assert_eq!(hub.rows(&format!("SELECT max(id) FROM '{url}/cdn/tables/rows.parquet'")), ["49999"]);
    assert_eq!(hub.rows(&format!("SELECT size FROM glob('{url}/cdn/images/a.png')")), ["12"]);
    assert_eq!(hub.rows(&format!("SELECT size FROM glob('{url}/cdn/images/empty.png')")), ["0"]);
}

#[test]
fn what_the_hub_refuses_is_explained_without_secrets() {
    let hub = Hub::start();
    let listed = |repository: &str| format!("SELECT * FROM glob('hf://datasets/{repository}/*')");
    for (sql, token, expected) in [
        (
            listed("x/none"),
            None,
            "there is no such repository, or the token (none, HF_TOKEN is not set) may not read it",
        ),
        (
            listed("x/secret"),
            Some("hf_WRONG"),
            "there is no such repository, or the token (that of HF_TOKEN) may not read it",
        ),
        (listed("x/gated"), Some(TOKEN), "it asks for consent to its terms"),
        (listed("x/y@v9"), Some(TOKEN), "the repository has no such revision"),
        (listed("x/y/imges"), Some(TOKEN), "the repository has no such file or folder at this revision"),
        (
            "SELECT download('hf://datasets/x/y/images/none.png')".to_owned(),
            Some(TOKEN),
            "no such file or folder",
        ),
        (
            "SELECT * FROM 'hf://datasets/x/y/none.csv'".to_owned(),
            Some(TOKEN),
            "cannot list 'hf://datasets/x/y/none.csv': the repository has no such file or folder at this revision",
        ),
        ("SELECT * FROM glob('hf://x/y/*')".to_owned(), None, "write hf://datasets/OWNER/NAME/path"),
        ("COPY (SELECT 1) TO 'hf://datasets/x/y/t.csv'".to_owned(), Some(TOKEN), "the hub can only be read"),
    ] {
        let error = hub.error(&sql, token);
        assert!(error.contains(expected) && !error.contains("BODY"), "{sql}: {error}");
    }
    assert_eq!(hub.rows(&listed("x/secret/images")).len(), 3);
}

#[test]
fn a_restricted_session_reaches_the_hub_and_where_it_is_allowed_to_redirect() {
    let hub = Hub::start();
    let sql = |hosts: &str, path: &str| {
        format!(
            "SET semantic.allow_hosts = '{hosts}'; SELECT arrow_cast(download('hf://datasets/x/y/{path}'), 'Utf8') AS c"
        )
    };
    assert_eq!(hub.rows(&sql("hf://datasets", "data/part=2/rows.csv")).last().unwrap(), "\"");
    hub.content.take();
    let error = hub.error(&sql("hf://datasets", "images/a.png"), Some(TOKEN));
    assert!(error.contains("host '127.0.0.1' is not allowed"), "{error}");
    let error = hub.error(&sql("*, hf://models", "images/a.png"), Some(TOKEN));
    assert!(
        error.contains("'hf://datasets' is not allowed: semantic.allow_hosts does not list it"),
        "{error}"
    );
    assert_eq!(hub.content.take_paths(), [""; 0]);
    let hosts = format!("hf://datasets, 127.0.0.1:{}", hub.content.port);
    assert_eq!(hub.rows(&sql(&hosts, "images/a.png")).last().unwrap(), "content of a");
}

#[test]
fn a_folder_is_read_with_its_partitions_or_says_why_not() {
    let hub = Hub::start();
    // however the revision is written
    for repository in ["x/y@main", "x/y@~parquet", "x/y@refs/convert/parquet", "x/y"] {
        let sql = format!("SELECT count(*), sum(CAST(part AS INT)) FROM 'hf://datasets/{repository}/data/'");
        assert_eq!(hub.rows(&sql), ["3,4"], "{repository}");
    }
    // what DataFusion lists for itself
    for repository in ["x/y", "x/y@v1", "x/y@main", "x/y@~parquet", "x/y@refs/convert/parquet"] {
        let sql = format!(
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'hf://datasets/{repository}/data/'; SELECT count(*) FROM t"
        );
        assert_eq!(hub.rows(&sql), ["3"], "{repository}");
    }
    write(hub.folder.path(), "p/abcé.csv", b"id\n1\n");
    assert_eq!(hub.rows("SELECT count(*) FROM 'hf://datasets/x/y@main/p'"), ["1"]);

    let error = hub.error("SELECT count(*) FROM 'hf://datasets/x/y'", None);
    let expected = "folder 'hf://datasets/x/y' holds no file to read, folders below it do ('hf://datasets/x/y/data/part=1/rows.csv'): name them";
    assert!(error.contains(expected), "{error}");
    let error = hub.error("SELECT count(*) FROM 'hf://datasets/x/y@v1/images'", None);
    assert!(error.contains("folder 'hf://datasets/x/y@v1/images' holds no file to read"), "{error}");

    for hidden in ["part=2/_old.csv", "part=2/.x.csv", "_part=3/rows.csv"] {
        write(hub.folder.path(), &format!("data/{hidden}"), b"id,name\n9,nine\n");
        let error = hub.error("SELECT count(*) FROM 'hf://datasets/x/y/data'", None);
        let expected = format!("'hf://datasets/x/y/data/{hidden}' is hidden or a marker");
        assert!(error.contains(&expected), "{error}");
        fs::remove_file(hub.folder.path().join("data").join(hidden)).unwrap();
    }
}

#[test]
fn a_listing_that_goes_round_in_a_circle_ends() {
    let pages = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |request| {
        // so that a client that follows it ends too
        if pages.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 50 {
            return answer("404 Not Found", "", b"");
        }
        let next = if request.path.ends_with("cursor=1") { 2 } else { 1 };
        let path = request.path.split('?').next().unwrap();
        answer("200 OK", &format!("link: <{path}?cursor={next}>; rel=\"next\"\r\n"), b"[]")
    });
    let output = Command::new(env!("CARGO_BIN_EXE_semsql"))
        .args(["-c", "SELECT * FROM glob('hf://datasets/x/y/*')"])
        .env("HF_ENDPOINT", server.url())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("its listing does not end: a page of it is listed twice"), "{error}");
    assert_eq!(server.take().len(), 3);
}
