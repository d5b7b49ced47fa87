//! Running the body of a function that computes pixels off the async workers.
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl};

use crate::inference::Running;

/// Calls the synchronous body of `function` on a thread for pixels, and makes an array of what it returns:
/// `DataFusion` takes a scalar of an async function for one row (apache/datafusion#20031 lists its limits).
pub(super) async fn run_blocking<F>(function: &F, args: ScalarFunctionArgs) -> Result<ColumnarValue>
where
    F: ScalarUDFImpl + Clone + 'static,
{
    let (function, rows) = (function.clone(), args.number_rows);
    let running = Running::current(1);
    let value = running.on_pixels(move || function.invoke_with_args(args)).await?;
    Ok(ColumnarValue::Array(value.into_array(rows)?))
}
