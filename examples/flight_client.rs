//! Semantic search over a server, from Rust: `cargo run --example flight_client [URL]`, with `semsql serve` running.
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::print_batches;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::Channel;

const SEARCH: &str = "
    SELECT text, cosine_distance(embed_text(text), embed_text(?)) AS distance
    FROM (VALUES ('Daft is a distributed dataframe library'), ('The cat sat on the mat')) AS documents(text)
    ORDER BY distance LIMIT ?";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let channel = Channel::from_shared(url)?.connect().await?;
    // with users: client.handshake("ada", "...").await?
    let mut client = FlightSqlServiceClient::new(channel);

    let mut search = client.prepare(SEARCH.to_owned(), None).await?;
    let parameters: [(&str, ArrayRef); 2] = [
        ("text", Arc::new(StringArray::from(vec!["What is Daft?"]))),
        ("limit", Arc::new(Int64Array::from(vec![1]))),
    ];
    search.set_parameters(RecordBatch::try_from_iter(parameters)?)?;
    let info = search.execute().await?;
    for endpoint in info.endpoint {
        let ticket = endpoint.ticket.ok_or("an endpoint without a ticket")?;
        let batches: Vec<RecordBatch> = client.do_get(ticket).await?.try_collect().await?;
        print_batches(&batches)?;
    }
    search.close().await?;
    Ok(())
}
