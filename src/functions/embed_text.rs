//! `embed_text(text [, model [, provider [, dimensions [, input_type [, on_error]]]]])`
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
use super::strings::{is_string, strings};
use super::{Function, FunctionContext};
use crate::config::Settings;
use crate::inference::{Running, embed};
use crate::models::{Served, TextEmbedder};

const NAME: &str = "embed_text";
const PARAMETERS: &[&str] = &["text", "model", "provider", "dimensions", "input_type", "on_error"];

#[user_doc(
    doc_section(label = "Embedding Functions"),
    description = "The embedding of a text: FixedSizeList<Float32, dimensions>, in the space of the model; List<Float32> where a provider on the network has a model of unknown dimensions. NULL gives NULL without a call. Equal texts of a query are embedded once. A text longer than a local model reads is cut at the model's limit, and counted by EXPLAIN ANALYZE; one that a provider on the network refuses, be it too long or empty, is a bad row.",
    syntax_example = "embed_text(text [, model [, provider [, dimensions [, input_type [, on_error]]]]])",
    sql_example = "SELECT text, embed_text(text, model => 'all-MiniLM-L6-v2') AS embedding FROM documents",
    argument(name = "text", description = "A string of any kind."),
    argument(
        name = "model",
        description = "The name of a model, '[owner/]name[@revision][@variant]', its folder, or 'provider/name'. Default: the option semantic.text_model."
    ),
    argument(
        name = "provider",
        description = "Who serves the model: 'transformers' on this machine, or 'openai', 'lm_studio', 'ollama', 'azure_openai', 'cohere', 'voyage', 'google', or a name that semantic.providers.<name>.base_url defines. Default: the option semantic.provider."
    ),
    argument(
        name = "dimensions",
        description = "The length of the vectors, where the model offers several. Of a model on this machine the first ones are taken, with length 1."
    ),
    argument(
        name = "input_type",
        description = "'query' or 'document', for models that embed the two differently."
    ),
    argument(
        name = "on_error",
        description = "'raise' fails the query at a text that cannot be embedded, 'null' makes its row NULL. Default: the option semantic.on_error."
    )
)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct EmbedText {
    signature: Signature,
    context: Arc<FunctionContext>,
}

pub(super) fn function(context: &Arc<FunctionContext>) -> Function {
    Function::asynchronous(EmbedText { signature: signature(PARAMETERS, 1), context: Arc::clone(context) })
}

impl EmbedText {
    /// The model of a call; an error lists the models there are.
    fn embedder(&self, arguments: &Arguments<'_>, settings: &Settings) -> Result<Served<dyn TextEmbedder>> {
        let model = ModelArguments::parse(arguments, settings, &settings.text_model, Some(4))?;
        self.context
            .registry
            .text_embedder(model.provider.as_deref(), &settings.provider, model.request)
            .map_err(|error| arguments.error(error))
    }
}

impl ScalarUDFImpl for EmbedText {
    described!();

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(NAME, PARAMETERS, 1, &args)?;
        let text = arguments.field(0).data_type();
        if !is_string(text) {
            return plan_err!("{NAME}: text must be a string, found {text}; write CAST(... AS VARCHAR)");
        }
        let settings = self.context.settings();
        arguments.on_error(5, &settings)?;
        let Served { embedder, name } = self.embedder(&arguments, &settings)?;
        Ok(Arc::new(embedder.space().field(NAME, &name)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{NAME} is async")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for EmbedText {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let settings = self.context.settings_of(&args.config_options);
        let arguments = Arguments::evaluated(NAME, PARAMETERS, &args);
        let embedder = self.embedder(&arguments, &settings)?.embedder;
        arguments.check_planned(embedder.space(), &args.return_field)?;
        let on_error = arguments.on_error(5, &settings)?;
        let running = Running::current_or(settings.max_concurrency, settings.budget());
        let array = args.args[0].to_array(args.number_rows)?;
        let embeddings = embed(embedder.as_ref(), strings(&array)?.into_iter(), on_error, &running).await;
        Ok(ColumnarValue::Array(embeddings.map_err(|error| arguments.error(error))?))
    }
}
