//! The SQL functions: signatures, checks of arguments, and what the planner has to know. Glue only.
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{AggregateUDF, AggregateUDFImpl, Documentation, ScalarUDF, ScalarUDFImpl};
use datafusion::physical_plan::metrics::Count;

use crate::config::Settings;
use crate::io::{Files, Stores};
use crate::models::Registry;
use crate::planner::{SyncTwin, When};

mod arguments;
mod as_embedding;
mod avg_vector;
mod blocking;
mod convert_image;
mod cosine_distance;
mod cosine_similarity;
mod crop;
mod decode_image;
mod decode_resized;
mod distance;
mod download;
mod embed_image;
mod embed_text;
mod encode_image;
mod functions_table;
mod glob;
mod hamming_distance;
mod image_attribute;
mod image_channels;
mod image_format;
mod image_hash;
mod image_height;
mod image_info;
mod image_mode;
mod image_to_tensor;
mod image_width;
mod images;
mod inner_product;
mod jaccard_distance;
mod l1_distance;
mod l2_distance;
mod models;
mod normalize;
mod numbers;
mod read_blob;
mod resize;
mod strings;
mod sum_vector;
mod thumbnail;
mod upload;
mod vector_aggregate;
mod vector_from_bytes;
mod vector_norm;
mod vector_to_bytes;
mod vectors;

pub(crate) use decode_resized::decode_resized;
pub(crate) use distance::metric_of;
pub(crate) use functions_table::FunctionsTable;
pub(crate) use glob::Glob;
pub(crate) use models::ModelsTable;
pub(crate) use read_blob::ReadBlob;

/// The parts of `ScalarUDFImpl` in which our functions do not differ: name, signature and documentation are beside
/// the function, and the type of its result depends on more than the types of its arguments.
macro_rules! described {
    () => {
        fn name(&self) -> &'static str {
            NAME
        }

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            &self.signature
        }

        fn return_type(
            &self,
            _: &[datafusion::arrow::datatypes::DataType],
        ) -> datafusion::common::Result<datafusion::arrow::datatypes::DataType> {
            datafusion::common::internal_err!("{NAME} is planned by return_field_from_args")
        }

        fn documentation(&self) -> Option<&datafusion::logical_expr::Documentation> {
            self.doc()
        }
    };
}
use described;

/// How many rows of images one call gets: what is decoded for them is held at the same time.
const IMAGE_SLICE_ROWS: usize = 8;

/// What the functions of one session share. Two are equal only if they are the same.
#[derive(Debug)]
pub(crate) struct FunctionContext {
    /// The newest values of the options, for the planner, which hands functions no configuration.
    settings: Arc<RwLock<Settings>>,
    registry: Registry,
    stores: Arc<Stores>,
}

impl FunctionContext {
    pub(crate) fn new(settings: Arc<RwLock<Settings>>, registry: Registry, stores: Arc<Stores>) -> Self {
        Self { settings, registry, stores }
    }

    /// What a query with these settings may do with files.
    fn files(&self, settings: &Settings, retries: &Count) -> Files {
        Files {
            stores: Arc::clone(&self.stores),
            options: Arc::clone(&settings.files),
            retries: retries.clone(),
        }
    }

    fn settings(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl PartialEq for FunctionContext {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for FunctionContext {}

impl Hash for FunctionContext {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref(self).hash(state);
    }
}

/// A function as it is registered.
pub(crate) struct Function {
    pub(crate) udf: ScalarUDF,
    /// The synchronous function that the planner may put in its place, and where.
    pub(crate) twin: Option<SyncTwin>,
    /// What the table function `functions()` says; an async function does not hand out its own.
    pub(crate) documentation: Option<Documentation>,
}

impl Function {
    /// A function that waits: for a model, for a network.
    fn asynchronous(function: impl AsyncScalarUDFImpl + 'static) -> Self {
        let documentation = function.documentation().cloned();
        Self { udf: AsyncScalarUDF::new(Arc::new(function)).into_scalar_udf(), twin: None, documentation }
    }

    /// A function that computes: registered as async, so that its work leaves the async workers, and with a
    /// synchronous twin.
    fn with_twin(function: impl AsyncScalarUDFImpl + Clone + 'static, when: When) -> Self {
        let (name, twin) = (function.name().to_owned(), Arc::new(ScalarUDF::new_from_impl(function.clone())));
        Self { twin: Some(SyncTwin { name, twin, when }), ..Self::asynchronous(function) }
    }

    /// A function that computes little.
    fn synchronous(function: impl ScalarUDFImpl + 'static) -> Self {
        let documentation = function.documentation().cloned();
        Self { udf: ScalarUDF::new_from_impl(function), twin: None, documentation }
    }
}

/// An aggregate function as it is registered.
pub(crate) struct AggregateFunction {
    pub(crate) udaf: AggregateUDF,
    pub(crate) documentation: Option<Documentation>,
}

impl AggregateFunction {
    fn new(function: impl AggregateUDFImpl + 'static) -> Self {
        let documentation = function.documentation().cloned();
        Self { udaf: AggregateUDF::new_from_impl(function), documentation }
    }
}

/// `vector_to_bytes(vector)`
pub(crate) fn vector_to_bytes() -> ScalarUDF {
    vector_to_bytes::function().udf
}

/// Every aggregate function.
pub(crate) fn aggregates() -> Vec<AggregateFunction> {
    vec![avg_vector::function(), sum_vector::function()]
}

/// Every scalar function.
pub(crate) fn all(context: &Arc<FunctionContext>) -> Vec<Function> {
    vec![
        embed_text::function(context),
        embed_image::function(context),
        decode_image::function(context),
        convert_image::function(),
        resize::function(),
        thumbnail::function(),
        crop::function(),
        encode_image::function(),
        image_width::function(),
        image_height::function(),
        image_channels::function(),
        image_mode::function(),
        image_format::function(),
        image_info::function(context),
        image_to_tensor::function(),
        image_hash::function(),
        cosine_distance::function(),
        cosine_similarity::function(),
        inner_product::function(),
        l2_distance::function(),
        l1_distance::function(),
        hamming_distance::function(),
        jaccard_distance::function(),
        vector_norm::function(),
        normalize::function(),
        as_embedding::function(),
        vector_to_bytes::function(),
        vector_from_bytes::function(),
        download::function(context),
        upload::function(context),
    ]
}
