//! Async calls in joins of every type.

use super::check_all;

#[tokio::test]
async fn inner() {
    check_all(&[
        ("SELECT a.x, b.x FROM t a JOIN t b ON f(a.x) = f(b.x)", "1|1 2|2 3|3", "f=6"),
        ("SELECT a.x, b.x FROM t a JOIN t b ON f(a.x) < f(b.x)", "1|2 1|3 2|3", "f=6"),
        ("SELECT a.x, b.x FROM t a JOIN t b ON a.x = b.y AND f(a.x + b.x) > 20", "2|1 3|2", "f=2"),
        ("SELECT a.x, b.x FROM t a JOIN t b ON f(a.x + b.x) > 40", "2|3 3|2 3|3", "f=9"),
        ("SELECT a.x, b.x FROM t a JOIN t b ON f(g(a.x) + b.x) > 2000 AND a.x < b.x", "2|3", "f=3 g=3"),
    ])
    .await;
}

#[tokio::test]
async fn outer_semi_and_anti() {
    check_all(&[
        ("SELECT a.x, b.x FROM t a LEFT JOIN t b ON f(a.x) = f(b.y)", "1|- 2|1 3|2", "f=6"),
        ("SELECT a.x, b.x FROM t a LEFT JOIN t b ON f(a.x) > f(b.y)", "1|- 2|- 3|1", "f=6"),
        ("SELECT a.x, b.x FROM t a LEFT JOIN t b ON a.x = b.x AND f(a.x) > 10", "1|- 2|2 3|3", "f=3"),
        ("SELECT a.x, b.x FROM t a LEFT JOIN t b ON a.x = b.x AND f(b.x) > 10", "1|- 2|2 3|3", "f=3"),
        ("SELECT a.x, b.x FROM t a RIGHT JOIN t b ON f(a.x) > f(b.y)", "-|2 -|3 3|1", "f=6"),
        ("SELECT a.x, b.x FROM t a FULL JOIN t b ON f(a.x) = f(b.y)", "-|3 1|- 2|1 3|2", "f=6"),
        (
            "SELECT a.x, b.x FROM t a FULL JOIN t b ON a.x = b.y AND f(a.x) > g(b.x)",
            "-|1 -|2 -|3 1|- 2|- 3|-",
            "f=3 g=3",
        ),
        ("SELECT a.x FROM t a LEFT SEMI JOIN t b ON f(a.x) = f(b.y)", "2 3", "f=6"),
        ("SELECT a.x FROM t a LEFT ANTI JOIN t b ON f(a.x) = f(b.y)", "1", "f=6"),
        ("SELECT b.x FROM t a RIGHT SEMI JOIN t b ON f(a.x) > f(b.y)", "1", "f=6"),
        ("SELECT b.x FROM t a RIGHT ANTI JOIN t b ON f(a.x) > f(b.y)", "2 3", "f=6"),
        (
            "SELECT f(a.x), g(b.x) FROM t a CROSS JOIN t b WHERE f(a.x) = 10",
            "10|100 10|200 10|300",
            "f=3 g=3",
        ),
        ("SELECT f(a.x), b.x FROM t a LEFT JOIN t b ON a.x = b.y WHERE f(b.x) IS NULL", "10|-", "f=3"),
        (
            "SELECT * FROM (SELECT f(a.x + b.x) AS d FROM t a JOIN t b ON a.x <> b.y) WHERE d > 30",
            "40 40 40 50 60",
            "f=7",
        ),
        ("SELECT x, a.y, b.y FROM t a JOIN t b USING (x) WHERE f(a.x) > 10", "2|3|3 3|4|4", "f=3"),
        ("SELECT a.x, b.x FROM t a JOIN t b ON a.x = 1 OR f(b.x) = 20", "1|1 1|2 1|3 2|2 3|2", "f=3"),
    ])
    .await;
}

#[tokio::test]
async fn joins_on_the_side_of_the_call() {
    check_all(&[
        ("SELECT count(*) FROM t a JOIN big b ON f(a.x) < b.x", "59937", "f=3"),
        ("SELECT count(*) FROM t a JOIN big b ON f(a.x) = b.x", "3", "f=3"),
        ("SELECT count(*) FROM t a LEFT JOIN big b ON f(a.x) < b.x", "59937", "f=3"),
        ("SELECT count(*) FROM t a JOIN big b ON a.x = b.x WHERE f(a.x + b.x) > 20", "2", "f=3"),
        ("SELECT count(*) FROM t a JOIN big b ON a.x = b.x AND f(a.x + b.x) > 20", "2", "f=3"),
        ("SELECT count(*) FROM t a JOIN big b ON a.x = b.x WHERE f(a.x) > 10", "2", "f=3"),
        ("SELECT count(*) FROM big a JOIN t b ON a.x = b.x WHERE f(a.x) > 10", "2", "f=20000"),
        (
            "SELECT count(*) FROM t a JOIN (SELECT x AS k, y FROM big) b ON a.x = b.k AND f(a.x) > g(b.y)",
            "0",
            "f=3 g=20000",
        ),
        (
            "SELECT count(*) FROM t a JOIN big b ON a.x = b.x JOIN big c ON c.x = b.x WHERE f(a.x) > 10",
            "2",
            "f=3",
        ),
        ("SELECT count(*) FROM t a CROSS JOIN big b WHERE dist(f(a.x), b.x) = 10", "20000", "f=3"),
    ])
    .await;
}
