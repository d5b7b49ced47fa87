//! `embed_image(image [, model [, provider [, dimensions [, on_error]]]])`
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use super::arguments::{Arguments, ModelArguments, signature};
use super::described;
use super::images::{image_type, is_binary, or_null, with_image};
use super::{Function, FunctionContext, IMAGE_SLICE_ROWS};
use crate::config::{OnError, Settings};
use crate::error::Error;
use crate::image::Image;
use crate::inference::{Running, embed};
use crate::models::{ImageEmbedder, Served};
use crate::pixels;

const NAME: &str = "embed_image";
/// Bytes of prepared images that one call hands to the model at a time.
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
        let images = prepared(&array, arguments.field(0), &embedder, &settings, on_error, &running);
        let mut portions = pin!(portions(images));
        let (mut parts, mut missing) = (vec![], 0);
        while let Some(portion) = portions.try_next().await.map_err(|error| arguments.error(error))? {
            missing += portion.iter().filter(|image| image.is_none()).count();
            let rows = portion.iter().map(|row| row.as_ref().map(|prepared| prepared.image.borrowed()));
            let embeddings = embed(embedder.as_ref(), rows, on_error, &running).await;
            parts.push(embeddings.map_err(|error| arguments.error(error))?);
        }
        if parts.is_empty() {
            let none = embed::<Image<'_>, _>(embedder.as_ref(), std::iter::empty(), on_error, &running).await;
            parts.push(none.map_err(|error| arguments.error(error))?);
        }
        running.usage().failed_rows.add(missing.saturating_sub(array.logical_null_count()));
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

/// What the model needs of an image, and what it takes of the memory pool until this is dropped.
struct Prepared {
    image: Image<'static>,
    _memory: Option<MemoryReservation>,
}

/// What the model needs of the image of each row, in the order of the rows, a few at a time on the threads for pixels.
fn prepared(
    array: &ArrayRef,
    field: &FieldRef,
    embedder: &Arc<dyn ImageEmbedder>,
    settings: &Settings,
    on_error: OnError,
    running: &Running,
) -> impl Stream<Item = Result<Option<Prepared>, Error>> {
    let options = settings.images;
    let (array, field) = (Arc::clone(array), Arc::clone(field));
    let (embedder, running) = (Arc::clone(embedder), running.clone());
    let rows = array.len();
    let row = move |row| {
        let (array, field) = (Arc::clone(&array), Arc::clone(&field));
        let (embedder, running) = (Arc::clone(&embedder), running.clone());
        running.clone().on_pixels(move || {
            let prepare = |image: Image<'_>| {
                let image = embedder.prepare(image)?.into_owned();
                let memory = running.hold(image.pixels().len());
                Ok(Prepared { image, _memory: memory })
            };
            or_null(with_image(&array, row, &field, &options, &running, prepare), on_error)
        })
    };
    stream::iter(0..rows).map(row).buffered(pixels::threads())
}

/// The images that are embedded at the same time: as many as have [`PORTION_BYTES`].
fn portions(
    images: impl Stream<Item = Result<Option<Prepared>, Error>>,
) -> impl Stream<Item = Result<Vec<Option<Prepared>>, Error>> {
    stream::try_unfold(Box::pin(images), |mut images| async move {
        let (mut portion, mut bytes) = (vec![], 0);
        while bytes < PORTION_BYTES
            && let Some(image) = images.try_next().await?
        {
            bytes += image.as_ref().map_or(0, |prepared| prepared.image.pixels().len());
            portion.push(image);
        }
        Ok((!portion.is_empty()).then_some((portion, images)))
    })
}
