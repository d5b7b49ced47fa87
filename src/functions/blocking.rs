//! Running the body of a CPU-heavy function off the async workers.
use datafusion::common::Result;
use datafusion::common::runtime::SpawnedTask;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl};

/// Calls the synchronous body of `function` on a thread for blocking work, and makes an array of what it returns:
/// `DataFusion` takes a scalar of an async function for one row (apache/datafusion#20031 lists its limits).
pub(super) async fn run_blocking<F>(function: &F, args: ScalarFunctionArgs) -> Result<ColumnarValue>
where
    F: ScalarUDFImpl + Clone + 'static,
{
    let (function, rows) = (function.clone(), args.number_rows);
    let value = SpawnedTask::spawn_blocking(move || function.invoke_with_args(args)).join_unwind().await;
    let value =
        value.map_err(|error| datafusion::common::DataFusionError::ExecutionJoin(Box::new(error)))??;
    Ok(ColumnarValue::Array(value.into_array(rows)?))
}
