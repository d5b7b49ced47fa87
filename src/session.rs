//! A `SessionContext` as the shell uses it, and the one way a statement enters it.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use crate::config::SemanticOptions;
use crate::error::Error;
use crate::io::{Stores, file_tables};
use crate::models::{Registry, hub};
use crate::planner::named_arguments::{self, Parameters};
use crate::register::register;

/// A session in which a quoted path is a table and errors know where in the statement they stand. Queries reach all that
/// the process does.
pub fn new() -> Result<SessionContext> {
    with_options(SemanticOptions::unrestricted())
}

/// As [`new`], for queries that reach what the options allow, by whatever statement.
pub fn with_options(options: SemanticOptions) -> Result<SessionContext> {
    // small batches: what a model or a download makes of a batch is held at the same time
    let config = SessionConfig::new().with_information_schema(true).with_batch_size(1024);
    let mut config = config.with_option_extension(options);
    config.options_mut().sql_parser.collect_spans = true;
    // DataFusion would keep a folder's listing for the life of the session: new files would not be seen.
    let runtime = RuntimeEnvBuilder::new().with_object_list_cache_limit(0);
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
/// The first option that cannot be set ends it with an error.
pub fn configure(ctx: &SessionContext, toml: &str) -> Result<()> {
    let table: toml::Table = toml.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or("", |span| toml.get(..span.start).unwrap_or_default());
        let (line, column) =
            (before.split('\n').count(), before.chars().rev().take_while(|c| *c != '\n').count());
        // the error's own text would repeat the line
        plan_datafusion_err!("line {line}, column {}: {}", column + 1, error.message())
    })?;
    let state = ctx.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    set_all(options, "", table)
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
        options.set(&key, &value)?;
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
    let state = ctx.state();
    let dialect = state.config_options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    named_arguments::fill_gaps(&mut statement, &|name| {
        state.scalar_functions().get(name).and_then(|function| Parameters::of(function.signature()))
    });
    let mut fetched = vec![];
    let plan = loop {
        match state.statement_to_plan(statement.clone()).await {
            Ok(plan) => break plan,
            Err(error) => match missing_model(&error).filter(|model| !fetched.contains(model)) {
                Some(model) if !only_explains(&statement) => {
                    fetch(&state, &model, &error).await?;
                    fetched.push(model);
                }
                _ => return Err(explain_arity(&state, error)),
            },
        }
    };
    if let LogicalPlan::Copy(copy) = &plan {
        check_target(&state, &copy.output_url)?;
    }
    ctx.execute_logical_plan(plan).await
}

/// The model that is to be fetched before a statement can be planned.
fn missing_model(error: &DataFusionError) -> Option<String> {
    let DataFusionError::External(error) = error.find_root() else { return None };
    match error.downcast_ref()? {
        Error::NotHere { model, .. } => Some(model.clone()),
        _ => None,
    }
}

fn only_explains(statement: &Statement) -> bool {
    match statement {
        Statement::Explain(explained) => !explained.options.analyze,
        Statement::Statement(statement) => {
            matches!(&**statement, SqlStatement::Explain { analyze: false, .. })
        }
        _ => false,
    }
}

async fn fetch(state: &SessionState, model: &str, missing: &DataFusionError) -> Result<()> {
    let options = state.config_options().extensions.get::<SemanticOptions>();
    let settings = options.map(|options| options.settings().clone()).unwrap_or_default();
    match hub::pull(model, settings.local.variant.as_deref(), false, &settings.files).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let missing = missing.find_root().message();
            plan_err!("{missing}; {error}")
        }
    }
}

/// A store that refuses to be written to is an internal error of DataFusion at the end of the query: this says why at
/// its beginning.
fn check_target(state: &SessionState, location: &str) -> Result<()> {
    let Some(options) = state.config_options().extensions.get::<SemanticOptions>() else { return Ok(()) };
    match options.settings().files.writable(location) {
        Ok(_) => Ok(()),
        Err(error) => plan_err!("COPY: {error}"),
    }
}

/// DataFusion answers a wrong number of arguments with an internal error, where a function takes several numbers:
/// this names the function's parameters instead.
fn explain_arity(state: &SessionState, error: DataFusionError) -> DataFusionError {
    let message = error.find_root().message();
    let Some((before, _)) = message.split_once("' failed to match any signature") else { return error };
    let Some((_, name)) = before.rsplit_once("Function '") else { return error };
    let function = state.scalar_functions().get(name);
    let Some(parameters) = function.and_then(|function| function.signature().parameter_names.as_ref()) else {
        return error;
    };
    plan_datafusion_err!(
        "{name}: wrong number of arguments, the parameters are {name}({})",
        parameters.join(", ")
    )
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
