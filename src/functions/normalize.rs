//! `normalize(vector)`
use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::{Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::described;
use super::vectors::{check_numbers, float_list, lists_of};
use crate::types::embedding::space_metadata;
use crate::types::vectors::{Vectors, with_numbers};
use crate::vector::normalize;

const NAME: &str = "normalize";
const PARAMETERS: &[&str] = &["vector"];

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "The vector in the same direction with length 1, aᵢ / |a|: a list of the same kind, of floats of the same width, else of Float64. An embedding stays in its space. NULL if the vector is NULL, has a NULL item or is all zeros; an empty vector stays empty.",
    syntax_example = "normalize(vector)",
    sql_example = "SELECT normalize([3.0, 4.0])",
    argument(name = "vector", description = "A list of numbers: of fixed size, as embeddings are, or not.")
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Normalize {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::synchronous(Normalize { signature: signature(PARAMETERS, 1) })
}

impl ScalarUDFImpl for Normalize {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        let vector = arguments.field(0);
        check_numbers(NAME, vector)?;
        let field = Field::new(NAME, float_list(vector.data_type()), true);
        Ok(Arc::new(field.with_metadata(space_metadata(vector, true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = matches!(args.args[0], ColumnarValue::Scalar(_));
        let lists = args.args[0].to_array(if constant { 1 } else { args.number_rows })?;
        let vectors = Vectors::new(&lists)?;
        let unit = with_numbers!(vectors, numbers => {
            (0..lists.len()).map(|row| normalize(&numbers[vectors.range(row)?])).collect::<Vec<_>>()
        });
        let unit = lists_of(args.return_type(), &unit)?;
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&unit, 0)?),
            false => ColumnarValue::Array(unit),
        })
    }
}
