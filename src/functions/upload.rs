//! `upload(bytes, location [, overwrite [, on_error]])`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::StringArray;
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
use super::images::{bytes, is_binary, or_null};
use super::strings::{is_string, strings};
use super::{Function, FunctionContext};
use crate::inference::Running;

const NAME: &str = "upload";
const PARAMETERS: &[&str] = &["bytes", "location", "overwrite", "on_error"];

/// How many rows one call gets: their bytes are held until the last of them is written.
const SLICE_ROWS: usize = 16;

#[user_doc(
    doc_section(label = "File Functions"),
    description = "Writes bytes to a file, whole or not at all, and returns its location: a local path, whose folders are made, or with the feature cloud an s3://, gs:// or az:// URL. A file that is there is an error unless overwrite is true. The options semantic.allow_upload, semantic.allow_paths and semantic.allow_hosts have to allow it. NULL gives NULL, and nothing is written.",
    syntax_example = "upload(bytes, location [, overwrite [, on_error]])",
    sql_example = "SELECT upload(content, 'copies/' || id || '.png') FROM photos",
    argument(name = "bytes", description = "Binary."),
    argument(name = "location", description = "A path or a URL."),
    argument(name = "overwrite", description = "true replaces a file that is there. Default: false."),
    argument(
        name = "on_error",
        description = "'raise' fails the query at a file that cannot be written, 'null' makes it NULL. Default: the option semantic.on_error."
    )
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Upload {
    signature: Signature,
    context: Arc<FunctionContext>,
}

pub(super) fn function(context: &Arc<FunctionContext>) -> Function {
    Function::asynchronous(Upload { signature: signature(PARAMETERS, 2), context: Arc::clone(context) })
}

impl ScalarUDFImpl for Upload {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 2, &args)?;
        let (content, location) = (arguments.field(0).data_type(), arguments.field(1).data_type());
        if !is_binary(content) {
            return plan_err!(
                "{NAME}: bytes must be binary, found {content}; write text with arrow_cast(text, 'Binary')"
            );
        }
        if !is_string(location) {
            return plan_err!("{NAME}: location must be a string, found {location}");
        }
        arguments.boolean(2)?;
        arguments.on_error(3, &self.context.settings())?;
        Ok(Arc::new(Field::new(NAME, DataType::Utf8, true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{NAME} is async")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Upload {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let settings = self.context.settings_of(&args.config_options);
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let overwrite = arguments.boolean(2)?.unwrap_or_default();
        let on_error = arguments.on_error(3, &settings)?;
        let contents = args.args[0].to_array(args.number_rows)?;
        let locations = args.args[1].to_array(args.number_rows)?;
        let running = &Running::current(settings.max_concurrency);
        let files = &self.context.files(&settings, &running.usage().retries);
        let rows = bytes(&contents)?.into_iter().zip(strings(&locations)?);
        let written = rows.map(|(content, location)| async move {
            let (Some(content), Some(location)) = (content, location) else { return Ok(None) };
            let upload = files.upload(content.to_vec(), location, overwrite);
            let written = or_null(running.request(upload).await.map(|()| Some(location)), on_error)?;
            let usage = running.usage();
            match written {
                Some(_) => usage.bytes.add(content.len()),
                None => usage.failed_rows.add(1),
            }
            Ok(written)
        });
        let written = try_join_all(written).await.map_err(|error| arguments.error(error))?;
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(written))))
    }
}
