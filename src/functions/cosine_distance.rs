//! `cosine_distance(a, b)`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, PrimitiveArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::blocking::run_blocking;
use super::described;
use crate::planner::When;
use crate::types::embedding::space_name;
use crate::vector::{Metric, Query};

const NAME: &str = "cosine_distance";
const PARAMETERS: &[&str] = &["a", "b"];

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "1 - a·b / (|a| |b|) as Float64: 0 for the same direction, 1 for orthogonal vectors, 2 for opposite ones. NULL if a vector is NULL, has a NULL item, is empty or all zeros. Vectors of different lengths, or of two different spaces that are both known, are an error.",
    syntax_example = "cosine_distance(a, b)",
    sql_example = "SELECT text FROM documents ORDER BY cosine_distance(embed_text(text), embed_text('What is Daft?')) LIMIT 5",
    argument(name = "a", description = "A list of numbers: of fixed size, as embeddings are, or not."),
    argument(name = "b", description = "Another.")
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CosineDistance {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::with_twin(CosineDistance { signature: signature(PARAMETERS, 2) }, When::Always)
}

/// The type of a list's items; `None` if it is no list of numbers.
fn item_type(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type()).filter(|item| item.is_numeric() || item.is_null())
        }
        _ => None,
    }
}

fn check(a: &Field, b: &Field) -> Result<()> {
    for vector in [a, b] {
        let data_type = vector.data_type();
        if !data_type.is_null() && item_type(data_type).is_none() {
            return plan_err!("{NAME} does not support type {data_type}: it takes lists of numbers");
        }
    }
    if let (DataType::FixedSizeList(_, of_a), DataType::FixedSizeList(_, of_b)) =
        (a.data_type(), b.data_type())
        && of_a != of_b
    {
        return plan_err!(
            "{NAME}: vectors of different dimensions, {of_a} and {of_b}: embed both with the same model"
        );
    }
    if let (Some(of_a), Some(of_b)) = (space_name(a), space_name(b))
        && of_a != of_b
    {
        return plan_err!(
            "{NAME}: vectors of different spaces, '{of_a}' and '{of_b}': embed both with the same model"
        );
    }
    Ok(())
}

impl ScalarUDFImpl for CosineDistance {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 2, &args)?;
        check(arguments.field(0), arguments.field(1))?;
        Ok(Arc::new(Field::new(NAME, DataType::Float64, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let (constant_a, constant_b) = (constant(&args.args[0]), constant(&args.args[1]));
        // a constant side is one vector, never a copy for each row
        let rows = if constant_a && constant_b { 1 } else { args.number_rows };
        let vectors = |value: &ColumnarValue, constant| value.to_array(if constant { 1 } else { rows });
        let a = Vectors::new(&vectors(&args.args[0], constant_a)?, constant_a)?;
        let b = Vectors::new(&vectors(&args.args[1], constant_b)?, constant_b)?;
        let distances = distances(&a, &b, rows)?;
        Ok(match constant_a && constant_b {
            true => ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&distances, 0)?),
            false => ColumnarValue::Array(Arc::new(distances)),
        })
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for CosineDistance {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run_blocking(self, args).await
    }
}

/// A column of vectors, its items read in place where they are f32 or f64.
struct Vectors {
    lists: ArrayRef,
    items: ArrayRef,
    /// The only vector stands for every row.
    constant: bool,
}

impl Vectors {
    fn new(lists: &ArrayRef, constant: bool) -> Result<Self> {
        let items = match lists.data_type() {
            DataType::List(_) => Arc::clone(lists.as_list::<i32>().values()),
            DataType::LargeList(_) => Arc::clone(lists.as_list::<i64>().values()),
            DataType::FixedSizeList(..) => Arc::clone(lists.as_fixed_size_list().values()),
            DataType::Null => Arc::new(Float64Array::from(Vec::<f64>::new())),
            other => return internal_err!("{NAME}: expected a list, found {other}"),
        };
        let items = match items.data_type() {
            DataType::Float32 | DataType::Float64 => items,
            _ => cast(&items, &DataType::Float64)?,
        };
        Ok(Self { lists: Arc::clone(lists), items, constant })
    }

    fn has_items_of<T: ArrowPrimitiveType>(&self) -> bool {
        self.items.data_type() == &T::DATA_TYPE
    }

    fn with_items_of<T: ArrowPrimitiveType>(&self) -> Result<Self> {
        let items = cast(&self.items, &T::DATA_TYPE)?;
        Ok(Self { lists: Arc::clone(&self.lists), items, constant: self.constant })
    }

    /// Where the items of a row are; `None` if it is NULL.
    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let row = if self.constant { 0 } else { row };
        if self.lists.data_type().is_null() || self.lists.is_null(row) {
            return None;
        }
        let range = |start: usize, length: usize| start..start + length;
        match self.lists.data_type() {
            DataType::List(_) => {
                let lists = self.lists.as_list::<i32>();
                Some(range(
                    usize::try_from(lists.value_offsets()[row]).ok()?,
                    usize::try_from(lists.value_length(row)).ok()?,
                ))
            }
            DataType::LargeList(_) => {
                let lists = self.lists.as_list::<i64>();
                Some(range(
                    usize::try_from(lists.value_offsets()[row]).ok()?,
                    usize::try_from(lists.value_length(row)).ok()?,
                ))
            }
            _ => {
                let lists = self.lists.as_fixed_size_list();
                Some(range(
                    usize::try_from(lists.value_offset(row)).ok()?,
                    usize::try_from(lists.value_length()).ok()?,
                ))
            }
        }
    }
}

fn distances(a: &Vectors, b: &Vectors, rows: usize) -> Result<Float64Array> {
    if a.has_items_of::<Float32Type>() && b.has_items_of::<Float32Type>() {
        return distances_of::<Float32Type>(a, b, rows);
    }
    distances_of::<Float64Type>(&a.with_items_of::<Float64Type>()?, &b.with_items_of::<Float64Type>()?, rows)
}

fn distances_of<T>(a: &Vectors, b: &Vectors, rows: usize) -> Result<Float64Array>
where
    T: ArrowPrimitiveType,
    T::Native: crate::vector::Item,
{
    let (items_a, items_b): (&PrimitiveArray<T>, &PrimitiveArray<T>) =
        (a.items.as_primitive(), b.items.as_primitive());
    let has_null = |items: &PrimitiveArray<T>, range: &std::ops::Range<usize>| {
        items.nulls().is_some_and(|nulls| range.clone().any(|item| nulls.is_null(item)))
    };
    let mut distances = Float64Builder::with_capacity(rows);
    for row in 0..rows {
        let (Some(of_a), Some(of_b)) = (a.range(row), b.range(row)) else {
            distances.append_null();
            continue;
        };
        if of_a.len() != of_b.len() {
            return exec_err!(
                "{NAME} requires both list inputs to have the same length, got {} and {}",
                of_a.len(),
                of_b.len()
            );
        }
        let distance = if has_null(items_a, &of_a) || has_null(items_b, &of_b) {
            None
        } else {
            Query::new(Metric::CosineDistance, &items_b.values()[of_b]).value(&items_a.values()[of_a])
        };
        distances.append_option(distance);
    }
    Ok(distances.finish())
}
