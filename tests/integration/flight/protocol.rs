//! Statements, prepared statements, the catalog, and what the rows look like.
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, CommandStatementQuery, ProstMessageExt,
    SqlInfo,
};
use arrow_flight::{FlightDescriptor, SchemaResult};
use prost::Message;

use super::{fetch, query, serve, serve_with, table};

const DOCUMENTS: &str =
    "CREATE TABLE documents AS SELECT * FROM (VALUES (1, 'a cat'), (2, NULL), (3, 'the dogs')) t(id, text)";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_planned_first_and_run_when_its_rows_are_fetched() {
    let serving = serve_with("", &[DOCUMENTS]).await;
    let mut client = serving.client().await;
    let sql = "SELECT id, embed_text(text) AS embedding FROM documents ORDER BY id";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let promised = info.clone().try_decode_schema().unwrap();
    let embedding = promised.field(1);
    assert_eq!(*embedding.data_type(), DataType::new_fixed_size_list(DataType::Float32, 3, true));
    assert!(!embedding.metadata().is_empty(), "the space of the embedding");
    assert_eq!(serving.counts.take_calls(), 0);

    let batches = fetch(&mut client, info.clone()).await.unwrap();
    assert_eq!(*batches[0].schema(), promised);
    let vectors: &FixedSizeListArray = batches[0].column(1).as_fixed_size_list();
    assert_eq!(vectors.value(0).as_primitive::<Float32Type>().values(), &[5.0, 2.0, 1.0]);
    assert!(vectors.is_null(1));
    assert_eq!(serving.counts.take_inputs(), 2);
    serving.counts.take_calls();

    // a ticket is good for one time, and nobody makes one up
    let error = fetch(&mut client, info).await.unwrap_err();
    assert!(error.contains("there is no such handle among the results"), "{error}");
    assert_eq!(serving.counts.take_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sql_of_the_shell_is_the_sql_of_the_server() {
    let serving = serve_with("", &[DOCUMENTS]).await;
    let mut client = serving.client().await;
    // a call that skips optional arguments
    let rows = table(&mut client, "SELECT embed_text('ab', dimensions => 3) AS e").await;
    assert!(rows.contains("[2.0, 1.0, 1.0]"), "{rows}");
    for (sql, expected) in [
        (
            "SELECT txt FROM documents",
            "line 1, column 8: there is no column txt; did you mean documents.text?",
        ),
        ("SELECT 1 +", "line 1, column"),
        ("SELECT embed_text(id) FROM documents", "embed_text: text must be a string, found Int64"),
        ("SELECT embed_text('poison')", "the text is poisoned"),
        ("SELECT 1; SELECT 2", "The context currently only supports a single SQL statement"),
        ("SELECT ?", "the statement has 1 parameters, found no values for them: prepare it"),
    ] {
        let error = query(&mut client, sql).await.unwrap_err();
        assert!(error.contains(expected), "{sql}: {error}");
        assert!(!error.to_lowercase().contains("internal"), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_have_typed_parameters() {
    let serving = serve_with("", &[DOCUMENTS]).await;
    let mut client = serving.client().await;
    let sql = "SELECT id, cosine_distance(embed_text(text), embed_text(?)) AS distance FROM documents \
               WHERE text IS NOT NULL ORDER BY distance LIMIT ?";
    let mut statement = client.prepare(sql.to_owned(), None).await.unwrap();
    let types = |schema: &Schema| -> Vec<DataType> {
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    };
    assert_eq!(types(statement.parameter_schema().unwrap()), [DataType::Utf8, DataType::Int64]);
    assert_eq!(types(statement.dataset_schema().unwrap()), [DataType::Int64, DataType::Float64]);
    assert_eq!(serving.counts.take_calls(), 0);

    // without values it does not run
    let error = statement.execute().await.unwrap_err().to_string();
    assert!(error.contains("the statement has 2 parameters, found no values"), "{error}");

    for (text, limit, ids) in [("the dogs", 1, vec![3]), ("a cat", 2, vec![1, 3])] {
        let values: [(&str, ArrayRef); 2] =
            [("1", Arc::new(StringArray::from(vec![text]))), ("2", Arc::new(Int64Array::from(vec![limit])))];
        statement.set_parameters(RecordBatch::try_from_iter(values).unwrap()).unwrap();
        let info = statement.execute().await.unwrap();
        let batches = fetch(&mut client, info).await.unwrap();
        let found: Vec<i64> = batches
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(found, ids);
    }

    // a vector as a parameter, of the type of the other one
    let sql = "SELECT id FROM documents ORDER BY cosine_distance(embed_text(text), $1) LIMIT 1";
    let mut nearest = client.prepare(sql.to_owned(), None).await.unwrap();
    let vector = DataType::new_fixed_size_list(DataType::Float32, 3, true);
    assert_eq!(types(nearest.parameter_schema().unwrap()), [vector]);
    let field = Arc::new(Field::new_list_field(DataType::Float32, true));
    let value = FixedSizeListArray::new(field, 3, Arc::new(Float32Array::from(vec![8.0, 2.0, 1.0])), None);
    nearest
        .set_parameters(RecordBatch::try_from_iter([("v", Arc::new(value) as ArrayRef)]).unwrap())
        .unwrap();
    let info = nearest.execute().await.unwrap();
    let batches = fetch(&mut client, info).await.unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().values(), &[3]);

    // several rows of values: the statement runs for each
    let mut each = client.prepare("SELECT embed_text(?) AS e".to_owned(), None).await.unwrap();
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "ab", "abc"]));
    each.set_parameters(RecordBatch::try_from_iter([("t", texts)]).unwrap()).unwrap();
    let info = each.execute().await.unwrap();
    let rows: usize = fetch(&mut client, info).await.unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 3);

    each.close().await.unwrap();
    let error = query(&mut client, "SELECT missing").await.unwrap_err();
    assert!(error.contains("there is no column missing"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_schemas_tables_types_and_keys_are_listed() {
    let serving = serve_with("", &[DOCUMENTS, "CREATE VIEW v AS SELECT id FROM documents"]).await;
    let mut client = serving.client().await;
    let infos = [
        client.get_catalogs().await.unwrap(),
        client
            .get_db_schemas(CommandGetDbSchemas {
                catalog: None,
                db_schema_filter_pattern: Some("pub%".into()),
            })
            .await
            .unwrap(),
        client
            .get_tables(CommandGetTables {
                catalog: None,
                db_schema_filter_pattern: Some("public".into()),
                table_name_filter_pattern: None,
                table_types: vec![],
                include_schema: false,
            })
            .await
            .unwrap(),
        client.get_table_types().await.unwrap(),
    ];
    let mut shown = String::new();
    for info in infos {
        let promised = info.clone().try_decode_schema().unwrap();
        let batches = fetch(&mut client, info).await.unwrap();
        assert_eq!(*batches[0].schema(), promised);
        shown += &arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    }
    for expected in ["datafusion", "public", "| documents  | TABLE", "| v          | VIEW", "LOCAL TEMPORARY"]
    {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }

    // the schema of a table, as clients read it
    let tables = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: None,
        table_name_filter_pattern: Some("documents".into()),
        table_types: vec!["TABLE".into()],
        include_schema: true,
    };
    let info = client.get_tables(tables).await.unwrap();
    let batches = fetch(&mut client, info).await.unwrap();
    let schema = batches[0].column_by_name("table_schema").unwrap().as_binary::<i32>().value(0).to_vec();
    let schema = Schema::try_from(&SchemaResult { schema: schema.into() }).unwrap();
    assert_eq!(*schema.field(1).data_type(), DataType::Utf8);

    let info =
        client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await;
    let batches = fetch(&mut client, info.unwrap()).await.unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    assert!(shown.contains("semsql") && shown.contains("true"), "{shown}");
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    assert!(fetch(&mut client, info).await.unwrap()[0].num_rows() > 10);

    let table = "documents".to_owned();
    let keys = [
        client
            .get_primary_keys(CommandGetPrimaryKeys { catalog: None, db_schema: None, table: table.clone() })
            .await,
        client
            .get_exported_keys(CommandGetExportedKeys {
                catalog: None,
                db_schema: None,
                table: table.clone(),
            })
            .await,
        client
            .get_imported_keys(CommandGetImportedKeys {
                catalog: None,
                db_schema: None,
                table: table.clone(),
            })
            .await,
        client
            .get_cross_reference(CommandGetCrossReference {
                pk_catalog: None,
                pk_db_schema: None,
                pk_table: table.clone(),
                fk_catalog: None,
                fk_db_schema: None,
                fk_table: table,
            })
            .await,
    ];
    for info in keys {
        let rows: usize =
            fetch(&mut client, info.unwrap()).await.unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_larger_than_a_message_of_grpc_pass() {
    let serving = serve("").await;
    let mut client = serving.client().await;
    let batches =
        query(&mut client, "SELECT repeat('x', 9000000) AS t UNION ALL SELECT 'y' ORDER BY t").await;
    let lengths: Vec<usize> = batches
        .unwrap()
        .iter()
        .flat_map(|batch| {
            batch.column(0).as_string::<i32>().iter().map(|t| t.unwrap().len()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(lengths, [9_000_000, 1]);

    // 40,000 embeddings of 3 dimensions and their texts, in messages that any client takes
    let small = arrow_flight::sql::client::FlightSqlServiceClient::new(serving.channel().await);
    let mut small = small;
    let sql = "SELECT repeat('x', 1000) AS t FROM range(0, 40000)";
    let rows: usize = query(&mut small, sql).await.unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 40_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_a_statement_is_told_without_a_ticket() {
    let serving = serve("").await;
    let mut client = serving.client().await;
    let command =
        CommandStatementQuery { query: "SELECT embed_text('a') AS e".to_owned(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let result = client.inner_mut().get_schema(descriptor).await.unwrap().into_inner();
    let schema = Schema::try_from(&result).unwrap();
    assert_eq!(schema.field(0).name(), "e");
    assert_eq!(serving.counts.take_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_refused_in_words() {
    let serving = serve("").await;
    let mut client = serving.client().await;
    let error = client.begin_transaction().await.unwrap_err().to_string();
    assert!(error.contains("there are no transactions"), "{error}");
    let error = client.execute("SELECT 1".to_owned(), Some("t".into())).await.unwrap_err().to_string();
    assert!(error.contains("there are no transactions"), "{error}");
}
