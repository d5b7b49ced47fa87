//! `download(location [, on_error])`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::LargeBinaryArray;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{HashMap, Result, internal_err, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::arguments::{Arguments, signature};
use super::described;
use super::images::or_null;
use super::strings::{is_string, strings};
use super::{Function, FunctionContext};
use crate::io::download::download;

const NAME: &str = "download";
const PARAMETERS: &[&str] = &["location", "on_error"];

/// How many rows one call gets: their contents are held at the same time.
const SLICE_ROWS: usize = 64;

#[user_doc(
    doc_section(label = "File Functions"),
    description = "The content of a file: of a local path, a file:// URL, or an http(s) URL. At most semantic.max_concurrency are read at the same time, equal locations of neighbouring rows once. NULL gives NULL.",
    syntax_example = "download(location [, on_error])",
    sql_example = "SELECT path, download(path) AS content FROM glob('photos/*')",
    argument(name = "location", description = "A path or a URL."),
    argument(
        name = "on_error",
        description = "'raise' fails the query at a file that cannot be read, 'null' makes it NULL. Default: the option semantic.on_error."
    )
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Download {
    signature: Signature,
    context: Arc<FunctionContext>,
}

pub(super) fn function(context: &Arc<FunctionContext>) -> Function {
    Function::asynchronous(Download { signature: signature(PARAMETERS, 1), context: Arc::clone(context) })
}

impl ScalarUDFImpl for Download {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        let location = arguments.field(0).data_type();
        if !is_string(location) {
            return plan_err!("{NAME}: location must be a string, found {location}");
        }
        arguments.on_error(1, &self.context.settings())?;
        Ok(Arc::new(Field::new(NAME, DataType::LargeBinary, true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{NAME} is async")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Download {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let settings = self.context.settings_of(&args.config_options);
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let on_error = arguments.on_error(1, &settings)?;
        let array = args.args[0].to_array(args.number_rows)?;
        let locations = strings(&array)?;
        let mut distinct: Vec<&str> = locations.iter().copied().flatten().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let requests = distinct.into_iter().map(|location| {
            let request =
                async move { Ok((location, or_null(download(location).await.map(Some), on_error)?)) };
            request.boxed()
        });
        let contents: HashMap<&str, Option<Vec<u8>>> = futures::stream::iter(requests.collect::<Vec<_>>())
            .buffered(settings.max_concurrency)
            .try_collect()
            .await
            .map_err(|error| arguments.error(error))?;
        let content = |location: Option<&str>| contents.get(location?)?.as_deref();
        let column: LargeBinaryArray = locations.into_iter().map(content).collect();
        Ok(ColumnarValue::Array(Arc::new(column)))
    }
}
