//! `vector_from_bytes(bytes)`
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray};
use datafusion::arrow::buffer::{Buffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::described;
use crate::types::packed::{numbers, unpack, unpacked_field};

const NAME: &str = "vector_from_bytes";
const PARAMETERS: &[&str] = &["bytes"];

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "The vector whose items are f32 of 4 bytes each, the least first, as numpy's tobytes() gives them: a FixedSizeList of Float32 where all bytes have one known length, else a List. What is known of an embedding stays known. NULL gives NULL; bytes whose number is no multiple of 4 are an error.",
    syntax_example = "vector_from_bytes(bytes)",
    sql_example = "SELECT vector_from_bytes(X'0000803f00000040')",
    argument(name = "bytes", description = "Binary, of fixed size or not.")
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct VectorFromBytes {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::synchronous(VectorFromBytes { signature: signature(PARAMETERS, 1) })
}

impl ScalarUDFImpl for VectorFromBytes {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        let bytes = arguments.field(0);
        match bytes.data_type() {
            DataType::FixedSizeBinary(length) => match unpacked_field(bytes, NAME) {
                Some(field) => Ok(Arc::new(field)),
                None => plan_err!("{NAME}: {length} bytes are no vector of f32, which have 4 bytes each"),
            },
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null => {
                Ok(Arc::new(Field::new_list(NAME, Field::new_list_field(DataType::Float32, true), true)))
            }
            other => plan_err!("{NAME} does not support type {other}: it takes bytes"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = args.args[0].to_array(args.number_rows)?;
        let vectors: ArrayRef = match bytes.as_fixed_size_binary_opt() {
            Some(bytes) => Arc::new(unpack(bytes)?),
            None => of_any_length(&bytes)?,
        };
        Ok(ColumnarValue::Array(vectors))
    }
}

fn of_any_length(bytes: &ArrayRef) -> Result<ArrayRef> {
    let bytes = cast(bytes, &DataType::Binary)?;
    let bytes = bytes.as_binary::<i32>();
    let mut lengths = Vec::with_capacity(bytes.len());
    for value in bytes {
        let length = value.map_or(0, <[u8]>::len);
        if length % 4 != 0 {
            return exec_err!("{NAME}: {length} bytes are no vector of f32, which have 4 bytes each");
        }
        lengths.push(length / 4);
    }
    let items: Vec<u8> = bytes.iter().flatten().flatten().copied().collect();
    let items = numbers(&Buffer::from_vec(items), lengths.iter().sum());
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let (offsets, nulls) = (OffsetBuffer::from_lengths(lengths), bytes.nulls().cloned());
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(items), nulls)?))
}
