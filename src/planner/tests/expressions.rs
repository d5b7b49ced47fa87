//! Async calls in conditional expressions, in lists, in `VALUES`, and in statements that are not queries.

use super::check_all;

#[tokio::test]
async fn conditionals() {
    check_all(&[
        ("SELECT CASE WHEN x > 1 THEN 0 ELSE f(x) END FROM t", "0 0 10", "f=1"),
        ("SELECT CASE WHEN x > 1 THEN f(x) END, x FROM t", "-|1 20|2 30|3", "f=2"),
        ("SELECT CASE x WHEN 1 THEN f(x) WHEN 2 THEN g(x) ELSE y END FROM t", "10 200 4", "f=1 g=1"),
        ("SELECT CASE WHEN f(x) > 20 THEN g(x) WHEN f(y) > 20 THEN 1 END FROM t", "- 1 300", "f=5 g=1"),
        (
            "SELECT CASE WHEN x > 1 THEN CASE WHEN y > 3 THEN f(x) ELSE g(x) END END FROM t",
            "- 200 30",
            "f=1 g=1",
        ),
        ("SELECT CASE WHEN x = 1 THEN 0 WHEN 10 / (x - 1) > 6 THEN f(x) END FROM t", "- 0 20", "f=1"),
        ("SELECT f(CASE WHEN x > 1 THEN g(x) ELSE y END) FROM t", "20 2000 3000", "f=3 g=2"),
        ("SELECT f(x), CASE WHEN x > 1 THEN f(x) END FROM t", "10|- 20|20 30|30", "f=3"),
        ("SELECT coalesce(x, f(y)) FROM n", "1 3 50", "f=1"),
        ("SELECT coalesce(f(x), g(y)) FROM n", "10 30 500", "f=2 g=1"),
        ("SELECT nvl(x, f(y)), nullif(f(x), 10) FROM n", "1|- 3|30 50|-", "f=3"),
        ("SELECT x > 1 OR f(x) > 5, x > 1 AND f(x) > 5 FROM t", "true|false true|true true|true", "f=3"),
        ("SELECT f(x) > 5 OR x > 1 FROM n", "- true true", "f=1"),
        ("SELECT x FROM t WHERE CASE WHEN x > 1 THEN f(x) > 20 ELSE true END", "1 3", "f=2"),
        ("SELECT sum(CASE WHEN x > 1 THEN f(x) END) FROM t", "50", "f=2"),
        ("SELECT x FROM t ORDER BY CASE WHEN x > 1 THEN f(x) ELSE 100 END", "2 3 1", "f=2"),
        ("SELECT CASE WHEN random() < 2 THEN f(x) END FROM t", "10 20 30", "f=3"),
    ])
    .await;
}

#[tokio::test]
async fn nested_data() {
    check_all(&[
        ("SELECT unnest(make_array(f(x), g(x))) FROM t", "10 100 20 200 30 300", "f=3 g=3"),
        ("SELECT f(unnest(make_array(x, y))) FROM t", "10 20 20 30 30 40", "f=6"),
        (
            "SELECT f(v) FROM (SELECT unnest(make_array(g(x), y)) AS v FROM t) WHERE f(v) > 30",
            "1000 2000 3000 40",
            "f=6 g=3",
        ),
        ("SELECT make_array(f(x), x)[1], struct(f(x))['c0'] FROM t", "10|10 20|20 30|30", "f=3"),
    ])
    .await;
}

#[tokio::test]
async fn values() {
    check_all(&[
        ("VALUES (f(1))", "10", "f=1"),
        ("VALUES (f(1), 2), (f(3), 4)", "10|2 30|4", "f=2"),
        ("VALUES (f(1), 2), (5, 4), (NULL, f(g(7)))", "-|7000 10|2 5|4", "f=2 g=1"),
        ("VALUES (f(1)), (f(1))", "10 10", "f=1"),
        ("SELECT f(a) FROM (VALUES (g(1)), (2)) AS v (a)", "1000 20", "f=2 g=1"),
        ("VALUES (tag(1)), (tag(NULL))", "- 1", "tag=1"),
        (
            "INSERT INTO t (x, y) VALUES (1, tag(1)), (2, NULL); SELECT x, y FROM t",
            "1|1 1|2 2|- 2|3 3|4",
            "tag=1",
        ),
        ("INSERT INTO t VALUES (f(7), 8, 'z'); SELECT x, y FROM t", "1|2 2|3 3|4 70|8", "f=1"),
        (
            "INSERT INTO t (y, x) VALUES (f(7), 8), (f(8), g(9)), (f(9), g(1)); SELECT x, y FROM t",
            "100|90 1|2 2|3 3|4 8|70 900|80",
            "f=3 g=2",
        ),
    ])
    .await;
}

#[tokio::test]
async fn statements() {
    check_all(&[
        ("PREPARE p AS SELECT f(x) FROM t WHERE f(x) > $1; EXECUTE p(10)", "20 30", "f=3"),
        ("PREPARE p(BIGINT) AS SELECT x, f($1) FROM t; EXECUTE p(7)", "1|70 2|70 3|70", "f=1"),
        ("CREATE TABLE u AS SELECT x, f(g(x)) AS d FROM t; SELECT d FROM u", "1000 2000 3000", "f=3 g=3"),
        (
            "CREATE VIEW v AS SELECT x, f(x) AS d FROM t; SELECT g(d) FROM v WHERE d > 10",
            "2000 3000",
            "f=3 g=2",
        ),
        (
            "INSERT INTO t SELECT f(x), g(y), z FROM t WHERE f(x) > 10; SELECT x, y FROM t",
            "1|2 20|300 2|3 30|400 3|4",
            "f=3 g=2",
        ),
        ("INSERT INTO t SELECT f(1), x, z FROM t; SELECT x, y FROM t", "10|1 10|2 10|3 1|2 2|3 3|4", "f=1"),
        ("SELECT f(x) FROM t TABLESAMPLE BERNOULLI (100)", "10 20 30", "f=3"),
    ])
    .await;
}
