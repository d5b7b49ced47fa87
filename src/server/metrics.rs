//! What the server counts, for Prometheus.

use std::fmt::Write;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::execution::PlanUsage;

/// What was done with a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Planned: its schema, or that of a prepared statement.
    Plan,
    /// Values were bound to the parameters of a prepared one.
    Bind,
    /// None: catalogs, schemas or tables were listed.
    Catalog,
    /// Its rows were sent.
    Query,
    /// It changed something.
    Update,
    /// Rows of the client became those of a table.
    Ingest,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Ok,
    /// The statement or the data are wrong.
    Error,
    /// By the client, which may have gone away, or because the server ends.
    Cancelled,
    /// It took longer than it may.
    Timeout,
    /// It wanted more than it may have: a turn, memory, rows.
    Exhausted,
    /// Our fault.
    Internal,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Bind => "bind",
            Self::Catalog => "catalog",
            Self::Query => "query",
            Self::Update => "update",
            Self::Ingest => "ingest",
        }
    }
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Exhausted => "exhausted",
            Self::Internal => "internal",
        }
    }
}

impl EncodeLabelValue for Kind {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> std::fmt::Result {
        encoder.write_str(self.name())
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> std::fmt::Result {
        encoder.write_str(self.name())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Statement {
    kind: Kind,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Login {
    outcome: Outcome,
}

/// The state of the server when it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) running: usize,
    pub(super) queued: usize,
    pub(super) prepared: usize,
    pub(super) results: usize,
    pub(super) memory: usize,
}

/// The counters of a server.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    statements: Family<Statement, Counter>,
    seconds: Family<OfKind, Histogram>,
    queued_seconds: Histogram,
    logins: Family<Login, Counter>,
    rows: Counter,
    ingested_rows: Counter,
    calls: Counter,
    retries: Counter,
    called_rows: Counter,
    cache_hits: Counter,
    tokens: Counter,
    failed_rows: Counter,
    running: Gauge,
    queued: Gauge,
    prepared: Gauge,
    results: Gauge,
    memory: Gauge,
}

/// From a millisecond to half an hour.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 21))
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            statements: Family::default(),
            seconds: Family::new_with_constructor(latencies),
            queued_seconds: latencies(),
            logins: Family::default(),
            rows: Counter::default(),
            ingested_rows: Counter::default(),
            calls: Counter::default(),
            retries: Counter::default(),
            called_rows: Counter::default(),
            cache_hits: Counter::default(),
            tokens: Counter::default(),
            failed_rows: Counter::default(),
            running: Gauge::default(),
            queued: Gauge::default(),
            prepared: Gauge::default(),
            results: Gauge::default(),
            memory: Gauge::default(),
        };
        let registry = metrics.registry.sub_registry_with_prefix("semsql");
        registry.register("statements", "Statements that ended", metrics.statements.clone());
        registry.register("statement_seconds", "How long they ran, without waiting", metrics.seconds.clone());
        registry.register(
            "queue_seconds",
            "How long statements waited for their turn",
            metrics.queued_seconds.clone(),
        );
        registry.register("logins", "Handshakes", metrics.logins.clone());
        registry.register("rows", "Rows sent to clients", metrics.rows.clone());
        registry.register("ingested_rows", "Rows of clients", metrics.ingested_rows.clone());
        registry.register("model_calls", "Requests to models and servers", metrics.calls.clone());
        registry.register("model_retries", "Of these the ones made again", metrics.retries.clone());
        registry.register("called_rows", "Rows that functions were called for", metrics.called_rows.clone());
        registry.register(
            "cache_hits",
            "Of these the rows whose input the query had seen",
            metrics.cache_hits.clone(),
        );
        registry.register("tokens", "Tokens that models have read", metrics.tokens.clone());
        registry.register("failed_rows", "Bad rows that became NULL", metrics.failed_rows.clone());
        registry.register("running", "Statements that are planned or run", metrics.running.clone());
        registry.register("queued", "Statements that wait for their turn", metrics.queued.clone());
        registry.register("prepared_statements", "Prepared statements", metrics.prepared.clone());
        registry.register("results", "Results that were not fetched yet", metrics.results.clone());
        registry.register("memory_bytes", "Memory that queries have reserved", metrics.memory.clone());
        metrics
    }

    pub(super) fn statement(&self, kind: Kind, outcome: Outcome, time: Duration, rows: u64, used: PlanUsage) {
        self.statements.get_or_create(&Statement { kind, outcome }).inc();
        self.seconds.get_or_create(&OfKind { kind }).observe(time.as_secs_f64());
        match kind {
            Kind::Ingest => self.ingested_rows.inc_by(rows),
            _ => self.rows.inc_by(rows),
        };
        self.calls.inc_by(used.calls as u64);
        self.retries.inc_by(used.retries as u64);
        self.called_rows.inc_by(used.rows as u64);
        self.cache_hits.inc_by(used.cache_hits as u64);
        self.tokens.inc_by(used.tokens as u64);
        self.failed_rows.inc_by(used.failed_rows as u64);
    }

    /// A statement that waited and was given no turn.
    pub(super) fn refused(&self, kind: Kind, outcome: Outcome) {
        self.statements.get_or_create(&Statement { kind, outcome }).inc();
    }

    pub(super) fn queued(&self, time: Duration) {
        self.queued_seconds.observe(time.as_secs_f64());
    }

    pub(super) fn login(&self, outcome: Outcome) {
        self.logins.get_or_create(&Login { outcome }).inc();
    }

    /// As Prometheus reads it (`OpenMetrics` text).
    pub(super) fn text(&self, state: State) -> Result<String, std::fmt::Error> {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.running, state.running);
        set(&self.queued, state.queued);
        set(&self.prepared, state.prepared);
        set(&self.results, state.results);
        set(&self.memory, state.memory);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
