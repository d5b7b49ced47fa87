//! The logical plans of the main shapes.

use super::Session;

async fn plan(sql: &str) -> String {
    Session::new(1).plan(sql).await.unwrap()
}

#[tokio::test]
async fn a_call_that_is_fine_stays() {
    insta::assert_snapshot!(plan("SELECT x, f(x) + 1 FROM t").await, @r"
    Projection: t.x, f(t.x) + Int64(1)
      TableScan: t projection=[x]
    ");
}

#[tokio::test]
async fn nested_calls_run_innermost_first() {
    insta::assert_snapshot!(plan("SELECT f(g(x)) FROM t").await, @r"
    Projection: f(__semantic_1) AS f(g(t.x))
      Projection: t.x, g(t.x) AS __semantic_1
        TableScan: t projection=[x]
    ");
}

#[tokio::test]
async fn cheap_conjuncts_run_first_and_the_column_is_kept() {
    insta::assert_snapshot!(plan("SELECT f(x) FROM t WHERE f(x) > 10 AND y = 3 AND g(y) < 5").await, @r"
    Projection: __semantic_1 AS f(t.x)
      Filter: __semantic_2 < Int64(5)
        Projection: t.x, t.y, __semantic_1, g(t.y) AS __semantic_2
          Filter: __semantic_1 > Int64(10)
            Projection: t.x, t.y, f(t.x) AS __semantic_1
              Filter: t.y = Int64(3)
                TableScan: t projection=[x, y]
    ");
}

#[tokio::test]
async fn top_k_by_a_call() {
    insta::assert_snapshot!(plan("SELECT x FROM t ORDER BY f(x) LIMIT 2").await, @r"
    Projection: t.x
      Sort: __semantic_1 ASC NULLS LAST, fetch=2
        Projection: t.x, f(t.x) AS __semantic_1
          TableScan: t projection=[x]
    ");
}

#[tokio::test]
async fn top_k_by_another_key_runs_before_the_call() {
    insta::assert_snapshot!(plan("SELECT x, f(x) FROM t ORDER BY x LIMIT 2").await, @r"
    Sort: t.x ASC NULLS LAST, fetch=2
      Projection: t.x, f(t.x)
        Sort: t.x ASC NULLS LAST, fetch=2
          TableScan: t projection=[x]
    ");
}

#[tokio::test]
async fn vector_search() {
    insta::assert_snapshot!(plan("SELECT z FROM t ORDER BY dist(f(x), f(7)) LIMIT 2").await, @r"
    Projection: t.z
      Sort: dist(__semantic_1, (<subquery>)) ASC NULLS LAST, fetch=2
        Subquery:
          Projection: f(Int64(7))
            EmptyRelation: rows=1
        Projection: t.z, f(t.x) AS __semantic_1
          TableScan: t projection=[x, z]
    ");
}

#[tokio::test]
async fn aggregate() {
    insta::assert_snapshot!(plan("SELECT f(x), sum(g(y)) FILTER (WHERE y > 1) FROM t GROUP BY f(x)").await, @r"
    Projection: __semantic_1 AS f(t.x), sum(__semantic_2) FILTER (WHERE t.y > Int64(1)) AS sum(g(t.y)) FILTER (WHERE t.y > Int64(1))
      Aggregate: groupBy=[[__semantic_1]], aggr=[[sum(__semantic_2) FILTER (WHERE t.y > Int64(1))]]
        Projection: t.y, f(t.x) AS __semantic_1, g(CASE WHEN t.y > Int64(1) THEN t.y END) AS __semantic_2
          TableScan: t projection=[x, y]
    ");
}

#[tokio::test]
async fn window() {
    insta::assert_snapshot!(plan("SELECT x, row_number() OVER (PARTITION BY f(x) ORDER BY y) FROM t").await, @r"
    Projection: t.x, row_number() PARTITION BY [__semantic_1] ORDER BY [t.y ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW AS row_number() PARTITION BY [f(t.x)] ORDER BY [t.y ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      WindowAggr: windowExpr=[[row_number() PARTITION BY [__semantic_1] ORDER BY [t.y ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW]]
        Projection: t.x, t.y, f(t.x) AS __semantic_1
          TableScan: t projection=[x, y]
    ");
}

#[tokio::test]
async fn inner_join() {
    insta::assert_snapshot!(
        plan("SELECT a.z FROM t a JOIN t b ON a.x = b.y AND f(a.x) < g(b.x) AND f(a.x + b.y) > 1").await,
        @r"
    Projection: a.z
      Projection: a.x, a.z, __semantic_1, b.y, __semantic_2
        Filter: __semantic_3 > Int64(1)
          Projection: a.x, a.z, __semantic_1, b.y, __semantic_2, f(a.x + b.y) AS __semantic_3
            Inner Join: a.x = b.y Filter: __semantic_1 < __semantic_2
              Projection: a.x, a.z, f(a.x) AS __semantic_1
                SubqueryAlias: a
                  TableScan: t projection=[x, z]
              Projection: b.y, g(b.x) AS __semantic_2
                SubqueryAlias: b
                  TableScan: t projection=[x, y]
    "
    );
}

#[tokio::test]
async fn left_join() {
    insta::assert_snapshot!(plan("SELECT a.z, b.z FROM t a LEFT JOIN t b ON f(a.x) = g(b.x)").await, @r"
    Projection: a.z, b.z
      Left Join: __semantic_1 = __semantic_2
        Projection: a.z, f(a.x) AS __semantic_1
          SubqueryAlias: a
            TableScan: t projection=[x, z]
        Projection: b.z, g(b.x) AS __semantic_2
          SubqueryAlias: b
            TableScan: t projection=[x, z]
    ");
}

#[tokio::test]
async fn case() {
    insta::assert_snapshot!(plan("SELECT CASE WHEN x > 1 THEN f(x) ELSE y END FROM t").await, @r"
    Projection: CASE WHEN __common_expr_1 THEN f(CASE WHEN __common_expr_1 THEN t.x END) ELSE t.y END AS CASE WHEN t.x > Int64(1) THEN f(t.x) ELSE t.y END
      Projection: t.x > Int64(1) AS __common_expr_1, t.x, t.y
        TableScan: t projection=[x, y]
    ");
    insta::assert_snapshot!(plan("SELECT coalesce(f(x), g(y)) FROM t").await, @r"
    Projection: CASE WHEN __common_expr_2 THEN __common_expr_1 ELSE g(CASE WHEN __common_expr_2 THEN Int64(NULL) ELSE t.y END) END AS coalesce(f(t.x),g(t.y))
      Projection: __common_expr_1 IS NOT NULL AS __common_expr_2, __common_expr_1, t.y
        Projection: f(t.x) AS __common_expr_1, t.y
          TableScan: t projection=[x, y]
    ");
}

#[tokio::test]
async fn constants() {
    insta::assert_snapshot!(plan("SELECT x FROM t WHERE f(x) > f(g(1))").await, @r"
    Projection: t.x
      Filter: __semantic_1 > (<subquery>)
        Subquery:
          Projection: f(__semantic_1) AS f(g(Int64(1)))
            Projection: g(Int64(1)) AS __semantic_1
              EmptyRelation: rows=1
        Projection: t.x, f(t.x) AS __semantic_1
          TableScan: t projection=[x]
    ");
}

#[tokio::test]
async fn synchronous_twins() {
    insta::assert_snapshot!(plan("SELECT f(pic(pic(g(x)))) FROM t").await, @r"
    Projection: f(pic(pic(__semantic_1))) AS f(pic(pic(g(t.x))))
      Projection: t.x, g(t.x) AS __semantic_1
        TableScan: t projection=[x]
    ");
}

#[tokio::test]
async fn values() {
    insta::assert_snapshot!(plan("VALUES (f(1), 'a'), (f(2), 'b')").await, @r#"
    Projection: f(column1) AS column1, column2 AS column2
      Values: (Int64(1), Utf8("a")), (Int64(2), Utf8("b"))
    "#);
    insta::assert_snapshot!(plan("VALUES (f(1)), (2)").await, @r"
    Union
      Projection: f(Int64(1)) AS column1
        EmptyRelation: rows=1
      Projection: Int64(2) AS column1
        EmptyRelation: rows=1
    ");
}
