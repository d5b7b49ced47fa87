//! Which calls make a small image of a large one.
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::PhysicalExpr;

use super::convert_image::ConvertImage;
use super::decode_image::{DecodeImage, Resized};
use super::{resize, thumbnail};
use crate::image::{Filter, Fit, Resizing};
use crate::types::image::ImageType;

/// `resize` or `thumbnail` of an image that is decoded on the way to it, over a decoding that gives the result already;
/// `None` for any other expression. Between them may be a conversion of modes, nothing else.
///
/// The calls stay, and find nothing left to do: an image that has its size or its mode is returned as it is.
pub(crate) fn decode_resized(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let Some(resizing) = expr.downcast_ref::<ScalarFunctionExpr>().and_then(resizing) else {
        return Ok(None);
    };
    with_decoding(expr, |image| decode(image, Resized { mode: None, resizing }))
}

/// What a call makes of images, if that is known at plan time.
fn resizing(call: &ScalarFunctionExpr) -> Option<Resizing> {
    // an async function does not show what it is: its name, and a decoding of ours in its argument, do
    let side = |index: usize| positive(constant(call.args().get(index)?)?);
    match call.fun().name() {
        resize::NAME => Some(Resizing {
            width: side(1)?,
            height: side(2)?,
            filter: named(call, 3, Filter::Bilinear)?,
            fit: named(call, 4, Fit::Stretch)?,
        }),
        thumbnail::NAME => Some(Resizing::thumbnail(side(1)?)),
        _ => None,
    }
}

/// The call of `decode_image`, told what is made of the image, through a conversion of modes.
fn decode(image: &Arc<dyn PhysicalExpr>, mut then: Resized) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let Some(call) = image.downcast_ref::<ScalarFunctionExpr>() else { return Ok(None) };
    if call.fun().inner().is::<ConvertImage>() {
        let mode = call.args().get(1).and_then(text).and_then(|mode| mode.parse().ok());
        // of two conversions the first would not find its work done
        let (Some(mode), None) = (mode, then.mode) else { return Ok(None) };
        then.mode = Some(mode);
        return with_decoding(image, |image| decode(image, then));
    }
    let Resizing { width, height, .. } = then.resizing;
    let Some(decode) =
        call.fun().inner().downcast_ref::<DecodeImage>().and_then(|decode| decode.resized(then))
    else {
        return Ok(None);
    };
    // the name is what EXPLAIN shows
    let name = format!("{} for {width}x{height} of ", call.name());
    Ok(Some(Arc::new(ScalarFunctionExpr::new(
        &name,
        Arc::new(ScalarUDF::new_from_impl(decode)),
        call.args().to_vec(),
        // of the mode that the conversion makes
        Arc::new(ImageType::Any(None).field(call.name())),
        Arc::new(call.config_options().clone()),
    ))))
}

/// The call over another first argument, if there is one.
fn with_decoding(
    call: &Arc<dyn PhysicalExpr>,
    rewrite: impl FnOnce(&Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>>,
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

fn text(expr: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    constant(expr)?.try_as_str()?
}

/// The value that an argument names, or the default where it is left out or NULL.
fn named<T: std::str::FromStr>(call: &ScalarFunctionExpr, index: usize, default: T) -> Option<T> {
    match call.args().get(index) {
        None => Some(default),
        Some(argument) if constant(argument)?.is_null() => Some(default),
        Some(argument) => text(argument)?.parse().ok(),
    }
}

fn positive(value: &ScalarValue) -> Option<u32> {
    match value.cast_to(&DataType::UInt32) {
        Ok(ScalarValue::UInt32(side)) => side,
        _ => None,
    }
}
