//! What a row costs in an async call, beside a synchronous one: functions that return their argument.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result as DataFusionResult, internal_err};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;
use tokio::runtime::Runtime;

use crate::{Result, listed, median, set, timed};

const ROWS: usize = 10_000_000;
const BATCH_ROWS: usize = 8192;
const ROUNDS: usize = 9;
const SYNCHRONOUS: &str = "SELECT same(x) FROM numbers";
const ASYNCHRONOUS: &str = "SELECT same_async(x) FROM numbers";

/// The target, in microseconds a row.
const MOST_ADDED: f64 = 0.1;

/// A function that returns its argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    name: &'static str,
    signature: Signature,
}

impl Same {
    fn new(name: &'static str) -> Self {
        Self { name, signature: Signature::exact(vec![DataType::Int64], Volatility::Stable) }
    }
}

impl ScalarUDFImpl for Same {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        match args.args.pop() {
            Some(argument) => Ok(argument),
            None => internal_err!("{} has one argument", self.name),
        }
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Same {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        self.invoke_with_args(args)
    }
}

/// A session with the table `numbers` of distinct numbers, in that many partitions, and both functions.
fn numbers(partitions: usize) -> Result<SessionContext> {
    let ctx = session::new()?;
    ctx.state_ref().write().config_mut().options_mut().execution.target_partitions = partitions;
    ctx.register_udf(Same::new("same").into());
    ctx.register_udf(AsyncScalarUDF::new(Arc::new(Same::new("same_async"))).into_scalar_udf());
    let batches = (0..ROWS).step_by(BATCH_ROWS).map(|start| {
        let end = ROWS.min(start + BATCH_ROWS);
        let column = (start..end).map(i64::try_from).collect::<Result<Int64Array, _>>()?;
        Ok(RecordBatch::try_from_iter([("x", Arc::new(column) as ArrayRef)])?)
    });
    let batches = batches.collect::<Result<Vec<_>>>()?;
    let parts = batches.chunks(batches.len().div_ceil(partitions)).map(<[_]>::to_vec);
    let table = MemTable::try_new(batches[0].schema(), parts.collect())?;
    ctx.register_table("numbers", Arc::new(table))?;
    Ok(ctx)
}

pub(crate) fn measure(runtime: &Runtime) -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("overhead");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .throughput(Throughput::Elements(ROWS as u64));
    let sessions = [1, 2].map(|partitions| Ok((partitions, numbers(partitions)?)));
    let sessions = sessions.into_iter().collect::<Result<Vec<_>>>()?;
    for (partitions, ctx) in &sessions {
        runtime.block_on(set(ctx, "cache_bytes = 0"))?;
        for (name, sql) in [("synchronous", SYNCHRONOUS), ("asynchronous", ASYNCHRONOUS)] {
            group.bench_function(BenchmarkId::new(name, partitions), |bencher| {
                bencher.to_async(runtime).iter(|| timed(ctx, sql, ROWS));
            });
        }
    }
    group.finish();
    for (partitions, ctx) in &sessions {
        runtime.block_on(difference(*partitions, ctx))?;
    }
    Ok(())
}

/// In rounds, so that what else the machine does at the time meets all of them.
async fn difference(partitions: usize, ctx: &SessionContext) -> Result<()> {
    let (mut synchronous, mut added, mut with_duplicates) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        set(ctx, "cache_bytes = 0").await?;
        let base = microseconds_a_row(timed(ctx, SYNCHRONOUS, ROWS).await?);
        synchronous.push(base);
        added.push(microseconds_a_row(timed(ctx, ASYNCHRONOUS, ROWS).await?) - base);
        set(ctx, "cache_bytes = 67108864").await?;
        with_duplicates.push(microseconds_a_row(timed(ctx, ASYNCHRONOUS, ROWS).await?) - base);
    }
    println!(
        "overhead, {partitions} partitions, {ROWS} rows, microseconds a row, medians of {ROUNDS} rounds:"
    );
    for (name, values) in [
        ("synchronous", &synchronous),
        ("added by an async call", &added),
        ("added with the search for equal inputs, of which there are none", &with_duplicates),
    ] {
        println!("  {:.3} {name} ({})", median(values), listed(values));
    }
    let verdict = if median(&added) <= MOST_ADDED { "met" } else { "missed" };
    println!("  target of at most {MOST_ADDED} added: {verdict}");
    Ok(())
}

fn microseconds_a_row(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / ROWS as f64
}
