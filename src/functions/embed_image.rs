//! `embed_image(image [, model [, provider [, dimensions [, on_error]]]])`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::Array;
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::arguments::{Arguments, ModelArguments, signature};
use super::described;
use super::images::{Images, image_type, images, is_binary};
use super::{Function, FunctionContext, IMAGE_SLICE_ROWS};
use crate::blocking::compute;
use crate::config::Settings;
use crate::error::Error;
use crate::image::Image;
use crate::inference::{Running, embed};
use crate::models::{ImageEmbedder, Served};

const NAME: &str = "embed_image";
/// Pixels that one call decodes from files before it hands them to the model.
const PORTION_BYTES: usize = 16 << 20;

const PARAMETERS: &[&str] = &["image", "model", "provider", "dimensions", "on_error"];

#[user_doc(
    doc_section(label = "Embedding Functions"),
    description = "The embedding of an image: FixedSizeList<Float32, dimensions>, in the space of the model. NULL gives NULL without a call. Pixels are brought to what the model expects as its own files say: size, crop, channels, normalisation.",
    syntax_example = "embed_image(image [, model [, provider [, dimensions [, on_error]]]])",
    sql_example = "SELECT path, embed_image(decode_image(download(path))) AS embedding FROM glob('photos/*')",
    argument(
        name = "image",
        description = "A decoded image (of decode_image, convert_image or resize), a tensor of its pixels, or the bytes of an image file."
    ),
    argument(
        name = "model",
        description = "The name of a model, '[owner/]name[@revision][@variant]', its folder, or 'provider/name'. Default: the option semantic.image_model."
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
    fn embedder(&self, arguments: &Arguments<'_>, settings: &Settings) -> Result<Served<dyn ImageEmbedder>> {
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
        let Served { embedder, name } = self.embedder(&arguments, &settings)?;
        Ok(Arc::new(embedder.space().field(NAME, &name)))
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
        let embedder = self.embedder(&arguments, &settings)?.embedder;
        arguments.check_planned(embedder.space(), &args.return_field)?;
        let on_error = arguments.on_error(4, &settings)?;
        let running = Running::current_or(settings.max_concurrency, settings.budget());
        let array = args.args[0].to_array(args.number_rows)?;
        let mut images = images(&array, arguments.field(0), on_error, settings.images, &running)
            .map_err(|error| arguments.error(error))?;
        let (mut parts, mut missing) = (vec![], 0);
        loop {
            // bytes are decoded here
            let portion = compute(|| next_portion(&mut images)).map_err(|error| arguments.error(error))?;
            if portion.is_empty() && !parts.is_empty() {
                break;
            }
            missing += portion.iter().filter(|image| image.is_none()).count();
            let rows = portion.iter().map(|image| image.as_ref().map(Image::borrowed));
            let embeddings = embed(embedder.as_ref(), rows, on_error, &running).await;
            parts.push(embeddings.map_err(|error| arguments.error(error))?);
        }
        running.usage().failed_rows.add(missing.saturating_sub(array.logical_null_count()));
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

/// The images that are decoded and embedded at the same time: all that are left, or as many as have
/// [`PORTION_BYTES`].
fn next_portion<'a>(images: &mut Images<'a>) -> Result<Vec<Option<Image<'a>>>, Error> {
    let mut portion = vec![];
    let mut bytes = 0;
    for image in images {
        let image = image?;
        bytes += image.as_ref().map_or(0, |image| image.pixels().len());
        portion.push(image);
        if bytes >= PORTION_BYTES {
            break;
        }
    }
    Ok(portion)
}
