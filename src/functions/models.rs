//! The table function `models()`.
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;

use super::FunctionContext;
use crate::blocking::compute;
use crate::models::ModelInfo;

/// `models()`: a table of the models that are known by name. Those on this machine are looked for when the query is
/// planned for execution; no network is asked.
#[derive(Debug)]
pub(crate) struct ModelsTable {
    context: Arc<FunctionContext>,
}

impl ModelsTable {
    pub(crate) fn new(context: &Arc<FunctionContext>) -> Self {
        Self { context: Arc::clone(context) }
    }
}

impl TableFunctionImpl for ModelsTable {
    fn call(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        if !arguments.is_empty() {
            return plan_err!("models: expected no argument, found {}", arguments.len());
        }
        Ok(Arc::new(Models { schema: schema(), context: Arc::clone(&self.context) }))
    }
}

fn schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    let number = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("provider", false),
        text("model", false),
        text("kind", false),
        number("dimensions"),
        number("max_tokens"),
        text("revision", true),
        text("path", true),
        number("bytes"),
        text("licence", true),
    ]))
}

#[derive(Debug)]
struct Models {
    schema: SchemaRef,
    context: Arc<FunctionContext>,
}

#[async_trait]
impl TableProvider for Models {
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
        let models = compute(|| self.context.registry.models());
        let batch = batch(&models, Arc::clone(&self.schema))?;
        let source = MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(source)
    }
}

fn batch(models: &[(String, ModelInfo)], schema: SchemaRef) -> Result<RecordBatch> {
    fn texts<'m, T: AsRef<str>>(values: impl Iterator<Item = Option<T>> + 'm) -> ArrayRef {
        Arc::new(values.collect::<StringArray>())
    }
    let numbers = |value: fn(&ModelInfo) -> Option<u64>| -> ArrayRef {
        let values = models.iter().map(|(_, model)| i64::try_from(value(model)?).ok());
        Arc::new(values.collect::<Int64Array>())
    };
    let of = || models.iter().map(|(_, model)| model);
    let columns = vec![
        texts(models.iter().map(|(provider, _)| Some(provider))),
        texts(of().map(|model| Some(&model.name))),
        texts(of().map(|model| Some(kind(model)))),
        numbers(|model| model.dimensions.map(|number| number as u64)),
        numbers(|model| model.max_tokens.map(|number| number as u64)),
        texts(of().map(|model| model.revision.as_ref())),
        texts(of().map(|model| model.path.as_ref().map(|path| path.to_string_lossy()))),
        numbers(|model| model.bytes),
        texts(of().map(|model| model.licence.as_ref())),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn kind(model: &ModelInfo) -> &'static str {
    match (model.text, model.images) {
        (true, true) => "text, image",
        (false, true) => "image",
        _ => "text",
    }
}
