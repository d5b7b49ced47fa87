//! The table function `read_blob(pattern)`.
use std::sync::Arc;

use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{TableFunctionImpl, TableProvider, default_table_source::provider_as_source};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, col};

use super::glob::GlobTable;
use super::{FunctionContext, download};

/// `read_blob('photos/*.png')`: what `glob` gives, and the `content` of each file.
///
/// It is `glob` and `download` in one: contents are read as rows are needed, and not where nobody reads the column.
#[derive(Debug)]
pub(crate) struct ReadBlob {
    context: Arc<FunctionContext>,
}

impl ReadBlob {
    pub(crate) fn new(context: &Arc<FunctionContext>) -> Self {
        Self { context: Arc::clone(context) }
    }
}

impl TableFunctionImpl for ReadBlob {
    fn call(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let files = Arc::new(GlobTable::new("read_blob", arguments, &self.context)?);
        let content = download::function(&self.context).udf.call(vec![col("path")]).alias("content");
        let columns = ["path", "size", "last_modified"].map(col).into_iter().chain([content]);
        let plan =
            LogicalPlanBuilder::scan("files", provider_as_source(files), None)?.project(columns)?.build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}
