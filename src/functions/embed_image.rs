//! `embed_image(image [, model [, provider [, dimensions [, on_error]]]])`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::arguments::{Arguments, ModelArguments, signature};
use super::described;
use super::images::{image_type, images, is_binary};
use super::{Function, FunctionContext, IMAGE_SLICE_ROWS};
use crate::blocking::compute;
use crate::config::Settings;
use crate::image::Image;
use crate::inference::{Limits, embed};
use crate::models::ImageEmbedder;

const NAME: &str = "embed_image";
const PARAMETERS: &[&str] = &["image", "model", "provider", "dimensions", "on_error"];

#[user_doc(
    doc_section(label = "Embedding Functions"),
    description = "The embedding of an image: FixedSizeList<Float32, dimensions>, in the space of the model. NULL gives NULL without a call. Pixels are brought to what the model expects as its own files say: size, crop, channels, normalisation.",
    syntax_example = "embed_image(image [, model [, provider [, dimensions [, on_error]]]])",
    sql_example = "SELECT path, embed_image(decode_image(download(path))) AS embedding FROM glob('photos/*')",
    argument(
        name = "image",
        description = "A decoded image (of decode_image, convert_image or resize), or the bytes of an image file."
    ),
    argument(
        name = "model",
        description = "The name of a model, its folder, or 'provider/name'; 'name@variant' chooses a variant. Default: the option semantic.image_model."
    ),
    argument(
        name = "provider",
        description = "Who serves the model. Default: the option semantic.provider."
    ),
    argument(
        name = "dimensions",
        description = "The length of the vectors, where the model offers several."
    ),
    argument(
        name = "on_error",
        description = "'raise' fails the query at a bad image, 'null' makes its row NULL. Default: the option semantic.on_error."
    )
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct EmbedImage {
    signature: Signature,
    context: Arc<FunctionContext>,
}

pub(super) fn function(context: &Arc<FunctionContext>) -> Function {
    Function::asynchronous(EmbedImage { signature: signature(PARAMETERS, 1), context: Arc::clone(context) })
}

impl EmbedImage {
    /// The model of a call; an error lists the models there are.
    fn embedder(&self, arguments: &Arguments<'_>, settings: &Settings) -> Result<Arc<dyn ImageEmbedder>> {
        let model = ModelArguments::parse(arguments, settings, &settings.image_model, None)?;
        self.context
            .registry
            .image_embedder(model.provider.as_deref(), &settings.provider, model.request)
            .map_err(|error| arguments.error(error))
    }
}

impl ScalarUDFImpl for EmbedImage {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        let image = arguments.field(0);
        if image_type(image).is_none() && !is_binary(image.data_type()) {
            return plan_err!(
                "{NAME}: image must be a decoded image or the bytes of an image file, found {}; \
                 read a path with download(path)",
                image.data_type()
            );
        }
        let settings = self.context.settings();
        arguments.on_error(4, &settings)?;
        Ok(Arc::new(self.embedder(&arguments, &settings)?.space().field(NAME)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{NAME} is async")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for EmbedImage {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(IMAGE_SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let settings = self.context.settings_of(&args.config_options);
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let embedder = self.embedder(&arguments, &settings)?;
        arguments.check_planned(embedder.space(), &args.return_field)?;
        let on_error = arguments.on_error(4, &settings)?;
        let limits = Limits { max_concurrency: settings.max_concurrency, on_error };
        let array = args.args[0].to_array(args.number_rows)?;
        // bytes are decoded here
        let images = compute(|| images(&array, arguments.field(0), on_error)?.collect::<Result<Vec<_>, _>>());
        let images = images.map_err(|error| arguments.error(error))?;
        let rows = images.iter().map(|image| image.as_ref().map(Image::borrowed));
        let embeddings = embed(embedder.as_ref(), rows, limits).await;
        Ok(ColumnarValue::Array(Arc::new(embeddings.map_err(|error| arguments.error(error))?)))
    }
}
