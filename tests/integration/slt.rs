//! Runs tests/slt/*.slt: SQL in, rows out, each file with 1 and with 4 partitions, in a session of its own over the
//! mock provider.
//!
//! `SELECT model_inputs()` and `SELECT model_calls()` give how many inputs and calls reached the mock since they were
//! asked last.
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::mock::{self, Counts};

struct Database {
    ctx: SessionContext,
}

impl Database {
    async fn new(partitions: usize) -> Result<Self> {
        let (ctx, counts) = mock::session().await?;
        ctx.sql(&format!("SET datafusion.execution.target_partitions = {partitions}")).await?;
        register_counter(&ctx, "model_inputs", Arc::clone(&counts), Counts::take_inputs);
        register_counter(&ctx, "model_calls", counts, Counts::take_calls);
        Ok(Self { ctx })
    }
}

fn register_counter(ctx: &SessionContext, name: &str, counts: Arc<Counts>, take: fn(&Counts) -> usize) {
    let body = move |_: &[ColumnarValue]| {
        let count = i64::try_from(take(&counts)).unwrap();
        Ok(ColumnarValue::Scalar(ScalarValue::Int64(Some(count))))
    };
    ctx.register_udf(create_udf(name, vec![], DataType::Int64, Volatility::Volatile, Arc::new(body)));
}

#[async_trait]
impl AsyncDB for Database {
    type Error = DataFusionError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>> {
        let frame = datafusion_semantic::session::sql(&self.ctx, sql).await?;
        let types = frame.schema().fields().iter().map(|field| column_type(field.data_type())).collect();
        let mut rows = Vec::new();
        for batch in frame.collect().await? {
            for row in 0..batch.num_rows() {
                rows.push(
                    batch.columns().iter().map(|column| cell(column, row)).collect::<Result<Vec<_>>>()?,
                );
            }
        }
        if batch_is_a_count(&rows) {
            return Ok(DBOutput::StatementComplete(0));
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

/// A statement that returns nothing.
fn batch_is_a_count(rows: &[Vec<String>]) -> bool {
    rows.iter().any(Vec::is_empty)
}

fn column_type(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        data_type if data_type.is_integer() => DefaultColumnType::Integer,
        data_type if data_type.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn cell(column: &dyn Array, row: usize) -> Result<String> {
    if column.is_null(row) {
        return Ok("NULL".to_owned());
    }
    Ok(match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        _ => match ArrayFormatter::try_new(column, &FormatOptions::default())?.value(row).to_string() {
            text if text.is_empty() => "(empty)".to_owned(),
            text => text,
        },
    })
}

#[test]
fn every_file() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let failures: Vec<String> = files
        .iter()
        .flat_map(|file| [(file, 1), (file, 4)])
        .filter_map(|(file, partitions)| {
            let mut runner = Runner::new(|| async { Database::new(partitions).await });
            let outcome = runtime.block_on(runner.run_file_async(file));
            outcome.err().map(|error| format!("{} with {partitions} partitions: {error}", file.display()))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
