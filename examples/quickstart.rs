//! Semantic search in a Rust program: `cargo run --example quickstart`
use datafusion::prelude::SessionContext;

#[tokio::main]
async fn main() -> datafusion::common::Result<()> {
    // any session, with whatever it has: tables, object stores, functions
    let ctx = SessionContext::new();
    datafusion_semantic::register_all(&ctx)?;

    ctx.sql("CREATE TABLE documents AS VALUES ('Daft is a distributed dataframe library'), ('The cat sat on the mat')")
        .await?;
    ctx.sql(
        "SELECT column1 AS text, cosine_distance(embed_text(column1), embed_text('What is Daft?')) AS distance
         FROM documents ORDER BY distance",
    )
    .await?
    .show()
    .await
}
