//! Providers on the network, against a server that answers as a script says.
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Float32Type;
use datafusion::common::Result;
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;

mod api;
mod cancel;
mod config;
mod conformance;
mod faults;
mod limits;
mod long_texts;
mod scheduling;
mod secrets;
mod server;
mod sharing;
mod spend;

use server::{Reply, Request, Server};

/// A session in which provider `test` is an endpoint with OpenAI's API and vectors of 3 dimensions, and its server.
async fn with_server(
    script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (SessionContext, Arc<Server>) {
    let server = Server::start(script).await;
    let ctx = session::new().unwrap();
    set(&ctx, &format!("providers.test.base_url = '{}/v1'", server.url)).await;
    for option in ["providers.test.dimensions = 3", "provider = 'test'", "text_model = 'm'"] {
        set(&ctx, option).await;
    }
    (ctx, server)
}

async fn set(ctx: &SessionContext, option: &str) {
    run(ctx, &format!("SET semantic.{option}")).await.unwrap();
}

async fn run(ctx: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    session::sql(ctx, sql).await?.collect().await
}

/// The error of a query, as its user reads it.
async fn error(ctx: &SessionContext, sql: &str) -> String {
    run(ctx, sql).await.unwrap_err().find_root().message().into_owned()
}

/// The vectors of the last column, over all batches.
fn vectors(batches: &[RecordBatch]) -> Vec<Option<Vec<f32>>> {
    let columns = batches.iter().map(|batch| batch.column(batch.num_columns() - 1));
    columns
        .flat_map(|column| {
            (0..column.len())
                .map(|row| column.is_valid(row).then(|| numbers(&items(column, row))))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn items(column: &ArrayRef, row: usize) -> ArrayRef {
    match column.as_fixed_size_list_opt() {
        Some(list) => list.value(row),
        None => column.as_list::<i32>().value(row),
    }
}

fn numbers(items: &ArrayRef) -> Vec<f32> {
    items.as_primitive::<Float32Type>().values().to_vec()
}

/// A query over `rows` texts `text 1`, `text 2` and so on, and their vectors.
fn texts(rows: usize) -> (String, Vec<Option<Vec<f32>>>) {
    let sql =
        format!("SELECT embed_text(concat('text ', i)) FROM generate_series(1, {rows}) AS t(i) ORDER BY i");
    (sql, (1..=rows).map(|row| Some(api::vector(&format!("text {row}")))).collect())
}
