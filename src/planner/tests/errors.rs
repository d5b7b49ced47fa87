//! What cannot run says so in our own words, before anything is computed.

use super::Session;

async fn check(sql: &str, expected: &str) {
    for partitions in [1, 4] {
        let session = Session::new(partitions);
        let found = session.run(sql).await.expect_err(sql).find_root().to_string();
        assert_eq!(found, format!("Error during planning: {expected}"), "{sql}");
        assert_eq!(session.counts.take(), "", "{sql}");
    }
}

#[tokio::test]
async fn outer_join_over_both_sides() {
    check(
        "SELECT 1 FROM t a LEFT JOIN t b ON f(a.x + b.x) > 40",
        "f: found f(a.x + b.x) over both sides in the condition of a LEFT JOIN, expected columns of one side; find \
         the pairs with an INNER JOIN in a subquery, then LEFT JOIN its result",
    )
    .await;
    check(
        "SELECT 1 FROM t a RIGHT JOIN t b ON f(a.x + b.x) > 40",
        "f: found f(a.x + b.x) over both sides in the condition of a RIGHT JOIN, expected columns of one side; find \
         the pairs with an INNER JOIN in a subquery, then RIGHT JOIN its result",
    )
    .await;
    check(
        "SELECT 1 FROM t a FULL JOIN t b ON a.x = b.x AND g(f(a.x) + b.x) > 40",
        "g: found g(f(a.x) + b.x) over both sides in the condition of a FULL JOIN, expected columns of one side; \
         find the pairs with an INNER JOIN in a subquery, then FULL JOIN its result",
    )
    .await;
}

#[tokio::test]
async fn correlated_over_both_sides() {
    let expected = "f: found a call over columns of a subquery (IN, EXISTS) and of the query around it, expected \
                    columns of one of them; find the matching rows with an INNER JOIN in a subquery, then use IN or \
                    NOT IN on its result";
    for sql in [
        "SELECT x FROM t WHERE EXISTS (SELECT 1 FROM t b WHERE f(t.x + b.x) > 40)",
        "SELECT x FROM t WHERE x IN (SELECT b.x FROM t b WHERE f(t.x + b.x) > 40)",
        "SELECT x FROM t WHERE NOT EXISTS (SELECT 1 FROM t b WHERE f(t.x + b.x) > 40)",
    ] {
        check(sql, expected).await;
    }
}

#[tokio::test]
async fn statements_that_the_table_executes() {
    for (verb, sql) in [
        ("DELETE", "DELETE FROM t WHERE f(x) > 10"),
        ("DELETE", "DELETE FROM t WHERE x IN (SELECT x FROM t WHERE f(x) > 10)"),
        ("UPDATE", "UPDATE t SET y = 1 WHERE f(x) > 10"),
        ("UPDATE", "UPDATE t SET y = f(x)"),
    ] {
        check(
            sql,
            &format!(
                "f: found in {verb}, which computes its conditions and values inside the table; store the value in \
                 a column first (CREATE TABLE ... AS SELECT *, f(...) AS value FROM ...) and use the column"
            ),
        )
        .await;
    }
}

#[tokio::test]
async fn lambda() {
    for body in ["f(v)", "v + f(x)"] {
        check(
            &format!(
                "SET datafusion.sql_parser.dialect = 'databricks'; \
                 SELECT array_transform(make_array(x), v -> {body}) FROM t"
            ),
            "f: found in a lambda, expected in a query over rows; write the list as rows with unnest, call f on \
             them, and put the values back together with array_agg",
        )
        .await;
    }
}

/// DataFusion itself cannot plan these, with functions of any kind; its error names no function and no cure.
#[tokio::test]
async fn correlated_beyond_datafusion() {
    for (column, sql) in [
        ("a.x", "SELECT * FROM t a, LATERAL (SELECT f(a.x) AS d) s"),
        ("a.x", "SELECT * FROM t a, LATERAL (SELECT f(a.x + b.x) AS d FROM t b) s"),
        (
            "a.x",
            "SELECT a.x, d FROM t a, LATERAL (SELECT max(f(b.y)) AS d FROM t b WHERE b.x = a.x AND f(b.x) = f(a.x)) s",
        ),
        ("t.x", "SELECT x, EXISTS (SELECT 1 FROM t b WHERE f(t.x + b.x) > 40) FROM t"),
        ("a.x", "SELECT * FROM t a WHERE x = (SELECT max(f(b.x + a.x)) FROM t b)"),
        ("a.x", "SELECT * FROM t a WHERE x = (SELECT max(b.x) FROM t b WHERE f(b.x) = f(a.x))"),
    ] {
        let reference = Session::reference(1).run(sql).await.unwrap_err().find_root().to_string();
        assert!(reference.starts_with("This feature is not implemented"), "{sql}: {reference}");
        check(
            sql,
            &format!(
                "f: found in a subquery that uses {column} of the outer query and cannot be made a join, expected a \
                 subquery that can run on its own; compute f(...) in the outer SELECT, or write the subquery as a \
                 JOIN"
            ),
        )
        .await;
    }
    // an async call elsewhere in the query is not to blame
    let sql = "SELECT f(x) FROM t a WHERE x = (SELECT max(abs(b.x + a.x)) FROM t b)";
    let found = Session::new(1).run(sql).await.unwrap_err().find_root().to_string();
    assert!(found.starts_with("This feature is not implemented"), "{found}");
}
