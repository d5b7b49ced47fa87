//! The table function `glob(pattern)`.
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::Count;

use super::FunctionContext;
use crate::io::FoundFile;

/// `glob('photos/*.png')`: a table of files with `path`, `size` in bytes and `last_modified` (UTC), sorted by path. NULL
/// is the time that a store does not tell, as the hub does not.
///
/// The files are listed when the query is planned for execution, once.
#[derive(Debug)]
pub(crate) struct Glob {
    context: Arc<FunctionContext>,
}

impl Glob {
    pub(crate) fn new(context: &Arc<FunctionContext>) -> Self {
        Self { context: Arc::clone(context) }
    }
}

impl TableFunctionImpl for Glob {
    fn call(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(GlobTable::new("glob", arguments, &self.context)?))
    }
}

fn list(arguments: &[Expr]) -> String {
    arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("size", DataType::Int64, false),
        Field::new("last_modified", utc, true),
    ]))
}

/// The files that match a pattern.
#[derive(Debug)]
pub(super) struct GlobTable {
    function: &'static str,
    pattern: String,
    schema: SchemaRef,
    context: Arc<FunctionContext>,
}

impl GlobTable {
    /// Of a call of the table function `function`.
    pub(super) fn new(
        function: &'static str,
        arguments: &[Expr],
        context: &Arc<FunctionContext>,
    ) -> Result<Self> {
        let pattern = match arguments {
            [Expr::Literal(value, _)] => value.try_as_str().flatten(),
            _ => None,
        };
        let Some(pattern) = pattern else {
            return plan_err!(
                "{function}: expected one constant pattern like 'photos/*.png', found ({})",
                list(arguments)
            );
        };
        Ok(Self { function, pattern: pattern.to_owned(), schema: schema(), context: Arc::clone(context) })
    }
}

#[async_trait]
impl TableProvider for GlobTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let settings = self.context.settings_of(session.config_options());
        let files = self.context.files(&settings, &Count::new()).glob(&self.pattern).await;
        let files = files.map_err(|error| DataFusionError::from(error.in_function(self.function)))?;
        let batch = batch(&files, Arc::clone(&self.schema))?;
        let source = MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(source)
    }
}

fn batch(files: &[FoundFile], schema: SchemaRef) -> Result<RecordBatch> {
    let paths: StringArray = files.iter().map(|file| Some(file.path.as_str())).collect();
    let sizes: Int64Array = files.iter().map(|file| i64::try_from(file.size).ok()).collect();
    let modified: TimestampMicrosecondArray =
        files.iter().map(|file| file.last_modified.map(|time| time.timestamp_micros())).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(paths), Arc::new(sizes), Arc::new(modified.with_timezone("UTC"))];
    Ok(RecordBatch::try_new(schema, columns)?)
}
