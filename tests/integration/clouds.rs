//! S3 and Azure Blob Storage against servers that speak their protocols, where these are installed.
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Of the account and key that every emulator has.
const EMULATOR_SAS: &str = "sv=2019-12-12&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00:00:00Z&spr=https,http&sig=0inStVod1SiNNw%2FCJ4fRrpJIdRZAadbisT7bZCD4KQs%3D";

/// A server that ends with the test.
struct Peer {
    child: Child,
    port: u16,
    variables: Vec<(&'static str, String)>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// `None`, with a message, where the program is not installed.
    fn start(program: &str, arguments: impl Fn(u16) -> Vec<String>) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(arguments(port)).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_mins(1), "{program} does not listen");
            sleep(Duration::from_millis(100));
        }
        Some(Self { child, port, variables: vec![] })
    }

    fn put(&self, path: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    fn run(&self, sql: &str) -> Result<Vec<String>, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
        command
            .args(["--format", "csv", "-c", sql])
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        match output.status.success() {
            true => {
                Ok(String::from_utf8(output.stdout).unwrap().lines().skip(1).map(ToOwned::to_owned).collect())
            }
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        self.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn error(&self, sql: &str) -> String {
        let error = self.run(sql).expect_err(sql);
        assert!(!error.contains("SECRET") && !error.contains("<?xml"), "{error}");
        error
    }

    /// What holds for every store; `root` is a bucket that is empty.
    fn behaves(&self, root: &str) {
        let upload = |text: &str, more: &str| {
            format!("SELECT upload(arrow_cast('{text}', 'Binary'), '{root}/texts/a b%20#1.txt'{more})")
        };
        assert_eq!(self.rows(&upload("first", "")), [format!("{root}/texts/a b%20#1.txt")]);
        let error = self.error(&upload("second", ""));
        assert!(
            error.contains("there is a file of this name already; overwrite => true replaces it"),
            "{error}"
        );
        self.rows(&upload("third", ", overwrite => true"));
        let sql = format!(
            "SELECT path, size, last_modified IS NULL, arrow_cast(content, 'Utf8') FROM read_blob('{root}/texts/*')"
        );
        assert_eq!(self.rows(&sql), [format!("{root}/texts/a b%20#1.txt,5,false,third")]);

        self.rows(&format!(
            "COPY (SELECT value AS id FROM range(1000)) TO '{root}/data/part=1/rows.parquet'"
        ));
        self.rows(&format!("COPY (SELECT value AS id FROM range(10)) TO '{root}/data/part=2/rows.parquet'"));
        assert_eq!(self.rows(&format!("SELECT count(*) FROM '{root}/data/*/rows.parquet'")), ["1010"]);
        assert_eq!(
            self.rows(&format!("SELECT part, count(*) FROM '{root}/data' GROUP BY part ORDER BY part")),
            ["1,1000", "2,10"]
        );
        assert_eq!(self.rows(&format!("SELECT max(id) FROM '{root}/data/part=1/rows.parquet'")), ["999"]);
        assert_eq!(self.rows(&format!("SELECT count(*) FROM glob('{root}/**')")), ["3"]);
        assert_eq!(self.rows(&format!("SELECT count(*) FROM glob('{root}/*')")), ["0"]);

        for (sql, expected) in [
            (
                format!("SELECT download('{root}/none')"),
                format!("download: cannot read '{root}/none': there is no such file"),
            ),
            (format!("SELECT * FROM '{root}/none.csv'"), format!("file not found: '{root}/none.csv'")),
            (
                format!("SELECT download('{root}/data/part=1/rows.parquet', max_bytes => 10)"),
                "it has more than the 10 bytes".to_owned(),
            ),
        ] {
            let error = self.error(&sql);
            assert!(error.contains(&expected), "{sql}: {error}");
        }
        let (scheme, bucket) = root.split_once("://").unwrap();
        let error = self.error(&format!("SELECT * FROM glob('{scheme}://no-{bucket}/*')"));
        assert!(error.contains("there is no such bucket or container"), "{error}");

        let allowed = |hosts: &str| {
            format!("SET semantic.allow_hosts = '{hosts}'; SELECT count(*) FROM glob('{root}/**')")
        };
        assert_eq!(self.rows(&allowed(root)).last().unwrap(), "3");
        let error = self.error(&allowed(&format!("*, {root}2, 127.0.0.1")));
        assert!(
            error.contains(&format!("'{root}' is not allowed: semantic.allow_hosts does not list it")),
            "{error}"
        );
        let error =
            self.error(&format!("SET semantic.allow_upload = false; COPY (SELECT 1) TO '{root}/x.csv'"));
        assert!(error.contains("writing files is not allowed"), "{error}");
    }
}

#[test]
fn s3() {
    let arguments = |port: u16| vec!["-p".to_owned(), port.to_string()];
    let Some(mut peer) = Peer::start("moto_server", arguments) else { return };
    peer.put("/photos");
    peer.variables = vec![
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "SECRET".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", peer.port)),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
    ];
    peer.behaves("s3://photos");
}

#[test]
fn azure() {
    let arguments = |port: u16| {
        let text = format!(
            "--blobHost 127.0.0.1 --blobPort {port} --inMemoryPersistence --skipApiVersionCheck --silent"
        );
        text.split(' ').map(ToOwned::to_owned).collect()
    };
    let Some(mut peer) = Peer::start("azurite-blob", arguments) else { return };
    peer.put(&format!("/devstoreaccount1/photos?restype=container&{EMULATOR_SAS}"));
    peer.variables = vec![
        ("AZURE_STORAGE_USE_EMULATOR", "true".to_owned()),
        ("AZURITE_BLOB_STORAGE_URL", format!("http://127.0.0.1:{}", peer.port)),
    ];
    peer.behaves("az://photos");
}
