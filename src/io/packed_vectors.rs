//! Tables whose files hold vectors as bytes.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::{Constraints, DataFusionError, Result};
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    CreateExternalTable, Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableProviderFilterPushDown,
};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use crate::types::packed::is_packed;

/// Opens Parquet tables of a session as `inner` does, with the metadata of their columns, and with vectors where the
/// files hold bytes of them.
#[derive(Debug)]
pub(crate) struct ParquetTables {
    inner: Arc<dyn TableProviderFactory>,
}

impl ParquetTables {
    pub(crate) fn new(inner: Arc<dyn TableProviderFactory>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl TableProviderFactory for ParquetTables {
    async fn create(&self, state: &dyn Session, cmd: &CreateExternalTable) -> Result<Arc<dyn TableProvider>> {
        let Some(session) = state.as_any().downcast_ref::<SessionState>() else {
            return self.inner.create(state, cmd).await;
        };
        // the metadata says what is packed, in which space an embedding lives, and what an image is
        let mut with_metadata = session.clone();
        with_metadata.config_mut().options_mut().execution.parquet.skip_metadata = false;
        let table = match self.inner.create(&with_metadata, cmd).await {
            Ok(table) => table,
            // files that differ in nothing but their metadata are one table without it
            Err(error) if is_conflict(&error) => self.inner.create(state, cmd).await?,
            Err(error) => return Err(error),
        };
        unpacked(table, session)
    }
}

fn is_conflict(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::SchemaError(..) | DataFusionError::ArrowError(_, _))
}

/// A table as a session shows it: the vectors of columns that are packed. Any other table stays as it is.
pub(crate) fn unpacked(
    table: Arc<dyn TableProvider>,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>> {
    let schema = table.schema();
    let functions = state.scalar_functions();
    let (Some(pack), Some(unpack), true) = (
        functions.get("vector_to_bytes"),
        functions.get("vector_from_bytes"),
        schema.fields().iter().any(|field| is_packed(field)),
    ) else {
        return Ok(table);
    };
    let plan = LogicalPlanBuilder::scan("files", provider_as_source(Arc::clone(&table)), None)?;
    let columns = plan.schema().iter().map(|(qualifier, field)| {
        let column = Expr::from((qualifier, field));
        if is_packed(field) { unpack.call(vec![column]).alias(field.name()) } else { column }
    });
    let columns: Vec<Expr> = columns.collect();
    let view = ViewTable::new(plan.project(columns)?.build()?, None);
    Ok(Arc::new(UnpackedTable { packed: table, view, pack: Arc::clone(pack) }))
}

/// A table of vectors whose files hold bytes of them.
#[derive(Debug)]
struct UnpackedTable {
    packed: Arc<dyn TableProvider>,
    /// What is read.
    view: ViewTable,
    /// Makes bytes of what is written.
    pack: Arc<ScalarUDF>,
}

#[async_trait]
impl TableProvider for UnpackedTable {
    fn schema(&self) -> SchemaRef {
        self.view.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.packed.constraints()
    }

    fn table_type(&self) -> TableType {
        self.packed.table_type()
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.packed.get_table_definition()
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        self.view.get_logical_plan()
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.packed.get_column_default(column)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.view.scan(state, projection, filters, limit).await
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.view.supports_filters_pushdown(filters)
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (schema, config) = (input.schema(), Arc::new(state.config_options().clone()));
        let packed = self.packed.schema();
        let columns = packed.fields().iter().enumerate().map(|(index, field)| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
            let expr: Arc<dyn PhysicalExpr> = match is_packed(field) {
                true => {
                    let pack = Arc::clone(&self.pack);
                    Arc::new(ScalarFunctionExpr::try_new(pack, vec![column], &schema, Arc::clone(&config))?)
                }
                false => column,
            };
            Ok(ProjectionExpr { expr, alias: field.name().clone() })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        self.packed.insert_into(state, Arc::new(ProjectionExec::try_new(columns, input)?), op).await
    }
}
