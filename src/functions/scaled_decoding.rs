//! Which calls make a small image of a large one.
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::PhysicalExpr;

use super::convert_image::ConvertImage;
use super::decode_image::DecodeImage;
use super::{resize, thumbnail};

/// `resize` or `thumbnail` of an image that is decoded on the way to it, told at which size it is needed; `None` for any
/// other expression over columns of `schema`. Between them modes may be converted, nothing else.
pub(crate) fn scaled_decoding(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let Some(size) = expr.downcast_ref::<ScalarFunctionExpr>().and_then(size_of_result) else {
        return Ok(None);
    };
    with_decoding(expr, |image| decode_at_least(image, size, schema))
}

/// The size that a call makes images of.
fn size_of_result(call: &ScalarFunctionExpr) -> Option<(u32, u32)> {
    // an async function does not show what it is: its name, and a decoding of ours in its argument, do
    let side = |index: usize| positive(constant(call.args().get(index)?)?);
    match call.fun().name() {
        resize::NAME => {
            let averages = match call.args().get(3).map(constant) {
                None => true,
                Some(filter) => filter.is_some_and(|filter| filter.try_as_str() != Some(Some("nearest"))),
            };
            averages.then_some((side(1)?, side(2)?))
        }
        thumbnail::NAME => Some((side(1)?, side(1)?)),
        _ => None,
    }
}

/// The call of `decode_image`, told that an image of `size` is enough, through conversions of modes.
fn decode_at_least(
    image: &Arc<dyn PhysicalExpr>,
    size: (u32, u32),
    schema: &Schema,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let Some(call) = image.downcast_ref::<ScalarFunctionExpr>() else { return Ok(None) };
    if call.fun().inner().is::<ConvertImage>() {
        return with_decoding(image, |image| decode_at_least(image, size, schema));
    }
    let Some(decode) =
        call.fun().inner().downcast_ref::<DecodeImage>().and_then(|decode| decode.at_least(size))
    else {
        return Ok(None);
    };
    // the name is what EXPLAIN shows
    let name = format!("{} for {}x{} of ", call.name(), size.0, size.1);
    Ok(Some(Arc::new(ScalarFunctionExpr::new(
        &name,
        Arc::new(ScalarUDF::new_from_impl(decode)),
        call.args().to_vec(),
        call.return_field(schema)?,
        Arc::new(call.config_options().clone()),
    ))))
}

/// The call over another first argument, if there is one.
fn with_decoding(
    call: &Arc<dyn PhysicalExpr>,
    rewrite: impl Fn(&Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>>,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let mut args: Vec<_> = call.children().into_iter().cloned().collect();
    let Some(first) = args.first_mut() else { return Ok(None) };
    let Some(rewritten) = rewrite(first)? else { return Ok(None) };
    *first = rewritten;
    Arc::clone(call).with_new_children(args).map(Some)
}

fn constant(expr: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    Some(expr.downcast_ref::<Literal>()?.value())
}

fn positive(value: &ScalarValue) -> Option<u32> {
    match value.cast_to(&datafusion::arrow::datatypes::DataType::UInt32) {
        Ok(ScalarValue::UInt32(side)) => side,
        _ => None,
    }
}
