//! The planner rules over mock functions that count the rows they compute.

mod clauses;
mod counts;
mod differential;
mod errors;
mod expressions;
mod joins;
mod plans;
mod register;
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use arrow::util::display::array_value_to_string;
use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::config::ExtensionOptions;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::{Functions, SyncTwin, When, register};
use crate::config::SemanticOptions;

fn functions(twins: Vec<SyncTwin>) -> Functions {
    Functions {
        twins,
        metric_of: |_| None,
        decode_resized: |_| Ok(None),
        pack: Arc::new(crate::functions::vector_to_bytes()),
    }
}

/// How many rows that are not NULL each function has computed; a constant argument counts once a batch.
#[derive(Debug, Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, usize>>>);

impl Counts {
    fn add(&self, name: &str, rows: usize) {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += rows;
    }

    /// The counts since the last time, as `f=3 g=1`; functions that computed nothing are left out.
    fn take(&self) -> String {
        let counts = std::mem::take(&mut *self.0.lock().unwrap());
        let counts = counts.into_iter().filter(|(_, rows)| *rows > 0);
        counts.map(|(name, rows)| format!("{name}={rows}")).collect::<Vec<_>>().join(" ")
    }
}

/// Multiplies its first argument. NULL in, NULL out, not counted. `counted_as` tells the twins apart; the cheap
/// synchronous `dist` is not counted.
#[derive(Debug)]
struct Mock {
    name: &'static str,
    counted_as: &'static str,
    factor: i64,
    signature: Signature,
    counts: Counts,
}

impl PartialEq for Mock {
    fn eq(&self, other: &Self) -> bool {
        self.counted_as == other.counted_as
    }
}

impl Eq for Mock {}

impl Hash for Mock {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.counted_as.hash(state);
    }
}

impl Mock {
    fn compute(&self, args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        let first = args.args[0].to_array(args.number_rows)?;
        let first = first.as_primitive::<Int64Type>();
        let count = match &args.args[0] {
            ColumnarValue::Array(_) => first.len() - first.null_count(),
            // as a function that computes equal inputs once
            ColumnarValue::Scalar(value) => usize::from(!value.is_null()),
        };
        if !self.counted_as.is_empty() {
            self.counts.add(self.counted_as, count);
        }
        let values: Int64Array = first.iter().map(|x| x.map(|x| x.wrapping_mul(self.factor))).collect();
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

impl ScalarUDFImpl for Mock {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let metadata = match self.name {
            "tag" => HashMap::from([("made_by".to_owned(), self.name.to_owned())]),
            _ => HashMap::new(),
        };
        Ok(Arc::new(Field::new(self.name, DataType::Int64, true).with_metadata(metadata)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.compute(&args)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Mock {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.compute(&args)
    }
}

/// A session with the tables `t` (3 rows), `n` (with NULLs) and `big` (20,000 rows), and the functions `f` (x10),
/// `g` (x100), `pic` (x2, an image function), `dist` (x1, a distance) and `tag` (x1, marks its field with metadata).
struct Session {
    ctx: SessionContext,
    counts: Counts,
}

impl Session {
    /// With async functions and the planner rules.
    ///
    /// Equal inputs are computed again, so that the counts tell what the plan asks for; see [`Session::caching`].
    fn new(partitions: usize) -> Self {
        let session = Self::caching(partitions);
        let state = session.ctx.state_ref();
        let mut options = SemanticOptions::default();
        options.set("cache_bytes", "0").unwrap();
        state.write().config_mut().options_mut().extensions.insert(options);
        session
    }

    /// The same, with equal inputs computed once.
    fn caching(partitions: usize) -> Self {
        let session = Self::bare(partitions);
        let twin =
            |name, when| SyncTwin { name: String::from(name), twin: Arc::new(session.sync(name)), when };
        let twins = vec![twin("pic", When::WithinAsync), twin("dist", When::Always)];
        for name in ["f", "g", "pic", "dist", "tag"] {
            let mock = session.mock(name, name);
            session.ctx.register_udf(AsyncScalarUDF::new(Arc::new(mock)).into_scalar_udf());
        }
        register(&session.ctx, functions(twins)).unwrap();
        session
    }

    /// With synchronous functions of the same names, and without our rules: what the answers must be.
    fn reference(partitions: usize) -> Self {
        let session = Self::bare(partitions);
        for name in ["f", "g", "pic", "dist", "tag"] {
            session.ctx.register_udf(session.sync(name));
        }
        session
    }

    fn bare(partitions: usize) -> Self {
        let config = SessionConfig::new().with_target_partitions(partitions).with_information_schema(true);
        let ctx = SessionContext::new_with_config(config);
        let table = |name: &str, batches: Vec<RecordBatch>| {
            let schema = batches[0].schema();
            let mut parts = vec![vec![]; partitions];
            for (i, batch) in batches.into_iter().enumerate() {
                parts[i % partitions].push(batch);
            }
            ctx.register_table(name, Arc::new(MemTable::try_new(schema, parts).unwrap())).unwrap();
        };
        table("t", vec![batch(&[Some(1), Some(2), Some(3)], &[Some(2), Some(3), Some(4)])]);
        table("n", vec![batch(&[Some(1), None, Some(3)], &[None, Some(5), Some(6)])]);
        let big = (0..200).map(|b| {
            let x: Vec<_> = (b * 100..b * 100 + 100).map(Some).collect();
            let y: Vec<_> = x.iter().map(|x| x.map(|x| x % 10)).collect();
            batch(&x, &y)
        });
        table("big", big.collect());
        Self { ctx, counts: Counts::default() }
    }

    fn mock(&self, name: &'static str, counted_as: &'static str) -> Mock {
        let (factor, arguments) = match name {
            "f" => (10, 1),
            "g" => (100, 1),
            "pic" => (2, 1),
            "tag" => (1, 1),
            _ => (1, 2),
        };
        let signature = Signature::exact(vec![DataType::Int64; arguments], Volatility::Stable);
        Mock { name, counted_as, factor, signature, counts: self.counts.clone() }
    }

    fn sync(&self, name: &'static str) -> ScalarUDF {
        let counted_as = match name {
            "pic" => "pic_sync",
            "dist" => "",
            name => name,
        };
        ScalarUDF::new_from_impl(self.mock(name, counted_as))
    }

    /// Runs each statement of `sql` (separated by `;`), and gives the rows of the last: columns separated by `|`,
    /// rows by a blank.
    async fn run(&self, sql: &str) -> Result<String> {
        let mut rows = vec![];
        for statement in sql.split(';') {
            rows.clear();
            for batch in self.ctx.sql(statement).await?.collect().await? {
                rows.extend((0..batch.num_rows()).map(|row| format_row(&batch, row)));
            }
        }
        if !sql.to_lowercase().contains("order by") || sql.contains("/* unordered */") {
            rows.sort();
        }
        Ok(rows.join(" "))
    }

    /// The optimized logical plan of `sql`.
    async fn plan(&self, sql: &str) -> Result<String> {
        let plan = self.ctx.sql(sql).await?.into_optimized_plan()?;
        let mut text = String::new();
        for line in plan.display_indent().to_string().lines() {
            writeln!(text, "{line}").unwrap();
        }
        Ok(text)
    }
}

fn batch(x: &[Option<i64>], y: &[Option<i64>]) -> RecordBatch {
    let z: StringArray = x.iter().map(|x| x.map(|x| format!("z{x}"))).collect();
    let (x, y) = (Int64Array::from(x.to_vec()), Int64Array::from(y.to_vec()));
    let columns = [("x", Arc::new(x) as ArrayRef, true), ("y", Arc::new(y), true), ("z", Arc::new(z), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn format_row(batch: &RecordBatch, row: usize) -> String {
    let value = |column: &ArrayRef| {
        if column.is_null(row) { "-".to_owned() } else { array_value_to_string(column, row).unwrap() }
    };
    batch.columns().iter().map(value).collect::<Vec<_>>().join("|")
}

/// A statement, its rows, and how many rows each function computed.
type Case = (&'static str, &'static str, &'static str);

/// Runs every case with 1 and with 4 partitions, each in a fresh session, and compares with what is expected and
/// with the same statement over synchronous functions. Reports all differences at once.
async fn check_all(cases: &[Case]) {
    let mut differences = String::new();
    for (sql, rows, counts) in cases {
        for partitions in [1, 4] {
            let session = Session::new(partitions);
            let reference = Session::reference(partitions).run(sql).await.unwrap_or_else(|e| e.to_string());
            let found = session.run(sql).await.unwrap_or_else(|e| e.to_string());
            let found_counts = session.counts.take();
            let caching = Session::caching(partitions).run(sql).await.unwrap_or_else(|e| e.to_string());
            if found != *rows || found_counts != *counts || reference != found || caching != found {
                writeln!(
                    differences,
                    "{sql}\n  partitions {partitions}\n  found    {found:?}, {found_counts:?}\n  expected {rows:?}, \
                     {counts:?}\n  reference {reference:?}\n  caching {caching:?}"
                )
                .unwrap();
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}
