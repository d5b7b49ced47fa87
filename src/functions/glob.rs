//! The table function `glob(pattern)`.
use std::fs::Metadata;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;

use crate::blocking::blocking;
use crate::error::query_err;
use crate::io::glob::glob;

/// `glob('photos/*.png')`: a table of files with `path`, `size` in bytes and `last_modified` (UTC), sorted by path.
///
/// The files are listed when the query is planned for execution, once.
#[derive(Debug)]
pub(crate) struct Glob;

impl TableFunctionImpl for Glob {
    fn call(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let pattern = match arguments {
            [Expr::Literal(value, _)] => value.try_as_str().flatten(),
            _ => None,
        };
        match pattern {
            Some(pattern) => Ok(Arc::new(GlobTable { pattern: pattern.to_owned(), schema: schema() })),
            None => plan_err!(
                "glob: expected one constant pattern like 'photos/*.png', found ({})",
                list(arguments)
            ),
        }
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

#[derive(Debug)]
struct GlobTable {
    pattern: String,
    schema: SchemaRef,
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
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let pattern = self.pattern.clone();
        let files = blocking(move || found(&pattern)).await?;
        let batch = batch(&files, Arc::clone(&self.schema))?;
        let source = MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(source)
    }
}

/// Path, size and time of each file. A file that went away meanwhile is not there.
fn found(pattern: &str) -> Result<Vec<(PathBuf, Metadata)>> {
    let files = match pattern.split_once("://") {
        Some(("file", path)) => glob(path),
        Some((scheme, _)) => query_err!("cannot list '{scheme}://': local paths can be listed"),
        None => glob(pattern),
    };
    let files = files.map_err(|error| DataFusionError::from(error.in_function("glob")))?;
    Ok(files
        .into_iter()
        .filter_map(|file| std::fs::metadata(&file).ok().map(|metadata| (file, metadata)))
        .collect())
}

fn batch(files: &[(PathBuf, Metadata)], schema: SchemaRef) -> Result<RecordBatch> {
    let modified = |metadata: &Metadata| {
        let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_micros()).ok()
    };
    let paths: StringArray = files.iter().map(|(path, _)| Some(path.to_string_lossy())).collect();
    let sizes: Int64Array = files.iter().map(|(_, metadata)| i64::try_from(metadata.len()).ok()).collect();
    let modified: TimestampMicrosecondArray = files.iter().map(|(_, metadata)| modified(metadata)).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(paths), Arc::new(sizes), Arc::new(modified.with_timezone("UTC"))];
    Ok(RecordBatch::try_new(schema, columns)?)
}
