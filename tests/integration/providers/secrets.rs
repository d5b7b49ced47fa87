//! A key is nowhere to be seen.
use std::sync::{Mutex, OnceLock};

use datafusion::arrow::util::pretty::pretty_format_batches;
use log::{LevelFilter, Log, Metadata, Record};
use tracing::field::{Field, Visit};
use tracing::span::{self, Attributes, Id};
use tracing::{Event, Subscriber};

use super::api;
use super::server::{Reply, Server};
use super::{run, set};
use datafusion_semantic::session;

const KEY: &str = "sk-TESTKEY-0123456789abcdef";

/// Keeps every record of every crate, be it by `log` or by `tracing`.
struct Lines(Mutex<Vec<String>>);

impl Lines {
    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

/// The fields of a span or an event.
struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        *self.0 = format!("{} {field}={value:?}", self.0);
    }
}

struct Spans(&'static Lines);

impl Subscriber for Spans {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = span.metadata().name().to_owned();
        span.record(&mut Fields(&mut line));
        self.0.push(line);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &span::Record<'_>) {
        let mut line = String::new();
        values.record(&mut Fields(&mut line));
        self.0.push(line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = event.metadata().target().to_owned();
        event.record(&mut Fields(&mut line));
        self.0.push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.push(format!("{} {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}

fn logs() -> &'static Lines {
    static LINES: OnceLock<&'static Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines: &'static Lines = Box::leak(Box::new(Lines(Mutex::default())));
        log::set_logger(lines).unwrap();
        log::set_max_level(LevelFilter::Trace);
        tracing::subscriber::set_global_default(Spans(lines)).unwrap();
        lines
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_seen_by_its_endpoint_only() {
    let lines = logs();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{KEY}\n")).unwrap();
    let echo = |request: &super::Request| {
        let status = if request.path.contains("echo") { 400 } else { 401 };
        let key = &request.headers["authorization"];
        match api::inputs(request)[0].as_str() {
            "bad" => Reply::new(
                status,
                format!(r#"{{"error":{{"message":"the key {key}","code":"{KEY}","type":"x"}}}}"#),
            ),
            "html" => Reply::new(status, format!("<html>{key}</html>")),
            _ => api::embed(request),
        }
    };
    let server = Server::start(echo).await;
    let ctx = session::new().unwrap();
    let mut seen = vec![];
    for base in ["v1", "echo"] {
        for option in [
            format!("base_url = '{}/{base}'", server.url),
            format!("api_key_file = '{}'", file.path().display()),
            "dimensions = 3".to_owned(),
        ] {
            set(&ctx, &format!("providers.secret.{option}")).await;
        }
        let call = |text: &str| format!("embed_text('{text}', model => 'm', provider => 'secret')");
        for sql in [
            format!("SELECT {}", call("good")),
            format!("SELECT {}", call("bad")),
            format!("SELECT {}", call("html")),
            format!("EXPLAIN SELECT {}", call("good")),
            format!("EXPLAIN VERBOSE SELECT {}", call("good")),
            format!("EXPLAIN ANALYZE SELECT {}", call("good")),
            format!("EXPLAIN ANALYZE VERBOSE SELECT {}", call("good")),
            format!("EXPLAIN FORMAT TREE SELECT {}", call("good")),
            format!("EXPLAIN FORMAT PGJSON SELECT {}", call("good")),
            format!("EXPLAIN FORMAT GRAPHVIZ SELECT {}", call("good")),
            "SHOW ALL".to_owned(),
            "SELECT * FROM information_schema.df_settings".to_owned(),
        ] {
            match run(&ctx, &sql).await {
                Ok(batches) => {
                    let schema = batches.first().map(|batch| format!("{:?}", batch.schema()));
                    seen.push(format!("{schema:?} {}", pretty_format_batches(&batches).unwrap()));
                }
                Err(error) => seen.push(format!("{error} {error:?}")),
            }
        }
        let frame = session::sql(&ctx, &format!("SELECT {}", call("good"))).await.unwrap();
        seen.push(format!("{frame:?} {:?}", frame.clone().create_physical_plan().await.unwrap()));
    }
    assert!(seen.iter().any(|text| text.contains("api_key_file")), "options are shown");
    assert!(server.requests().iter().all(|request| request.headers["authorization"].ends_with(KEY)));
    let logged = lines.0.lock().unwrap().clone();
    assert!(!logged.is_empty(), "nothing was logged");
    seen.extend(logged);
    for text in &seen {
        assert!(!text.contains("TESTKEY"), "{text}");
    }
}
