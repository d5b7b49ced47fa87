//! From the text of a statement to its plan, for every way in: the shell, scripts, programs and Flight SQL.

#[cfg(any(feature = "server", feature = "shell"))]
pub mod errors;
#[cfg(any(feature = "server", feature = "shell"))]
pub mod names;
#[cfg(feature = "server")]
pub mod parameters;
pub mod placeholders;
#[cfg(any(feature = "server", feature = "shell"))]
pub mod position;
#[cfg(any(feature = "server", feature = "shell"))]
mod reasons;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use crate::config::SemanticOptions;
use crate::error::Error;
use crate::models::local;
use crate::planner::named_arguments::{self, Parameters};

/// Plans one statement, and runs nothing.
///
/// A call may skip an optional argument by naming a later one, `?` is `$1`, `$2` and so on in the order of the text, and
/// `COPY` is refused where it may not write.
///
/// A model of the Hugging Face hub that is not on this machine is fetched first, where `semantic.allow_hosts` allows
/// `hf://models` and `semantic.offline` does not forbid it: planning itself asks nobody, but it reads the model's files.
/// For `EXPLAIN` nothing is fetched.
pub async fn plan(state: &SessionState, sql: &str) -> Result<LogicalPlan> {
    let dialect = state.config_options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    placeholders::number(&mut statement)?;
    named_arguments::fill_gaps(&mut statement, &|name| {
        state.scalar_functions().get(name).and_then(|function| Parameters::of(function.signature()))
    });
    let mut fetched = vec![];
    let plan = loop {
        match state.statement_to_plan(statement.clone()).await {
            Ok(plan) => break plan,
            Err(error) => match missing_model(&error).filter(|model| !fetched.contains(model)) {
                Some(model) if !only_explains(&statement) => {
                    Box::pin(fetch(state, &model, &error)).await?;
                    fetched.push(model);
                }
                _ => return Err(explain_arity(state, error)),
            },
        }
    };
    if let LogicalPlan::Copy(copy) = &plan {
        check_target(state, &copy.output_url)?;
    }
    Ok(plan)
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
    match local::pull(model, settings.local.variant.as_deref(), false, &settings.files).await {
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
