//! What a client sends that no honest one would: an answer, and nothing else happens.
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, NullArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, UnionFields, UnionMode};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery, CommandStatementIngest, ProstMessageExt, TableDefinitionOptions,
    TableExistsOption, TableNotExistOption,
};
use arrow_flight::{Action, FlightData, FlightDescriptor};
use futures::{TryStreamExt, stream};
use prost::Message;
use tonic::{Code, Status};

use super::{Client, Serving, serve, serve_with, table};

/// A batch of one column, which may be NULL.
fn batch(column: ArrayRef) -> RecordBatch {
    let field = Field::new("a", column.data_type().clone(), true);
    let options = RecordBatchOptions::new().with_row_count(Some(column.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(vec![field])), vec![column], &options).unwrap()
}

async fn messages(batches: Vec<RecordBatch>, options: IpcWriteOptions) -> Vec<FlightData> {
    let encoder = FlightDataEncoderBuilder::new().with_options(options);
    let batches = stream::iter(batches.into_iter().map(Ok::<_, FlightError>));
    encoder.build(batches).try_collect().await.unwrap()
}

async fn plain(column: impl arrow::array::Array + 'static) -> Vec<FlightData> {
    messages(vec![batch(Arc::new(column))], IpcWriteOptions::default()).await
}

async fn put(client: &mut Client, command: Vec<u8>, mut messages: Vec<FlightData>) -> Result<(), Status> {
    messages[0].flight_descriptor = Some(FlightDescriptor::new_cmd(command));
    let answers = client.inner_mut().do_put(stream::iter(messages)).await?.into_inner();
    answers.try_collect::<Vec<_>>().await.map(drop)
}

async fn prepare(client: &mut Client, sql: &str) -> Vec<u8> {
    let request = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
    let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
    let mut answers = client.inner_mut().do_action(action).await.unwrap().into_inner();
    let answer = Any::decode(answers.message().await.unwrap().unwrap().body).unwrap();
    let answer: ActionCreatePreparedStatementResult = answer.unpack().unwrap().unwrap();
    let prepared_statement_handle = answer.prepared_statement_handle;
    CommandPreparedStatementQuery { prepared_statement_handle }.as_any().encode_to_vec()
}

fn ingestion(exists: TableExistsOption) -> Vec<u8> {
    let options =
        TableDefinitionOptions { if_not_exist: TableNotExistOption::Create as i32, if_exists: exists as i32 };
    let command = CommandStatementIngest {
        table_definition_options: Some(options),
        table: "t".to_owned(),
        ..Default::default()
    };
    command.as_any().encode_to_vec()
}

/// Messages that must be refused, and what is said of them.
async fn wrong_messages() -> Vec<(Vec<FlightData>, &'static str)> {
    let texts = || StringArray::from(vec!["some text"; 1000]);
    let compressed =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let compressed = messages(vec![batch(Arc::new(texts()))], compressed).await;
    let mut short = plain(texts()).await;
    let body = short[1].data_body.clone();
    short[1].data_body = body.slice(..body.len() / 2);
    let mut unreadable = plain(texts()).await;
    unreadable[1].data_header = vec![7; 40].into();
    // the rows of one schema under another, whose parts are read otherwise
    let child = Field::new("i", DataType::Int32, true);
    let union = DataType::Union(UnionFields::from_fields(vec![child]), UnionMode::Sparse);
    let schema = Schema::new(vec![Field::new("a", union, true)]);
    let encoder = FlightDataEncoderBuilder::new().with_schema(Arc::new(schema));
    let mut other: Vec<FlightData> =
        encoder.build(stream::empty::<Result<RecordBatch, FlightError>>()).try_collect().await.unwrap();
    other.extend(plain(Int32Array::from(vec![1, 2, 3])).await.into_iter().skip(1));
    vec![
        (compressed, "compressed rows are not taken"),
        (short, "a buffer is not inside of it"),
        (unreadable, "the message cannot be read"),
        (other, "its parts do not fit each other"),
        (plain(NullArray::new(1 << 40)).await, "has at most 1048576 rows"),
    ]
}

/// It still serves, and keeps no memory.
async fn is_well(serving: &Serving) {
    let mut client = serving.client().await;
    assert!(table(&mut client, "SELECT 1 AS one").await.contains("one"));
    let page = serving.page("/metrics").await;
    assert!(page.contains("semsql_memory_bytes 0") && page.contains("semsql_running 0"), "{page}");
    assert!(!page.contains("outcome=\"internal\""), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_would_fill_the_memory_or_end_the_process_are_refused() {
    let serving = serve("server.metrics = '127.0.0.1:0'").await;
    let mut client = serving.client().await;
    let prepared = prepare(&mut client, "SELECT ?").await;
    for (messages, expected) in wrong_messages().await {
        let error = put(&mut client, prepared.clone(), messages).await.unwrap_err();
        assert!(error.message().contains(expected), "{expected}: {error}");
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    is_well(&serving).await;

    let init = ["CREATE TABLE t (a VARCHAR)"];
    let writing = serve_with("server.allow_writes = true\nserver.metrics = '127.0.0.1:0'", &init).await;
    let mut client = writing.client().await;
    for exists in [TableExistsOption::Append, TableExistsOption::Replace] {
        for (messages, expected) in wrong_messages().await {
            let error = put(&mut client, ingestion(exists), messages).await.unwrap_err();
            assert!(error.message().contains(expected), "{expected}: {error}");
            assert_eq!(error.code(), Code::InvalidArgument);
        }
    }
    // what takes no memory is welcome in numbers that do
    put(&mut client, ingestion(TableExistsOption::Append), plain(NullArray::new(100_000)).await)
        .await
        .unwrap();
    assert!(
        table(&mut client, "SELECT count(*) AS n, count(a) AS a FROM t").await.contains("| 100000 | 0 |")
    );
    is_well(&writing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_parameters_have_limits() {
    let serving = serve("server.metrics = '127.0.0.1:0'\nserver.memory_limit = '8M'").await;
    let mut client = serving.client().await;
    let prepared = prepare(&mut client, "SELECT ?").await;
    let megabytes = |count: usize, batches: usize| {
        let text = "x".repeat(count << 20);
        vec![batch(Arc::new(StringArray::from(vec![text]))); batches]
    };
    // few rows in many bytes
    let mut endless = plain(Int32Array::from(vec![1])).await;
    let mut large = endless.pop().unwrap();
    large.data_body = [large.data_body.to_vec(), vec![0; 1 << 20]].concat().into();
    endless.extend(vec![large; 65]);
    for (messages, expected) in [
        (plain(Int32Array::from(vec![1; 10_001])).await, "at most 10000 rows of parameters"),
        (endless, "more than 67108864 bytes"),
        (messages(megabytes(1, 12), IpcWriteOptions::default()).await, "values of parameters"),
    ] {
        let error = put(&mut client, prepared.clone(), messages).await.unwrap_err();
        assert!(error.message().contains(expected), "{expected}: {error}");
        assert_eq!(error.code(), Code::ResourceExhausted);
    }
    is_well(&serving).await;
    // what is kept counts
    let kept = messages(megabytes(1, 3), IpcWriteOptions::default()).await;
    put(&mut client, prepared, kept).await.unwrap();
    let page = serving.page("/metrics").await;
    let memory = page.lines().find_map(|line| line.strip_prefix("semsql_memory_bytes ")).unwrap();
    assert!(memory.parse::<usize>().unwrap() >= 3 << 20, "{memory}");
}
