//! A `SessionContext` as the shell uses it, and the one way a statement enters it.

use datafusion::common::Result;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use crate::io::file_tables;
use crate::planner::named_arguments::{self, Parameters};

/// A session in which a quoted path is a table and errors know where in the statement they stand.
pub fn new() -> Result<SessionContext> {
    let mut config = SessionConfig::new().with_information_schema(true);
    config.options_mut().sql_parser.collect_spans = true;
    // DataFusion would keep a folder's listing for the life of the session: new files would not be seen.
    let runtime = RuntimeEnvBuilder::new()
        .with_object_list_cache_limit(0)
        .build_arc()?;
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    file_tables::enable(&ctx);
    crate::register_all(&ctx)?;
    Ok(ctx)
}

/// Plans one statement; a DDL statement is executed on the way, a query when the `DataFrame` is.
///
/// Unlike [`SessionContext::sql`], a call may skip an optional argument by naming a later one.
pub async fn sql(ctx: &SessionContext, sql: &str) -> Result<DataFrame> {
    let state = ctx.state();
    let dialect = state.config_options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    named_arguments::fill_gaps(&mut statement, &|name| {
        state
            .scalar_functions()
            .get(name)
            .and_then(|function| Parameters::of(function.signature()))
    });
    let plan = state.statement_to_plan(statement).await?;
    ctx.execute_logical_plan(plan).await
}
