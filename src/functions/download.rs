//! `download(location [, on_error [, max_bytes]])`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::LargeBinaryBuilder;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;
use futures::future::try_join_all;

use super::arguments::{Arguments, signature};
use super::described;
use super::images::or_null;
use super::strings::{is_string, strings};
use super::{Function, FunctionContext};
use crate::inference::Running;

const NAME: &str = "download";
const PARAMETERS: &[&str] = &["location", "on_error", "max_bytes"];

/// How many rows one call gets: their contents are held until the last of them is there.
const SLICE_ROWS: usize = 16;

#[user_doc(
    doc_section(label = "File Functions"),
    description = "The content of a file: of a local path, or of a file://, http(s):// or hf:// URL, with the feature cloud also of an s3://, gs:// or az:// one, if the options semantic.allow_paths and semantic.allow_hosts allow it. At most semantic.max_concurrency are read at the same time, equal locations of a query once. NULL gives NULL.",
    syntax_example = "download(location [, on_error [, max_bytes]])",
    sql_example = "SELECT path, download(path) AS content FROM glob('photos/*')",
    argument(name = "location", description = "A path or a URL."),
    argument(
        name = "on_error",
        description = "'raise' fails the query at a file that cannot be read, 'null' makes it NULL. Default: the option semantic.on_error."
    ),
    argument(
        name = "max_bytes",
        description = "A larger file is an error. Default: the option semantic.max_bytes, which it cannot exceed."
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
        arguments.positive(2, 1_000_000, u32::MAX)?;
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
        let max_bytes = arguments.positive(2, 1_000_000, u32::MAX)?.map_or(u64::MAX, u64::from);
        let max_bytes = max_bytes.min(settings.files.max_bytes);
        let array = args.args[0].to_array(args.number_rows)?;
        let running = &Running::current(settings.max_concurrency);
        let files = &self.context.files(&settings, &running.usage().retries);
        let contents = strings(&array)?.into_iter().map(|location| async move {
            let Some(location) = location else { return Ok(None) };
            let content =
                or_null(running.request(files.download(location, max_bytes)).await.map(Some), on_error)?;
            let usage = running.usage();
            match &content {
                Some(content) => usage.bytes.add(content.len()),
                None => usage.failed_rows.add(1),
            }
            Ok(content)
        });
        let contents = try_join_all(contents).await.map_err(|error| arguments.error(error))?;
        // files are large: not a byte more than they have
        let bytes = contents.iter().flatten().map(Vec::len).sum();
        let mut column = LargeBinaryBuilder::with_capacity(contents.len(), bytes);
        for content in contents {
            column.append_option(content);
        }
        Ok(ColumnarValue::Array(Arc::new(column.finish())))
    }
}
