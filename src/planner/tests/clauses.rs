//! An async call in every clause of SQL.

use super::check_all;

#[tokio::test]
async fn select_list() {
    check_all(&[
        ("SELECT f(x) FROM t", "10 20 30", "f=3"),
        ("SELECT f(x), f(x) + 1 FROM t", "10|11 20|21 30|31", "f=3"),
        ("SELECT f(g(x)) FROM t", "1000 2000 3000", "f=3 g=3"),
        ("SELECT f(abs(g(x))) FROM t", "1000 2000 3000", "f=3 g=3"),
        ("SELECT f(g(f(x))) FROM t", "10000 20000 30000", "f=6 g=3"),
        ("SELECT f(x), f(g(x)), g(x) FROM t", "10|1000|100 20|2000|200 30|3000|300", "f=6 g=3"),
        ("SELECT f(x) AS x, g(x) FROM t", "10|100 20|200 30|300", "f=3 g=3"),
        ("SELECT DISTINCT f(x) FROM t", "10 20 30", "f=3"),
        ("SELECT f(NULL), f(x) FROM n", "-|- -|10 -|30", "f=2"),
        ("SELECT f(1)", "10", "f=1"),
        ("SELECT f(g(1))", "1000", "f=1 g=1"),
    ])
    .await;
}

#[tokio::test]
async fn subqueries_in_from() {
    check_all(&[
        ("SELECT f(y2) FROM (SELECT g(x) AS y2 FROM t)", "1000 2000 3000", "f=3 g=3"),
        ("SELECT f(y2) FROM (SELECT g(x) AS y2 FROM t OFFSET 0)", "1000 2000 3000", "f=3 g=3"),
        ("SELECT f(y2), y2 FROM (SELECT g(x) AS y2 FROM t) s", "1000|100 2000|200 3000|300", "f=3 g=3"),
        ("WITH c AS (SELECT f(x) AS a FROM t) SELECT l.a, r.a FROM c l JOIN c r ON l.a = r.a", "10|10 20|20 30|30", "f=6"),
        ("SELECT f(x) FROM t UNION ALL SELECT g(x) FROM t", "10 100 20 200 30 300", "f=3 g=3"),
        ("SELECT f(x) FROM t UNION SELECT f(x) FROM t", "10 20 30", "f=6"),
        ("SELECT f(x) FROM t EXCEPT SELECT 10", "20 30", "f=3"),
        ("SELECT f(x) FROM t INTERSECT SELECT 10", "10", "f=3"),
        ("CREATE TABLE u AS SELECT f(x) FROM t; SELECT \"f(t.x)\" AS a, f(x) AS b FROM u, t WHERE f(x) > 10 AND \"f(t.x)\" < 20", "10|20 10|30", "f=6"),
        ("WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT f(i) FROM r WHERE i < 1000) SELECT * FROM r", "1 10 100 1000", "f=3"),
        ("WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + f(1) FROM r WHERE i < 30) SELECT * FROM r", "1 11 21 31", "f=1"),
    ])
    .await;
}

#[tokio::test]
async fn where_and_having() {
    check_all(&[
        ("SELECT x FROM t WHERE f(x) > 10", "2 3", "f=3"),
        ("SELECT x FROM t WHERE f(g(x)) > 1000", "2 3", "f=3 g=3"),
        ("SELECT x FROM t WHERE f(x) > 10 AND g(x) < 300", "2", "f=3 g=2"),
        ("SELECT x FROM t WHERE f(x) > 10 OR g(y) = 200", "1 2 3", "f=3 g=1"),
        ("SELECT x FROM t WHERE f(x) BETWEEN 10 AND 20", "1 2", "f=3"),
        ("SELECT x FROM t WHERE f(x) IN (10, 30)", "1 3", "f=3"),
        ("SELECT x FROM t WHERE NOT f(x) = 10", "2 3", "f=3"),
        ("SELECT x FROM n WHERE f(x) IS NULL", "-", "f=2"),
        ("SELECT y, count(*) FROM t GROUP BY y HAVING f(y) > 20", "3|1 4|1", "f=3"),
        ("SELECT count(*) FROM t HAVING f(count(*)) > 20", "3", "f=1"),
        ("SELECT * FROM (SELECT x, f(x) AS d FROM t) WHERE d > 10", "2|20 3|30", "f=3"),
        ("SELECT f(x) FROM t WHERE f(x) > 10", "20 30", "f=3"),
    ])
    .await;
}

#[tokio::test]
async fn subqueries_in_expressions() {
    check_all(&[
        ("SELECT x FROM t WHERE f(x) IN (SELECT y * 5 FROM t)", "1 2", "f=3"),
        ("SELECT x FROM t WHERE x IN (SELECT f(x) / 10 FROM t WHERE f(x) > 10)", "2 3", "f=3"),
        ("SELECT x FROM t WHERE x NOT IN (SELECT f(x) / 10 FROM t WHERE f(x) > 10)", "1", "f=3"),
        ("SELECT x FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE f(u.x) = t.y * 10)", "1 2", "f=3"),
        ("SELECT x FROM t WHERE NOT EXISTS (SELECT 1 FROM t u WHERE f(u.x) = t.y * 10)", "3", "f=3"),
        ("SELECT x FROM t WHERE f(x) = (SELECT max(f(x)) FROM t)", "3", "f=6"),
        ("SELECT x, (SELECT max(f(u.y)) FROM t u WHERE u.x = t.x) FROM t", "1|20 2|30 3|40", "f=3"),
        ("SELECT x, f((SELECT max(y) FROM t)) FROM t", "1|40 2|40 3|40", "f=1"),
        (
            "SELECT a.x, d FROM t a, LATERAL (SELECT f(b.y) AS d FROM t b WHERE b.x = a.x) s",
            "1|20 2|30 3|40",
            "f=3",
        ),
        (
            "SELECT a.x, d FROM t a, LATERAL (SELECT b.y AS d FROM t b WHERE f(b.x) = f(a.x)) s",
            "1|2 2|3 3|4",
            "f=6",
        ),
        ("SELECT x FROM t WHERE x < (SELECT f(1)) ", "1 2 3", "f=1"),
    ])
    .await;
}

#[tokio::test]
async fn group_by_and_aggregates() {
    check_all(&[
        ("SELECT f(x), count(*) FROM t GROUP BY f(x)", "10|1 20|1 30|1", "f=3"),
        ("SELECT count(*) FROM t GROUP BY f(x), g(x)", "1 1 1", "f=3 g=3"),
        (
            "SELECT f(x), y, count(*) FROM t GROUP BY GROUPING SETS ((f(x)), (y), ())",
            "-|-|3 -|2|1 -|3|1 -|4|1 10|-|1 20|-|1 30|-|1",
            "f=3",
        ),
        (
            "SELECT f(x), y, count(*) FROM t GROUP BY ROLLUP (f(x), y)",
            "-|-|3 10|-|1 10|2|1 20|-|1 20|3|1 30|-|1 30|4|1",
            "f=3",
        ),
        ("SELECT f(x), grouping(f(x)) FROM t GROUP BY CUBE (f(x))", "-|1 10|0 20|0 30|0", "f=3"),
        ("SELECT sum(f(x)) AS a, sum(g(y)) AS b FROM t", "60|900", "f=3 g=3"),
        ("SELECT sum(f(x)), avg(f(x)), count(DISTINCT f(x)) FROM t", "60|20.0|3", "f=3"),
        ("SELECT sum(x) FILTER (WHERE f(x) > 10) FROM t", "5", "f=3"),
        (
            "SELECT sum(f(x)) FILTER (WHERE x > 1), sum(g(x)) FILTER (WHERE f(x) > 20) FROM t",
            "50|300",
            "f=3 g=1",
        ),
        ("SELECT array_agg(x ORDER BY f(x) DESC) FROM t", "[3, 2, 1]", "f=3"),
        (
            "SELECT array_agg(f(x) ORDER BY g(x) DESC), first_value(x ORDER BY f(y)) FROM t",
            "[30, 20, 10]|1",
            "f=6 g=3",
        ),
        ("SELECT sum(f(g(x))) FROM t GROUP BY f(g(y)) % 2000", "2000 4000", "f=6 g=6"),
        ("SELECT f(sum(x)) FROM t", "60", "f=1"),
        (
            "SELECT f(x) + 1, sum(g(x)) FROM t GROUP BY f(x) + 1 HAVING sum(g(x)) > 100",
            "21|200 31|300",
            "f=3 g=3",
        ),
        ("SELECT count(*) FROM t GROUP BY f(1)", "3", "f=1"),
        ("SELECT sum(f(1)) FROM t", "30", "f=1"),
    ])
    .await;
}

#[tokio::test]
async fn order_by_and_distinct_on() {
    check_all(&[
        ("SELECT x FROM t ORDER BY f(x) DESC", "3 2 1", "f=3"),
        ("SELECT x FROM t ORDER BY f(x) DESC LIMIT 2", "3 2", "f=3"),
        ("SELECT x FROM t ORDER BY f(g(x)) DESC LIMIT 1 OFFSET 1", "2", "f=3 g=3"),
        ("SELECT x, f(x) FROM t ORDER BY f(x) DESC, g(y)", "3|30 2|20 1|10", "f=3 g=3"),
        ("SELECT x, f(x) AS d FROM t ORDER BY d DESC LIMIT 1", "3|30", "f=3"),
        ("SELECT f(x) FROM t WHERE f(x) > 10 ORDER BY f(x)", "20 30", "f=3"),
        ("SELECT DISTINCT ON (f(x)) f(x), y FROM t ORDER BY f(x), y", "10|2 20|3 30|4", "f=3"),
        ("SELECT DISTINCT ON (f(x) % 20) x FROM t ORDER BY f(x) % 20, g(x) DESC", "2 3", "f=3 g=3"),
        ("SELECT x FROM t UNION ALL SELECT y FROM t ORDER BY f(x) LIMIT 3", "1 2 2", "f=6"),
    ])
    .await;
}

#[tokio::test]
async fn windows() {
    check_all(&[
        ("SELECT sum(f(x)) OVER () FROM t", "60 60 60", "f=3"),
        ("SELECT x, row_number() OVER (ORDER BY f(x) DESC) FROM t /* unordered */", "1|3 2|2 3|1", "f=3"),
        ("SELECT x, row_number() OVER (PARTITION BY f(x) % 20 ORDER BY g(x)) FROM t /* unordered */", "1|1 2|1 3|2", "f=3 g=3"),
        ("SELECT x, lag(f(x)) OVER (ORDER BY x), sum(g(x)) OVER (ORDER BY f(x) ROWS 1 PRECEDING) FROM t /* unordered */", "1|-|100 2|10|300 3|20|500", "f=3 g=3"),
        ("SELECT x FROM t QUALIFY row_number() OVER (ORDER BY f(x) DESC) = 1 /* unordered */", "3", "f=3"),
        ("SELECT f(sum(x) OVER ()) FROM t", "60 60 60", "f=3"),
    ])
    .await;
}
