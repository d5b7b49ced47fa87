//! Rows of a client become those of a table.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use datafusion::catalog::MemTable;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, Result, ScalarValue, TableReference, exec_datafusion_err};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

use super::incoming::{Incoming, parts};
use super::queries::Running;
use super::status::status;
use crate::execution::size;

/// The most rows of a batch, as DataFusion's own: what is made of them is made of so many at a time.
const BATCH_ROWS: usize = 8192;

/// Only one table is replaced at a time: its name is free in between.
static REPLACING: Mutex<()> = Mutex::new(());

/// What becomes of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A new table in memory
    Create,
    /// The same, in place of one that is there
    Replace,
    Append,
}

/// Takes the rows of `messages` into the table that `command` names, all of them or none; the number of rows.
pub(super) async fn ingest(
    ctx: SessionContext,
    command: CommandStatementIngest,
    mut incoming: Incoming,
    running: Arc<Running>,
) -> Result<i64, Status> {
    if command.temporary {
        return Err(Status::unimplemented("there are no temporary tables: ingest into one, and DROP it"));
    }
    let table = match (&command.catalog, &command.schema) {
        (Some(catalog), Some(schema)) => {
            TableReference::full(catalog.as_str(), schema.as_str(), command.table.as_str())
        }
        (Some(catalog), None) => {
            let schema = ctx.state().config_options().catalog.default_schema.clone();
            TableReference::full(catalog.as_str(), schema.as_str(), command.table.as_str())
        }
        (None, Some(schema)) => TableReference::partial(schema.as_str(), command.table.as_str()),
        (None, None) => TableReference::bare(command.table.as_str()),
    };
    let failed = |error: DataFusionError| status(&error, "");
    let way = way(&command, ctx.table_exist(table.clone()).map_err(failed)?, &table)?;

    // the schema comes before the first batch
    let first = incoming.next().await?;
    let Some(schema) = incoming.schema().cloned() else {
        return Err(Status::invalid_argument("ingestion needs a schema, found none"));
    };
    let first = futures::stream::iter(first.into_iter().flat_map(|batch| parts(batch, BATCH_ROWS)).map(Ok));
    let rows = first.chain(incoming.into_parts(BATCH_ROWS)).map(move |batch| {
        // a status stays what it is
        let batch = batch.map_err(|status: Status| DataFusionError::External(Box::new(status)))?;
        running.add_rows(batch.num_rows());
        Ok(batch)
    });
    match way {
        Way::Append => append(&ctx, &table, schema, rows).await.map_err(failed),
        Way::Create | Way::Replace => {
            create(&ctx, table, schema, rows, way == Way::Replace).await.map_err(failed)
        }
    }
}

fn way(command: &CommandStatementIngest, exists: bool, table: &TableReference) -> Result<Way, Status> {
    let options = command.table_definition_options.unwrap_or_default();
    if !exists {
        return match options.if_not_exist() {
            TableNotExistOption::Create => Ok(Way::Create),
            TableNotExistOption::Fail | TableNotExistOption::Unspecified => {
                Err(Status::not_found(format!("table '{table}' not found: ingest with mode 'create'")))
            }
        };
    }
    match options.if_exists() {
        TableExistsOption::Append => Ok(Way::Append),
        TableExistsOption::Replace => Ok(Way::Replace),
        TableExistsOption::Fail | TableExistsOption::Unspecified => Err(Status::already_exists(format!(
            "table '{table}' exists: ingest with mode 'append' or 'replace'"
        ))),
    }
}

async fn create(
    ctx: &SessionContext,
    table: TableReference,
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch>>,
    replace: bool,
) -> Result<i64> {
    let environment = ctx.runtime_env();
    let reservation = MemoryConsumer::new("ingestion").register(&environment.memory_pool);
    let mut rows = pin!(rows);
    let (mut batches, mut count) = (vec![], 0);
    while let Some(batch) = rows.try_next().await? {
        reservation.try_grow(size(batch.columns()))?;
        count += batch.num_rows();
        batches.push(batch);
    }
    let provider = Arc::new(MemTable::try_new(schema, vec![batches])?);
    {
        let _turn = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
        if replace {
            ctx.deregister_table(table.clone())?;
        }
        ctx.register_table(table, provider)?;
    }
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Adds rows to a table, column by column by their names; one that they do not have is NULL.
async fn append(
    ctx: &SessionContext,
    table: &TableReference,
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> Result<i64> {
    let into = ctx.table_provider(table.clone()).await?.schema();
    if let Some(unknown) = schema.fields().iter().find(|field| into.index_of(field.name()).is_err()) {
        let known: Vec<_> = into.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(exec_datafusion_err!(
            "table '{table}' has no column '{}': there are {}",
            unknown.name(),
            known.join(", ")
        ));
    }
    let columns = into.fields().iter().map(|field| match schema.index_of(field.name()) {
        Ok(_) => Ok(cast(ident(field.name()), field.data_type().clone()).alias(field.name())),
        Err(_) if !field.is_nullable() => Err(exec_datafusion_err!(
            "column '{}' of table '{table}' is never NULL, and the rows do not have it",
            field.name()
        )),
        Err(_) => Ok(lit(ScalarValue::try_new_null(field.data_type())?).alias(field.name())),
    });
    let columns = columns.collect::<Result<Vec<Expr>>>()?;
    let stream = RecordBatchStreamAdapter::new(Arc::clone(&schema), rows);
    let once = Once { schema: Arc::clone(&schema), rows: Mutex::new(Some(Box::pin(stream))) };
    let source = StreamingTable::try_new(schema, vec![Arc::new(once)])?;
    let frame = ctx.read_table(Arc::new(source))?.select(columns)?;
    let written = frame.write_table(&table.to_quoted_string(), DataFrameWriteOptions::new()).await?;
    Ok(written.iter().map(super::statements::count).sum())
}

/// Rows that can be read one time.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        rows.unwrap_or_else(|| {
            let again =
                futures::stream::iter([Err(exec_datafusion_err!("the rows of a client are read once"))]);
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), again))
        })
    }
}
