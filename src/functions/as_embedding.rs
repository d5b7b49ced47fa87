//! `as_embedding(vector, space)`
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::Function;
use super::arguments::{Arguments, signature};
use super::described;
use super::vectors::item_type;
use crate::types::SPACE_KEY;
use crate::types::packed::has_vector_with_null;

const NAME: &str = "as_embedding";
const PARAMETERS: &[&str] = &["vector", "space"];

#[user_doc(
    doc_section(label = "Vector Functions"),
    description = "The vector as an embedding of a space: for vectors that were made elsewhere, or whose space got lost. Vectors of different spaces cannot be compared by mistake, and Parquet files hold embeddings in a way that is read fast. A FixedSizeList of Float32; NULL gives NULL; a vector with a NULL in it is an error.",
    syntax_example = "as_embedding(vector, space)",
    sql_example = "SELECT as_embedding(arrow_cast([0.6, 0.8], 'FixedSizeList(2, Float32)'), 'my-model')",
    argument(name = "vector", description = "Numbers, as many in every vector: a FixedSizeList."),
    argument(name = "space", description = "The name of the space: that of the model.")
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AsEmbedding {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::synchronous(AsEmbedding { signature: signature(PARAMETERS, 2) })
}

impl ScalarUDFImpl for AsEmbedding {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 2, &args)?;
        let data_type = arguments.field(0).data_type();
        let Some(space) = arguments.string(1, "'all-MiniLM-L6-v2'")?.filter(|space| !space.is_empty()) else {
            return plan_err!("{NAME}: space must be the name of a space, found none");
        };
        let DataType::FixedSizeList(_, dimensions) = data_type else {
            return plan_err!(
                "{NAME} does not support type {data_type}: it takes vectors of one length, cast it with \
                 arrow_cast(x, 'FixedSizeList(3, Float32)')"
            );
        };
        if item_type(data_type).is_none() {
            return plan_err!("{NAME} does not support type {data_type}: it takes lists of numbers");
        }
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let field = Field::new(NAME, DataType::FixedSizeList(item, *dimensions), true);
        Ok(Arc::new(field.with_metadata([(SPACE_KEY.to_owned(), space.to_owned())].into())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = matches!(args.args[0], ColumnarValue::Scalar(_));
        let vectors = args.args[0].to_array(if constant { 1 } else { args.number_rows })?;
        let vectors = cast(&vectors, args.return_type())?;
        if has_vector_with_null(vectors.as_fixed_size_list()) {
            return exec_err!("{NAME}: a vector has a NULL in it: no embedding has");
        }
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&vectors, 0)?),
            false => ColumnarValue::Array(vectors),
        })
    }
}
