//! `vector_to_bytes(vector)`
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::described;
use crate::types::packed::{pack, packed_field};

const NAME: &str = "vector_to_bytes";
const PARAMETERS: &[&str] = &["vector"];

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "The items of a vector of f32 one behind the other, 4 bytes each, the least first, as numpy's tobytes() gives them. What is known of an embedding stays known. NULL gives NULL; a vector with a NULL in it is an error.",
    syntax_example = "vector_to_bytes(vector)",
    sql_example = "SELECT vector_to_bytes(embed_text('Hello, world!'))",
    argument(name = "vector", description = "A FixedSizeList of Float32, as embeddings are.")
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct VectorToBytes {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::synchronous(VectorToBytes { signature: signature(PARAMETERS, 1) })
}

impl ScalarUDFImpl for VectorToBytes {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        let vector = arguments.field(0);
        match packed_field(vector, NAME) {
            Some(field) => Ok(Arc::new(field)),
            None if vector.data_type().is_null() => Ok(Arc::new(Field::new(NAME, DataType::Binary, true))),
            None => plan_err!(
                "{NAME} does not support type {}: it takes vectors of Float32 of one length, cast it with \
                 arrow_cast(x, 'FixedSizeList(3, Float32)')",
                vector.data_type()
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let vectors = args.args[0].to_array(args.number_rows)?;
        if vectors.data_type().is_null() {
            return Ok(ColumnarValue::Scalar(ScalarValue::Binary(None)));
        }
        match pack(vectors.as_fixed_size_list()) {
            Ok(bytes) => Ok(ColumnarValue::Array(Arc::new(bytes))),
            Err(ArrowError::InvalidArgumentError(reason)) => exec_err!("{NAME}: {reason}"),
            Err(error) => Err(error.into()),
        }
    }
}
