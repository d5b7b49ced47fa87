//! Images that are made inside a call, row by row.
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion_semantic::session;

use crate::mock;

/// The only number of each statement's result.
async fn numbers(statements: &[&str]) -> Vec<i64> {
    let mut found = vec![];
    for cache in ["0", "64M"] {
        let (ctx, _) = mock::session().await.unwrap();
        let files =
            "CREATE TABLE files AS SELECT path, download(path) AS file FROM glob('sql/data/photos/*')";
        for set in [
            "SET datafusion.execution.target_partitions = 1",
            &format!("SET semantic.cache_bytes = '{cache}'"),
        ] {
            session::sql(&ctx, set).await.unwrap();
        }
        session::sql(&ctx, files).await.unwrap();
        for sql in statements {
            let batches = session::sql(&ctx, sql).await.unwrap().collect().await.unwrap();
            found.push(batches[0].column(0).as_primitive::<Int64Type>().value(0));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_one_row_does_not_take_is_taken_by_the_next() {
    let sql = "SELECT count(e) FROM (SELECT embed_image(CASE WHEN i % 2 = 0 THEN resize(decode_image(file), i, 8) END) AS e
               FROM (SELECT file FROM files WHERE path LIKE '%cat%') CROSS JOIN generate_series(1, 60) AS t(i))";
    let all_first = sql.replace("i % 2 = 0", "i < 31");
    assert_eq!(numbers(&[sql, &all_first]).await, [30, 30, 30, 30]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constants_that_begin_alike_are_told_apart() {
    let image = |name: &str| {
        format!(
            "embed_image(CASE WHEN i > 0 THEN decode_image((SELECT file FROM files WHERE path LIKE '%{name}%')) END)"
        )
    };
    // two files of one format, which begin with the same bytes
    let sql = format!(
        "WITH png AS (SELECT path, row_number() OVER (ORDER BY path) AS n, file FROM files),
              e AS (SELECT {} AS a, {} AS b FROM generate_series(1, 1) AS t(i))
         SELECT count(DISTINCT v) FROM (SELECT a AS v FROM e UNION ALL SELECT b FROM e)",
        image("cat"),
        image("coffee")
    );
    assert_eq!(numbers(&[&sql]).await, [2, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_no_column() {
    let sql = "SELECT count(embed_image(decode_image((SELECT file FROM files WHERE path LIKE '%cat%'))))";
    assert_eq!(numbers(&[sql]).await, [1, 1]);
    let (ctx, _) = mock::session().await.unwrap();
    let sql = "SELECT embed_image(decode_image(X'00'))";
    let error = session::sql(&ctx, sql).await.unwrap().collect().await.unwrap_err().find_root().to_string();
    assert!(error.contains("decode_image: "), "{error}");
}
