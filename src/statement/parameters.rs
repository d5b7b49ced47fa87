//! The parameters of a prepared statement: their types, and their values put in.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    DFSchema, HashMap, ParamValues, Result, ScalarValue, plan_datafusion_err, plan_err,
};
use datafusion::logical_expr::expr::{Cast, Placeholder, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

/// A plan with parameters whose types are known, as far as the statement tells.
#[derive(Debug, Clone)]
pub struct Prepared {
    plan: LogicalPlan,
    parameters: Vec<Parameter>,
}

#[derive(Debug, Clone)]
struct Parameter {
    field: FieldRef,
    /// Whether the statement tells the type. Where it does not, a value of any type is taken as it is.
    known: bool,
}

impl Prepared {
    /// Finds the types: from what a parameter is compared with, cast to, or an argument of; a limit is an Int64.
    ///
    /// Where nothing tells, clients are told that it is a string.
    pub fn new(plan: LogicalPlan) -> Result<Self> {
        let fields = plan.get_parameter_fields()?;
        let mut hints = HashMap::new();
        plan.apply_with_subqueries(|plan| {
            let inputs = merge_schema(&plan.inputs());
            plan.apply_expressions(|expr| {
                let is_limit = matches!(plan, LogicalPlan::Limit(_));
                expr.apply(|expr| {
                    if let (true, Some(name)) = (is_limit, untyped(expr)) {
                        hints.entry(name.to_owned()).or_insert(DataType::Int64);
                    }
                    note_hints(expr, &inputs, &mut hints);
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        let parameters = (1..=fields.len()).map(|number| {
            let name = format!("${number}");
            let Some(field) = fields.get(&name) else {
                let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
                names.sort_unstable();
                return plan_err!(
                    "parameters are written as ? or numbered from $1 without a gap, found {}",
                    names.join(", ")
                );
            };
            let found = field.as_ref().map(|field| field.data_type().clone()).or_else(|| hints.remove(&name));
            let known = found.is_some();
            let field = Field::new(name, found.unwrap_or(DataType::Utf8), true);
            Ok(Parameter { field: Arc::new(field), known })
        });
        let parameters = parameters.collect::<Result<Vec<_>>>()?;
        let plan = if parameters.is_empty() { plan } else { with_types(plan, &parameters)? };
        Ok(Self { plan, parameters })
    }

    /// The plan, its parameters not replaced.
    #[must_use]
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// The parameters in their order, by the names `$1`, `$2` and so on.
    pub fn fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.parameters.iter().map(|parameter| &parameter.field)
    }

    /// The plan with the values of row `row` of `values`, whose columns are the parameters in their order.
    pub fn bind(&self, values: &RecordBatch, row: usize) -> Result<LogicalPlan> {
        self.plan.clone().with_param_values(ParamValues::from(self.scalars(values, row)?))
    }

    /// An error where a row of `values` has one that the statement does not take.
    pub fn check(&self, values: &RecordBatch) -> Result<()> {
        (0..values.num_rows()).try_for_each(|row| self.scalars(values, row).map(drop))
    }

    /// The values of a row, of the types of the parameters. Row by row: as a column of another type many short ones may
    /// be long.
    fn scalars(&self, values: &RecordBatch, row: usize) -> Result<Vec<ScalarValue>> {
        if values.num_columns() != self.parameters.len() {
            return plan_err!(
                "the statement has {} parameters, found values for {}",
                self.parameters.len(),
                values.num_columns()
            );
        }
        let columns = self.parameters.iter().zip(values.columns());
        let scalars = columns.map(|(parameter, column)| {
            let value = column.slice(row, 1);
            if !parameter.known || value.data_type() == parameter.field.data_type() {
                return ScalarValue::try_from_array(&value, 0);
            }
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let (from, to) = (value.data_type(), parameter.field.data_type());
            let value = cast_with_options(&value, to, &options).map_err(|_| {
                plan_datafusion_err!(
                    "parameter {} must be {to}, found a {from} that is not",
                    parameter.field.name()
                )
            })?;
            ScalarValue::try_from_array(&value, 0)
        });
        scalars.collect()
    }
}

/// The name of a parameter without a type.
fn untyped(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Placeholder(Placeholder { id, field: None }) => Some(id),
        _ => None,
    }
}

fn note_hints(expr: &Expr, schema: &DFSchema, hints: &mut HashMap<String, DataType>) {
    match expr {
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            if let Some(name) = untyped(expr) {
                hints.entry(name.to_owned()).or_insert_with(|| field.data_type().clone());
            }
        }
        Expr::ScalarFunction(call) => {
            for (index, argument) in call.args.iter().enumerate() {
                if let Some(name) = untyped(argument)
                    && let Some(found) = type_of_argument(call, index, schema)
                {
                    hints.entry(name.to_owned()).or_insert(found);
                }
            }
        }
        _ => {}
    }
}

/// The type that a function takes: one that its signature names, or one that its other vector has, or else what the
/// name of the parameter says, which means the same in all our functions.
fn type_of_argument(call: &ScalarFunction, index: usize, schema: &DFSchema) -> Option<DataType> {
    let signature = call.func.signature();
    let mut examples = signature.type_signature.get_example_types().into_iter();
    if let Some(types) = examples.find(|types| types.len() == call.args.len()) {
        return types.into_iter().nth(index).filter(|found| *found != DataType::Null);
    }
    let name = signature.parameter_names.as_ref()?.get(index)?;
    match name.as_str() {
        "text" | "model" | "provider" | "input_type" | "on_error" | "location" | "mode" | "filter"
        | "fit" | "format" | "space" => Some(DataType::Utf8),
        "dimensions" | "max_side" | "max_bytes" | "width" | "height" | "x" | "y" | "quality" => {
            Some(DataType::Int64)
        }
        "bytes" | "image" => Some(DataType::Binary),
        "overwrite" => Some(DataType::Boolean),
        "a" | "b" => {
            let other = call.args.get(1 - index.min(1))?;
            let found = other.get_type(schema).ok().filter(|found| *found != DataType::Null);
            Some(found.unwrap_or_else(vector))
        }
        "vector" => Some(vector()),
        _ => None,
    }
}

fn vector() -> DataType {
    DataType::new_list(DataType::Float32, true)
}

/// The plan with the types of its parameters, and of all that is made of them.
fn with_types(plan: LogicalPlan, parameters: &[Parameter]) -> Result<LogicalPlan> {
    let field = |id: &str| {
        let number: usize = id.strip_prefix('$')?.parse().ok()?;
        Some(Arc::clone(&parameters.get(number.checked_sub(1)?)?.field))
    };
    let typed = plan.transform_up_with_subqueries(|plan| {
        let preserver = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let typed = expr.transform_up(|expr| match expr {
                Expr::Placeholder(Placeholder { id, field: None }) => {
                    let field = field(&id);
                    Ok(Transformed::yes(Expr::Placeholder(Placeholder { id, field })))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(typed.update_data(|expr| name.restore(expr)))
        })?
        .map_data(|plan| match plan {
            // its schema is that of its columns, which DataFusion has typed
            LogicalPlan::Values(_) => Ok(plan),
            plan => plan.recompute_schema(),
        })
    })?;
    Ok(typed.data)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::*;
    use crate::session;

    async fn prepared(sql: &str) -> Result<Prepared> {
        let ctx = session::new()?;
        session::sql(&ctx, "CREATE TABLE t AS SELECT 1 AS id, 'x' AS text, [1.0, 2.0] AS v").await?;
        Prepared::new(super::super::plan(&ctx.state(), sql).await?)
    }

    async fn types(sql: &str) -> String {
        let prepared = prepared(sql).await.unwrap();
        prepared.fields().map(|field| field.data_type().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn the_statement_tells_the_types_of_its_parameters() {
        for (sql, expected) in [
            ("SELECT embed_text(?)", "Utf8"),
            ("SELECT * FROM t WHERE id = ? LIMIT ? OFFSET ?", "Int64 Int64 Int64"),
            ("SELECT cosine_distance(v, ?) FROM t", "List(Float64)"),
            (
                "SELECT id FROM t ORDER BY cosine_distance(embed_text(text), embed_text(?)) LIMIT ?",
                "Utf8 Int64",
            ),
            ("SELECT CAST(? AS DATE), ?::INT", "Date32 Int32"),
            ("SELECT decode_image(?)", "Binary"),
            ("SELECT ?", "Utf8"),
            ("SELECT 1", ""),
            ("SELECT $2 + id, $1 || text FROM t", "Utf8 Int64"),
            ("INSERT INTO t VALUES (?, ?, [1.0])", "Int64 Utf8"),
        ] {
            let found = types(sql).await.replace("Utf8View", "Utf8");
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[tokio::test]
    async fn values_take_the_types_of_parameters() {
        let prepared = prepared("SELECT id FROM t WHERE id = ?").await.unwrap();
        let bind = |column: ArrayRef| prepared.bind(&RecordBatch::try_from_iter([("a", column)]).unwrap(), 0);
        let plan = bind(Arc::new(Int32Array::from(vec![7]))).unwrap();
        assert!(plan.display_indent().to_string().contains("t.id = Int64(7)"), "{}", plan.display_indent());
        let error = bind(Arc::new(StringArray::from(vec!["seven"]))).unwrap_err().to_string();
        assert!(error.contains("parameter $1 must be Int64, found a Utf8 that is not"), "{error}");
    }

    #[tokio::test]
    async fn gaps_and_names_are_refused() {
        let error = prepared("SELECT $1, $3").await.unwrap_err().to_string();
        assert!(error.contains("numbered from $1 without a gap, found $1, $3"), "{error}");
    }
}
