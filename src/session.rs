//! A `SessionContext` as the shell uses it, and the one way a statement enters it.

use std::sync::Arc;

use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use crate::config::SemanticOptions;
use crate::io::{Stores, file_tables};
use crate::models::Registry;
use crate::register::register;
use crate::statement;

/// A session in which a quoted path is a table and errors know where in the statement they stand. Queries reach all that
/// the process does.
pub fn new() -> Result<SessionContext> {
    with_options(SemanticOptions::unrestricted())
}

/// As [`new`], for queries that reach what the options allow, by whatever statement.
pub fn with_options(options: SemanticOptions) -> Result<SessionContext> {
    open(config(options), RuntimeEnvBuilder::new())
}

/// As [`with_options`], for queries that reach what a TOML file allows, see [`configure`]: nothing by default, and of the
/// providers on the network those that it names. `runtime` says how much memory they share.
#[cfg(feature = "server")]
pub(crate) fn restricted(toml: &str, runtime: RuntimeEnvBuilder) -> Result<SessionContext> {
    let mut config = config(SemanticOptions::default());
    let options = config.options_mut();
    options.set("semantic.allow_providers", &named_providers(&parse_toml(toml)?))?;
    set_toml(options, toml)?;
    open(config, runtime)
}

/// The providers that a configuration says something about, with commas between.
#[cfg(feature = "server")]
fn named_providers(toml: &toml::Table) -> String {
    let semantic = toml.get("semantic");
    let default = semantic.and_then(|table| table.get("provider")?.as_str());
    let configured = semantic.and_then(|table| table.get("providers")?.as_table());
    let configured = configured.into_iter().flat_map(|table| table.keys().map(String::as_str));
    configured.chain(default).collect::<Vec<_>>().join(", ")
}

fn config(options: SemanticOptions) -> SessionConfig {
    // small batches: what a model or a download makes of a batch is held at the same time
    let config = SessionConfig::new().with_information_schema(true).with_batch_size(1024);
    let mut config = config.with_option_extension(options);
    config.options_mut().sql_parser.collect_spans = true;
    config
}

fn open(config: SessionConfig, runtime: RuntimeEnvBuilder) -> Result<SessionContext> {
    // DataFusion would keep a folder's listing for the life of the session: new files would not be seen.
    let runtime = runtime.with_object_list_cache_limit(0);
    let stores = Arc::new(Stores::new(Arc::clone(&runtime.object_store_registry)));
    let runtime = runtime.with_object_store_registry(Arc::clone(&stores) as _).build_arc()?;
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    stores.belong_to(&ctx);
    file_tables::enable(&ctx);
    register(&ctx, Registry::default(), stores)?;
    Ok(ctx)
}

/// Sets the options of a TOML file, whose tables are the parts of their names:
///
/// ```toml
/// [semantic.providers.my_endpoint]
/// base_url = "http://localhost:8000/v1"
/// requests_per_minute = 600
/// ```
///
/// The table `server` is that of `semsql serve`, and no option. The first option that cannot be set ends it with an error.
/// Also options that are fixed for `SET` are set: the program does this, no query.
pub fn configure(ctx: &SessionContext, toml: &str) -> Result<()> {
    let state = ctx.state_ref();
    let mut state = state.write();
    set_toml(state.config_mut().options_mut(), toml)
}

fn set_toml(options: &mut ConfigOptions, toml: &str) -> Result<()> {
    let mut table = parse_toml(toml)?;
    table.remove("server");
    set_all(options, "", table)
}

/// Reads a TOML file; an error names the place, and repeats nothing of the file.
pub(crate) fn parse_toml(toml: &str) -> Result<toml::Table> {
    toml.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or("", |span| toml.get(..span.start).unwrap_or_default());
        let (line, column) =
            (before.split('\n').count(), before.chars().rev().take_while(|c| *c != '\n').count());
        // the error's own text would repeat the line
        plan_datafusion_err!("line {line}, column {}: {}", column + 1, error.message())
    })
}

fn set_all(options: &mut ConfigOptions, prefix: &str, table: toml::Table) -> Result<()> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        let value = match value {
            toml::Value::Table(table) => {
                set_all(options, &format!("{key}."), table)?;
                continue;
            }
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(boolean) => boolean.to_string(),
            other => {
                return plan_err!(
                    "{key} must be a text, a number or a boolean, found {} {}",
                    if other.is_array() { "an" } else { "a" },
                    other.type_str()
                );
            }
        };
        let semantic = options.extensions.get_mut::<SemanticOptions>();
        match semantic.zip(key.strip_prefix("semantic.")) {
            Some((semantic, key)) => semantic.set_as_program(key, &value)?,
            None => options.set(&key, &value)?,
        }
    }
    Ok(())
}

/// Plans one statement; a DDL statement is executed on the way, a query when the `DataFrame` is.
///
/// Unlike [`SessionContext::sql`], a call may skip an optional argument by naming a later one, and `COPY` writes only
/// where `semantic.allow_upload`, `semantic.allow_paths` and `semantic.allow_hosts` allow it.
///
/// A model of the Hugging Face hub that is not on this machine is fetched first, where `semantic.allow_hosts` allows
/// `hf://models` and `semantic.offline` does not forbid it: planning itself asks nobody, but it reads the model's files.
/// For `EXPLAIN` nothing is fetched.
pub async fn sql(ctx: &SessionContext, sql: &str) -> Result<DataFrame> {
    let plan = statement::plan(&ctx.state(), sql).await?;
    ctx.execute_logical_plan(plan).await
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
    };
    use datafusion::scalar::ScalarValue;

    use super::*;

    /// `told(text [, model [, dimensions]])` tells what it was called with.
    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Told(Signature);

    impl Told {
        fn new() -> Self {
            let arities = (1..=3).map(TypeSignature::Any).collect();
            let names = ["text", "model", "dimensions"].map(str::to_owned).to_vec();
            Self(Signature::one_of(arities, Volatility::Stable).with_parameter_names(names).unwrap())
        }
    }

    impl ScalarUDFImpl for Told {
        fn name(&self) -> &'static str {
            "told"
        }

        fn signature(&self) -> &Signature {
            &self.0
        }

        fn return_type(&self, _: &[DataType]) -> Result<DataType> {
            Ok(DataType::Utf8)
        }

        fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
            let told: Vec<String> = args
                .args
                .iter()
                .map(|arg| match arg {
                    ColumnarValue::Scalar(value) => value.to_string(),
                    ColumnarValue::Array(_) => "array".to_owned(),
                })
                .collect();
            Ok(ColumnarValue::Scalar(ScalarValue::from(told.join(" "))))
        }
    }

    async fn told(call: &str) -> Result<String> {
        let ctx = new()?;
        ctx.register_udf(ScalarUDF::new_from_impl(Told::new()));
        let batches = sql(&ctx, &format!("SELECT {call} AS told")).await?.collect().await?;
        Ok(ScalarValue::try_from_array(batches[0].column(0), 0)?.to_string())
    }

    #[tokio::test]
    async fn an_argument_may_be_skipped() {
        for (call, expected) in [
            ("told('a')", "a"),
            ("told('a', 'm')", "a m"),
            ("told('a', model => 'm')", "a m"),
            ("told('a', dimensions => 3)", "a NULL 3"),
            ("told(dimensions => 3, text => 'a')", "a NULL 3"),
            ("upper(told('a', dimensions => 3))", "A NULL 3"),
            ("coalesce(NULL, (SELECT told('a', dimensions => 3)))", "a NULL 3"),
        ] {
            assert_eq!(told(call).await.unwrap(), expected, "{call}");
        }
    }

    #[cfg(feature = "server")]
    #[tokio::test]
    async fn a_restricted_session_sends_to_the_providers_of_its_configuration_only() {
        let toml = "[semantic]\nprovider = 'ollama'\n\n[semantic.providers.vllm]\nbase_url = 'http://127.0.0.1:1/v1'\n";
        let ctx = restricted(toml, RuntimeEnvBuilder::new()).unwrap();
        for (provider, allowed) in [("vllm", true), ("ollama", true), ("lm_studio", false), ("openai", false)]
        {
            let planned = sql(&ctx, &format!("EXPLAIN SELECT embed_text('x', 'm', '{provider}', 3)")).await;
            let refused = planned.is_err_and(|error| error.to_string().contains("is not allowed"));
            assert_eq!(refused, !allowed, "{provider}");
        }
        let ctx = restricted("[semantic]\nallow_providers = 'openai'", RuntimeEnvBuilder::new()).unwrap();
        assert!(sql(&ctx, "SELECT embed_text('x', 'm', 'ollama', 3)").await.is_err());
        sql(&ctx, "EXPLAIN SELECT embed_text('x', 'openai/text-embedding-3-small')").await.unwrap();
    }

    #[tokio::test]
    async fn a_required_argument_may_not() {
        let error = told("told(model => 'm')").await.unwrap_err().to_string();
        assert!(error.contains("Missing required parameter 'text'"), "{error}");
        let error = told("told('a', size => 3)").await.unwrap_err().to_string();
        assert!(
            error.contains("Unknown parameter name 'size'. Valid parameters are: [text, model, dimensions]"),
            "{error}"
        );
    }
}
