//! Where writing is allowed.
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::UInt64Type;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use futures::stream;

use super::{Client, query, serve, serve_with, table};

fn documents(ids: &[i32]) -> RecordBatch {
    let texts: Vec<String> = ids.iter().map(|id| format!("text {id}")).collect();
    let columns: [(&str, ArrayRef, bool); 2] = [
        ("id", Arc::new(Int32Array::from(ids.to_vec())), false),
        ("text", Arc::new(StringArray::from(texts)), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn command(missing: TableNotExistOption, exists: TableExistsOption) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: missing as i32,
            if_exists: exists as i32,
        }),
        table: "documents".to_owned(),
        ..Default::default()
    }
}

async fn ingest(
    client: &mut Client,
    command: CommandStatementIngest,
    batches: Vec<RecordBatch>,
) -> Result<i64, String> {
    let batches = stream::iter(batches.into_iter().map(Ok::<_, FlightError>));
    client.execute_ingest(command, batches).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_change_tables_where_that_is_allowed() {
    let serving = serve("server.allow_writes = true").await;
    let mut client = serving.client().await;
    let update =
        async |client: &mut Client, sql: &str| client.execute_update(sql.to_owned(), None).await.unwrap();
    assert_eq!(update(&mut client, "CREATE TABLE t (id INT, text VARCHAR)").await, 0);
    assert_eq!(update(&mut client, "INSERT INTO t VALUES (1, 'a'), (2, 'b')").await, 2);
    // by the way of a query it runs once, before its row is fetched
    let info = client.execute("INSERT INTO t VALUES (3, 'c')".to_owned(), None).await.unwrap();
    assert!(table(&mut client, "SELECT count(*) AS n FROM t").await.contains("| 3 |"));
    let answer = super::fetch(&mut client, info).await.unwrap();
    assert_eq!(answer[0].column(0).as_primitive::<UInt64Type>().values(), &[1]);
    assert!(table(&mut client, "SELECT count(*) AS n FROM t").await.contains("| 3 |"));

    let sql = "INSERT INTO t SELECT ?, ?".to_owned();
    let mut statement = client.prepare(sql, None).await.unwrap();
    assert!(statement.dataset_schema().unwrap().fields().is_empty());
    statement.set_parameters(documents(&[4, 5, 6])).unwrap();
    assert_eq!(statement.execute_update().await.unwrap(), 3);
    assert!(table(&mut client, "SELECT max(text) AS m FROM t").await.contains("text 6"));

    update(&mut client, "SET semantic.text_model = 'mock-wide'").await;
    assert!(table(&mut client, "SELECT embed_text('ab') AS e").await.contains("[2.0, 1.0, 1.0, 0.5]"));
    // all values are looked at before the first is written
    let mut statement = client.prepare("INSERT INTO t VALUES (?, ?)".to_owned(), None).await.unwrap();
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["7", "eight"]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["g", "h"]));
    statement.set_parameters(RecordBatch::try_from_iter([("1", ids), ("2", texts)]).unwrap()).unwrap();
    let error = statement.execute_update().await.unwrap_err().to_string();
    assert!(error.contains("parameter $1 must be Int32, found a Utf8 that is not"), "{error}");
    assert!(table(&mut client, "SELECT max(id) AS m FROM t").await.contains("| 6 |"));

    // limits are those of the server
    for sql in [
        "SET datafusion.runtime.memory_limit = '100G'",
        "SET datafusion.runtime.temp_directory = '/tmp'",
        "RESET datafusion.runtime.memory_limit",
        "SET semantic.max_tokens_per_query = 0",
        "SET semantic.image_max_pixels = 1000000000",
    ] {
        let error = query(&mut client, sql).await.unwrap_err();
        assert!(error.contains("limits what clients may take"), "{sql}: {error}");
    }
    // what queries may reach is fixed all the same
    let error = query(&mut client, "SET semantic.allow_paths = 'all'").await.unwrap_err();
    assert!(error.contains("is fixed"), "{error}");
    let error =
        query(&mut client, "COPY (SELECT 1) TO '/tmp/semsql-must-not-be-written.csv'").await.unwrap_err();
    assert!(error.contains("writing files is not allowed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_client_become_a_table() {
    let serving = serve("server.allow_writes = true\nserver.metrics = '127.0.0.1:0'").await;
    let mut client = serving.client().await;
    let missing = command(TableNotExistOption::Fail, TableExistsOption::Append);
    let error = ingest(&mut client, missing, vec![documents(&[1])]).await.unwrap_err();
    assert!(error.contains("table 'documents' not found"), "{error}");

    let create = command(TableNotExistOption::Create, TableExistsOption::Fail);
    assert_eq!(
        ingest(&mut client, create.clone(), vec![documents(&[1, 2]), documents(&[3])]).await.unwrap(),
        3
    );
    let error = ingest(&mut client, create, vec![documents(&[4])]).await.unwrap_err();
    assert!(error.contains("table 'documents' exists"), "{error}");

    let append = command(TableNotExistOption::Fail, TableExistsOption::Append);
    // columns are found by their names and take the types of the table; those that are missing are NULL
    let ids: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![4, 5]));
    let other = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    assert_eq!(ingest(&mut client, append.clone(), vec![other]).await.unwrap(), 2);
    let rows =
        table(&mut client, "SELECT count(*) AS n, count(text) AS texts, sum(id) AS s FROM documents").await;
    assert!(rows.contains("| 5 | 3     | 15 |"), "{rows}");
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["6", "seven"]));
    let wrong = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    assert!(ingest(&mut client, append.clone(), vec![wrong]).await.is_err());
    let unknown =
        RecordBatch::try_from_iter([("ids", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
    let error = ingest(&mut client, append, vec![unknown]).await.unwrap_err();
    assert!(error.contains("has no column 'ids': there are id, text"), "{error}");
    assert!(table(&mut client, "SELECT count(*) AS n FROM documents").await.contains("| 5 |"));

    let replace = command(TableNotExistOption::Create, TableExistsOption::Replace);
    assert_eq!(ingest(&mut client, replace, vec![documents(&[9])]).await.unwrap(), 1);
    assert!(
        table(&mut client, "SELECT embed_text(text) AS e FROM documents").await.contains("[6.0, 1.0, 1.0]")
    );

    // a table of another catalog is another one
    query(&mut client, "CREATE DATABASE other").await.unwrap();
    query(&mut client, "CREATE SCHEMA other.public").await.unwrap();
    let mut there = command(TableNotExistOption::Create, TableExistsOption::Fail);
    there.catalog = Some("other".to_owned());
    assert_eq!(ingest(&mut client, there, vec![documents(&[1, 2])]).await.unwrap(), 2);
    assert!(table(&mut client, "SELECT count(*) AS n FROM other.public.documents").await.contains("| 2 |"));
    assert!(table(&mut client, "SELECT count(*) AS n FROM documents").await.contains("| 1 |"));
    let page = serving.page("/metrics").await;
    assert!(page.contains("semsql_ingested_rows_total 10"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ingestion_is_refused_where_the_server_only_reads() {
    let serving = serve_with("", &["CREATE TABLE documents AS SELECT 1 AS id"]).await;
    let mut client = serving.client().await;
    let append = command(TableNotExistOption::Create, TableExistsOption::Replace);
    let error = ingest(&mut client, append, vec![documents(&[1])]).await.unwrap_err();
    assert!(error.contains("ingestion is not allowed: the server only reads"), "{error}");
}
