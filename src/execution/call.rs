//! An async call as it is planned.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::async_scalar_function::AsyncFuncExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;

use super::keys::has_keys;
use crate::types::MODEL_KEY;
use crate::types::image::ImageType;

/// A call over the columns of an operator's input.
#[derive(Debug)]
pub(super) struct Call {
    expr: Arc<AsyncFuncExpr>,
    pub(super) function: ScalarUDF,
    pub(super) args: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) arg_fields: Vec<FieldRef>,
    pub(super) return_field: FieldRef,
    /// If functions in the arguments make pixels: the columns that the arguments read.
    pub(super) pixels_of: Option<Vec<usize>>,
    pub(super) returns_image: bool,
}

impl Call {
    pub(super) fn try_new(expr: Arc<AsyncFuncExpr>, schema: &Schema) -> Result<Self> {
        let Some(function) = expr.func.downcast_ref::<ScalarFunctionExpr>() else {
            return internal_err!("expected a scalar function, found {}", expr.func);
        };
        let args = function.args().to_vec();
        let arg_fields = args.iter().map(|arg| arg.return_field(schema)).collect::<Result<Vec<_>>>()?;
        let pixels_of = args.iter().any(|arg| makes_pixels(arg, schema)).then(|| {
            let mut columns: Vec<_> =
                args.iter().flat_map(collect_columns).map(|column| column.index()).collect();
            columns.sort_unstable();
            columns.dedup();
            columns
        });
        let (function, return_field) = (function.fun().clone(), function.return_field(schema)?);
        let returns_image = ImageType::of(&return_field).is_some();
        Ok(Self { expr, function, args, arg_fields, return_field, pixels_of, returns_image })
    }

    pub(super) fn expr(&self) -> &Arc<AsyncFuncExpr> {
        &self.expr
    }

    /// The most rows that the function wants at a time.
    pub(super) fn max_rows(&self) -> Option<usize> {
        self.function.as_async()?.ideal_batch_size().filter(|rows| *rows > 0)
    }

    /// The function and its model, if it has one: what has one limit of requests in flight.
    pub(super) fn served_by(&self) -> String {
        let model = self.return_field.metadata().get(MODEL_KEY).map_or("", String::as_str);
        format!("{} {model}", self.function.name())
    }

    /// What tells the call from every other one of the query, but for the values of `constants`. `schema` is that of
    /// the input.
    pub(super) fn description(&self, schema: &Schema) -> String {
        let mut description = format!("{} -> {}", self.function.name(), described(&self.return_field));
        for field in &self.arg_fields {
            description.extend([", ", &described(field)]);
        }
        if let Some(columns) = &self.pixels_of {
            description.extend([" of ", &self.expr.func.to_string()]);
            for index in columns {
                description.extend([", ", &described(schema.field(*index))]);
            }
        }
        description
    }

    /// The values inside the arguments that are the same for every row; none if something else than a column or a
    /// constant is in them.
    pub(super) fn constants(&self, batch: &RecordBatch) -> Result<Option<Vec<ArrayRef>>> {
        let mut leaves = vec![];
        for arg in &self.args {
            arg.apply(|node| {
                if node.children().is_empty() && !node.is::<Column>() {
                    leaves.push(Arc::clone(node));
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        leaves
            .into_iter()
            .map(|leaf| match leaf.evaluate(batch)? {
                ColumnarValue::Scalar(value) => value.to_array().map(Some),
                ColumnarValue::Array(_) => Ok(None),
            })
            .collect()
    }

    /// Whether the argument at `position` has one value for all rows.
    pub(super) fn is_constant(&self, position: usize) -> bool {
        !any_node(&self.args[position], |node| node.is::<Column>() || node.is_volatile_node())
    }

    pub(super) fn is_volatile(&self) -> bool {
        self.function.signature().volatility == Volatility::Volatile
    }

    /// The bytes of a result, where its type tells them.
    pub(super) fn result_bytes(&self) -> usize {
        match self.return_field.data_type() {
            DataType::FixedSizeList(item, length) => {
                item.data_type().primitive_width().unwrap_or_default()
                    * usize::try_from(*length).unwrap_or_default()
            }
            data_type => data_type.primitive_width().unwrap_or_default(),
        }
    }

    /// Whether the results of equal inputs are equal, and inputs can be told apart.
    pub(super) fn can_be_shared(&self, schema: &Schema) -> bool {
        !self.is_volatile()
            && match &self.pixels_of {
                Some(columns) => {
                    self.args.iter().all(|arg| !any_node(arg, |node| node.is_volatile_node()))
                        && has_keys(columns.iter().map(|index| schema.field(*index).data_type()))
                }
                None => has_keys(self.arg_fields.iter().map(|field| field.data_type())),
            }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} AS {}", self.expr.func, self.expr.name())?;
        match self.return_field.metadata().get(MODEL_KEY) {
            Some(model) => write!(f, " WITH {model}"),
            None => Ok(()),
        }
    }
}

/// The type and the metadata of a field, which tell what its bytes mean.
fn described(field: &Field) -> String {
    let metadata: BTreeMap<_, _> = field.metadata().iter().collect();
    format!("{} {metadata:?}", field.data_type())
}

/// Whether a function inside `expr` returns images.
fn makes_pixels(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    any_node(expr, |node| {
        let function = node.downcast_ref::<ScalarFunctionExpr>();
        function.is_some_and(|function| {
            function.return_field(schema).is_ok_and(|field| ImageType::of(&field).is_some())
        })
    })
}

fn any_node(expr: &Arc<dyn PhysicalExpr>, mut test: impl FnMut(&Arc<dyn PhysicalExpr>) -> bool) -> bool {
    let mut found = false;
    // the closure never fails
    let _ = expr.apply(|node| {
        found |= test(node);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
