//! `vector_norm(vector)`
use std::sync::Arc;

use datafusion::arrow::array::{Array, Float64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::described;
use super::vectors::check_numbers;
use crate::types::vectors::{Vectors, with_numbers};
use crate::vector::norm;

const NAME: &str = "vector_norm";
const PARAMETERS: &[&str] = &["vector"];

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "The length of a vector, |a| = √Σ aᵢ², as Float64; 0 for an empty vector. NULL if the vector is NULL or has a NULL item.",
    syntax_example = "vector_norm(vector)",
    sql_example = "SELECT vector_norm([3.0, 4.0])",
    argument(name = "vector", description = "A list of numbers: of fixed size, as embeddings are, or not.")
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct VectorNorm {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::synchronous(VectorNorm { signature: signature(PARAMETERS, 1) })
}

impl ScalarUDFImpl for VectorNorm {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        check_numbers(NAME, Arguments::planned(NAME, PARAMETERS, 1, &args)?.field(0))?;
        Ok(Arc::new(Field::new(NAME, DataType::Float64, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = matches!(args.args[0], ColumnarValue::Scalar(_));
        let lists = args.args[0].to_array(if constant { 1 } else { args.number_rows })?;
        let vectors = Vectors::new(&lists)?;
        let norms: Float64Array = with_numbers!(vectors, numbers => {
            (0..lists.len()).map(|row| vectors.range(row).map(|range| norm(&numbers[range]))).collect()
        });
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&norms, 0)?),
            false => ColumnarValue::Array(Arc::new(norms)),
        })
    }
}
