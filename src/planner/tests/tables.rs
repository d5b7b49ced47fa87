//! Tables that take filters, and files.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session as CatalogSession, TableProvider};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::{Session, check_all};

/// A table that claims to apply every filter, and fails when it is given one.
#[derive(Debug)]
struct Exact(Arc<dyn TableProvider>);

#[async_trait]
impl TableProvider for Exact {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn CatalogSession,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if filters.is_empty() {
            return self.0.scan(state, projection, filters, limit).await;
        }
        exec_err!("the table was given {filters:?}")
    }
}

#[tokio::test]
async fn a_table_is_never_given_a_call() {
    for partitions in [1, 4] {
        let session = Session::new(partitions);
        let table = session.ctx.table_provider("t").await.unwrap();
        session.ctx.register_table("exact", Arc::new(Exact(table))).unwrap();
        for (sql, rows, counts) in [
            ("SELECT y FROM exact WHERE f(x) > 10", "3 4", "f=3"),
            ("SELECT * FROM exact WHERE f(x) > 10", "2|3|z2 3|4|z3", "f=3"),
            ("SELECT y, f(x) FROM exact WHERE f(x) > 10 AND g(y) = 400", "4|30", "f=3 g=2"),
            ("SELECT count(*) FROM exact WHERE f(x) > 10", "2", "f=3"),
            ("SELECT z FROM exact WHERE f(x) > 10 ORDER BY y DESC LIMIT 1", "z3", "f=3"),
            ("SELECT z FROM exact WHERE f(x) > 10 LIMIT 0", "", ""),
        ] {
            assert_eq!(session.run(sql).await.unwrap(), rows, "{sql}");
            assert_eq!(session.counts.take(), counts, "{sql}");
        }
    }
}

#[tokio::test]
async fn parquet_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let write = format!(
        "COPY (SELECT x, y, f(x) AS d FROM t WHERE f(x) < 30) TO '{path}/t/1.parquet' STORED AS PARQUET"
    );
    let read = format!(
        "SET datafusion.execution.parquet.pushdown_filters = true; \
         CREATE EXTERNAL TABLE p STORED AS PARQUET LOCATION '{path}/t/'"
    );
    let session = Session::new(4);
    session.run(&write).await.unwrap();
    assert_eq!(session.counts.take(), "f=3");
    session.run(&read).await.unwrap();
    for (sql, rows, counts) in [
        ("SELECT x, d FROM p WHERE f(x) > 10", "2|20", "f=2"),
        ("SELECT x FROM p WHERE f(d) > 100 AND x > 1", "2", "f=1"),
        ("SELECT x FROM p WHERE x * 10 = f(2)", "2", "f=1"),
        ("SELECT d, f(y) FROM p ORDER BY x DESC LIMIT 1", "20|30", "f=1"),
    ] {
        assert_eq!(session.run(sql).await.unwrap(), rows, "{sql}");
        assert_eq!(session.counts.take(), counts, "{sql}");
    }
}

#[tokio::test]
async fn explain_calls_nothing() {
    for sql in [
        "EXPLAIN SELECT f(x) FROM t WHERE f(g(x)) > f(1)",
        "EXPLAIN VERBOSE SELECT f(x) FROM t ORDER BY f(y)",
    ] {
        let session = Session::new(1);
        session.run(sql).await.unwrap();
        assert_eq!(session.counts.take(), "");
    }
    let session = Session::new(1);
    session.run("EXPLAIN ANALYZE SELECT f(x) FROM t WHERE f(x) > f(1)").await.unwrap();
    assert_eq!(session.counts.take(), "f=4");
}

/// A plan that was optimized can be optimized again, as a view or a cached plan is.
#[tokio::test]
async fn optimizing_twice_is_optimizing_once() {
    for sql in [
        "SELECT f(g(x)) FROM t WHERE f(x) > 10 AND y = 3 AND g(y) < 5 ORDER BY f(x) LIMIT 2",
        "SELECT x, f(x) FROM t ORDER BY x LIMIT 2",
        "SELECT a.z FROM t a JOIN t b ON a.x = b.y AND f(a.x) < g(b.x) AND f(a.x + b.y) > 1",
        "SELECT f(x), sum(g(y)) FILTER (WHERE y > 1) FROM t GROUP BY f(x)",
        "SELECT CASE WHEN x = 1 THEN f(x) ELSE g(y) END FROM t",
        "SELECT x FROM t WHERE f(x) > f(g(1))",
        "VALUES (f(1), 'a'), (f(2), 'b')",
    ] {
        let state = Session::new(1).ctx.state();
        let plan = state.create_logical_plan(sql).await.unwrap();
        let once = state.optimize(&plan).unwrap();
        let twice = state.optimize(&once).unwrap();
        assert_eq!(twice.display_indent().to_string(), once.display_indent().to_string(), "{sql}");
    }
}

#[tokio::test]
async fn views_and_columns_named_like_calls() {
    check_all(&[
        ("CREATE VIEW v AS SELECT x, f(x) FROM t; SELECT x, \"f(t.x)\", f(x) FROM v WHERE \"f(t.x)\" > 10", "2|20|20 3|30|30", "f=3"),
        ("CREATE TABLE u AS SELECT x AS __semantic_1, y FROM t; SELECT f(__semantic_1) FROM u WHERE g(y) > 200 ORDER BY f(y)", "20 30", "f=4 g=3"),
    ])
    .await;
}

/// The metadata of a call's field (which tells the space of an embedding) reaches the rows that the user gets.
#[tokio::test]
async fn metadata_survives() {
    for sql in [
        "SELECT tag(x) AS d FROM t",
        "SELECT tag(g(x)) AS d FROM t",
        "SELECT tag(x) AS d FROM t WHERE tag(x) > 1 ORDER BY tag(x) LIMIT 1",
        "SELECT d FROM (SELECT tag(x) AS d, x FROM t) WHERE d > 1",
        "SELECT tag(x) AS d FROM t GROUP BY tag(x)",
        "SELECT tag(a.x) AS d FROM t a JOIN t b ON tag(a.x) = tag(b.x) LIMIT 1",
        "SELECT x, tag(x) AS d FROM t ORDER BY x LIMIT 1",
        "SELECT tag(1) AS d FROM t",
        "SELECT CASE WHEN x > 1 THEN tag(x) END AS c, tag(y) AS d FROM t",
        "SELECT tag(a) AS d FROM (VALUES (1), (2)) AS v (a)",
    ] {
        let batches = Session::new(4).ctx.sql(sql).await.unwrap().collect().await.unwrap();
        let schema = batches[0].schema();
        let field = schema.field_with_name("d").unwrap();
        assert_eq!(field.metadata().get("made_by").map(String::as_str), Some("tag"), "{sql}");
    }
}

/// DataFusion finds the column of a pushed predicate by name.
#[tokio::test]
async fn columns_of_one_name_below_a_call_stay_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let session = Session::caching(1);
    for table in ["l", "r"] {
        let setup = format!(
            "COPY (SELECT value AS id, value % 5 AS v FROM generate_series(1, 5000)) TO '{path}/{table}.parquet' \
             OPTIONS ('format.max_row_group_size' 500); \
             CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{path}/{table}.parquet'"
        );
        session.run(&setup).await.unwrap();
    }
    let sql = "CREATE TABLE q AS SELECT value AS z FROM generate_series(4990, 5000); \
               SELECT count(*), min(x), max(x), count(e) FROM q JOIN \
               (SELECT a.id AS x, b.id AS y, f(a.v + b.v) AS e FROM l a JOIN r b ON a.id = 5001 - b.id) s ON s.y = q.z";
    assert_eq!(session.run(sql).await.unwrap(), "11|1|11|11");
}
