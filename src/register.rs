//! Giving a session everything.
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::prelude::SessionContext;

use crate::config::SemanticOptions;
use crate::functions::{self, FunctionContext, FunctionsTable, Glob, ModelsTable, ReadBlob};
use crate::io::Stores;
use crate::io::packed_vectors::ParquetTables;
use crate::models::Registry;
use crate::planner;

/// Gives an existing session the functions, the options `semantic.*` and the planner rules, with the local provider.
///
/// Nothing is loaded and no file is read. What queries may reach is fixed from now on, see [`SemanticOptions`]. Calling it
/// again changes nothing but resets the registry of providers.
///
/// ```
/// # async fn example() -> datafusion::common::Result<()> {
/// let ctx = datafusion::prelude::SessionContext::new();
/// datafusion_semantic::register_all(&ctx)?;
/// ctx.sql("SELECT embed_text('Hello, world!')").await?.show().await?;
/// # Ok(())
/// # }
/// ```
pub fn register_all(ctx: &SessionContext) -> Result<()> {
    register_with(ctx, Registry::default())
}

/// As [`register_all`], with providers of your choice.
pub fn register_with(ctx: &SessionContext, registry: Registry) -> Result<()> {
    let stores = Stores::new(Arc::clone(&ctx.runtime_env().object_store_registry));
    register(ctx, registry, Arc::new(stores))
}

/// With the object stores that functions use.
pub(crate) fn register(ctx: &SessionContext, registry: Registry, stores: Arc<Stores>) -> Result<()> {
    let newest = {
        let state = ctx.state_ref();
        let mut state = state.write();
        let extensions = &mut state.config_mut().options_mut().extensions;
        // values that are set stay; a cell that came with a copied configuration belongs to another session
        let options = extensions.get::<SemanticOptions>().cloned().unwrap_or_default().registered();
        let newest = options.newest();
        extensions.insert(options);
        newest
    };
    let context = Arc::new(FunctionContext::new(newest, registry, stores));
    let functions = functions::all(&context);
    let aggregates = functions::aggregates();
    let scalar = functions.iter().map(|f| ("scalar", f.udf.name(), &f.documentation));
    let documented = scalar.chain(aggregates.iter().map(|f| ("aggregate", f.udaf.name(), &f.documentation)));
    let documented = documented.filter_map(|(kind, name, text)| Some((kind, name, text.as_ref()?)));
    ctx.register_udtf("functions", Arc::new(FunctionsTable::new(documented)));
    ctx.register_udtf("glob", Arc::new(Glob::new(&context)));
    ctx.register_udtf("models", Arc::new(ModelsTable::new(&context)));
    ctx.register_udtf("read_blob", Arc::new(ReadBlob::new(&context)));
    let mut twins = Vec::new();
    for function in functions {
        twins.extend(function.twin);
        ctx.register_udf(function.udf);
    }
    for function in aggregates {
        ctx.register_udaf(function.udaf);
    }
    if !planner::is_registered(ctx) {
        let state = ctx.state_ref();
        let mut state = state.write();
        // DataFusion's for CREATE EXTERNAL TABLE ... STORED AS PARQUET
        if let Some(tables) = state.table_factories_mut().get_mut("PARQUET") {
            *tables = Arc::new(ParquetTables::new(Arc::clone(tables)));
        }
    }
    let pack = Arc::new(functions::vector_to_bytes());
    let (metric_of, decode_resized) = (functions::metric_of, functions::decode_resized);
    planner::register(ctx, planner::Functions { twins, metric_of, decode_resized, pack })
}
