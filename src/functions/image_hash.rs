//! `image_hash(image [, method [, hash_size]])`
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, FixedSizeListBuilder, UInt8Builder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};
use datafusion_macros::user_doc;

use super::arguments::{Arguments, signature};
use super::blocking::run_blocking;
use super::described;
use super::images::{decoded, planned_images};
use super::{Function, IMAGE_SLICE_ROWS};
use crate::image::{HashMethod, Hashing, MAX_HASH_SIZE, hash};
use crate::planner::When;

const NAME: &str = "image_hash";
const PARAMETERS: &[&str] = &["image", "method", "hash_size"];

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "What an image looks like, in hash_size x hash_size bits: a FixedSizeList of UInt8, the bits of the Python library ImageHash row by row. Of one image in another size, format or quality few bits differ: hamming_distance counts them. NULL gives NULL.",
    syntax_example = "image_hash(image [, method [, hash_size]])",
    sql_example = "WITH photos AS (SELECT path, image_hash(decode_image(download(path))) AS hash FROM glob('photos/*')) SELECT a.path, b.path FROM photos a JOIN photos b ON a.path < b.path WHERE hamming_distance(a.hash, b.hash) <= 8",
    argument(name = "image", description = "A decoded image."),
    argument(
        name = "method",
        description = "'phash' looks at the lowest frequencies of a cosine transform, 'dhash' at the differences of neighbours, 'ahash' at each pixel against the mean. Default: 'phash'."
    ),
    argument(
        name = "hash_size",
        description = "A multiple of 4 from 4 to 64. Default: 8, which are 64 bits."
    )
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ImageHash {
    signature: Signature,
}

pub(super) fn function() -> Function {
    Function::with_twin(ImageHash { signature: signature(PARAMETERS, 1) }, When::WithinAsync)
}

fn hashing(arguments: &Arguments<'_>) -> Result<Hashing> {
    let method = arguments.parsed(1, "'phash'")?.unwrap_or(HashMethod::Perceptual);
    let size = arguments.positive(2, 8, MAX_HASH_SIZE)?.unwrap_or(8);
    Hashing::new(method, size).map_err(|error| arguments.error(error))
}

fn bytes(hashing: Hashing) -> i32 {
    i32::try_from(hashing.bytes()).unwrap_or(i32::MAX)
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::UInt8, true))
}

impl ScalarUDFImpl for ImageHash {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        planned_images(NAME, &arguments)?;
        let bytes = bytes(hashing(&arguments)?);
        Ok(Arc::new(Field::new(NAME, DataType::FixedSizeList(item(), bytes), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let hashing = hashing(&arguments)?;
        let array = args.args[0].to_array(args.number_rows)?;
        let images = decoded(&array, arguments.field(0)).map_err(|error| arguments.error(error))?;
        let mut hashes = FixedSizeListBuilder::new(UInt8Builder::new(), bytes(hashing)).with_field(item());
        for row in 0..array.len() {
            let image = images.as_ref().map_or(Ok(None), |images| images.image(row));
            let hash = image.and_then(|image| image.map(|image| hash(image, hashing)).transpose());
            let hash = hash.map_err(|error| arguments.error(error))?;
            match &hash {
                Some(hash) => hashes.values().append_slice(hash),
                None => hashes.values().append_nulls(hashing.bytes() as usize),
            }
            hashes.append(hash.is_some());
        }
        Ok(ColumnarValue::Array(Arc::new(hashes.finish())))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for ImageHash {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(IMAGE_SLICE_ROWS)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run_blocking(self, args).await
    }
}
