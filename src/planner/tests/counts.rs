//! How many rows a call is made for, over the table of 20,000 rows.

use super::check_all;

#[tokio::test]
async fn cheap_predicates_first() {
    check_all(&[
        ("SELECT x FROM big WHERE x < 3 AND f(x) >= 0", "0 1 2", "f=3"),
        ("SELECT x FROM big WHERE f(x) >= 0 AND x < 3", "0 1 2", "f=3"),
        ("SELECT x FROM big WHERE f(x) >= 0 AND f(x) < 30 AND x < 3", "0 1 2", "f=3"),
        ("SELECT x FROM (SELECT * FROM big WHERE x < 3) WHERE f(x) > 10", "2", "f=3"),
        ("SELECT * FROM (SELECT x, f(x) AS d FROM big) s WHERE d > 10 AND x < 3", "2|20", "f=3"),
        ("SELECT x FROM big WHERE f(x) < 50 AND g(x) >= 300", "3 4", "f=20000 g=5"),
        ("SELECT x FROM big WHERE x > 3 OR f(x) > 20 EXCEPT SELECT x FROM big WHERE x > 5", "3 4 5", "f=4"),
        ("SELECT count(*) FROM big WHERE false AND f(x) > 1", "0", ""),
    ])
    .await;
}

#[tokio::test]
async fn limits_first() {
    check_all(&[
        ("SELECT f(x) > 0 FROM big LIMIT 2", "false true", "f=2"),
        ("SELECT x, f(x) FROM big ORDER BY x LIMIT 2", "0|0 1|10", "f=2"),
        ("SELECT x, f(x) FROM big ORDER BY x DESC LIMIT 2 OFFSET 3", "19996|199960 19995|199950", "f=2"),
        ("SELECT * FROM (SELECT x, f(x) AS d FROM big) s ORDER BY x LIMIT 2", "0|0 1|10", "f=2"),
        ("SELECT x, f(g(x)) FROM big ORDER BY y, x LIMIT 2", "0|0 10|10000", "f=2 g=2"),
        ("SELECT x, f(x) FROM big WHERE x < 100 ORDER BY g(x) DESC LIMIT 2", "99|990 98|980", "f=2 g=100"),
        ("SELECT x, f(x) FROM big WHERE x < 100 ORDER BY f(x) DESC LIMIT 2", "99|990 98|980", "f=100"),
        ("SELECT x, f(x) FROM big WHERE x < 100 ORDER BY y, f(x) DESC LIMIT 2", "90|900 80|800", "f=100"),
        ("SELECT x, f(x) FROM big WHERE g(x) < 1000 ORDER BY x DESC LIMIT 2", "9|90 8|80", "f=2 g=20000"),
    ])
    .await;
}

#[tokio::test]
async fn the_same_call_once() {
    check_all(&[
        ("SELECT f(x), f(x) + 1 FROM big WHERE x < 3", "0|1 10|11 20|21", "f=3"),
        ("SELECT f(x) FROM big WHERE f(x) > 199970", "199980 199990", "f=20000"),
        (
            "SELECT * FROM (SELECT x, f(x) AS d FROM big) WHERE d > 199970",
            "19998|199980 19999|199990",
            "f=20000",
        ),
        (
            "SELECT x, f(x) FROM big WHERE f(x) > 199970 ORDER BY f(x) DESC LIMIT 2",
            "19999|199990 19998|199980",
            "f=20000",
        ),
        (
            "SELECT x, f(x) + 1 FROM big WHERE f(x) > 199970 ORDER BY f(x) + 2",
            "19998|199981 19999|199991",
            "f=20000",
        ),
        ("SELECT f(x) FROM big WHERE f(x) > 199970 AND f(x) < 199990", "199980", "f=20000"),
        ("SELECT y, max(f(x)) FROM big WHERE f(x) > 199970 GROUP BY y", "8|199980 9|199990", "f=20000"),
        ("SELECT f(a.x) FROM t a JOIN big b ON a.x = b.y AND f(a.x) = 20 AND b.x < 20", "20 20", "f=3"),
        ("SELECT count(*) FROM (SELECT x, f(x) FROM big)", "20000", ""),
        ("SELECT x FROM (SELECT x, f(x) FROM big) WHERE x = 7", "7", ""),
    ])
    .await;
}

#[tokio::test]
async fn only_where_the_branch_is_taken() {
    check_all(&[
        ("SELECT sum(CASE WHEN x < 3 THEN f(x) ELSE 0 END) FROM big", "30", "f=3"),
        ("SELECT sum(CASE y WHEN 0 THEN 1 WHEN 1 THEN f(x) ELSE 0 END) FROM big", "199922000", "f=2000"),
        ("SELECT sum(coalesce(nullif(y, 0), f(x))) FROM big", "199990000", "f=2000"),
        ("SELECT sum(f(x)) FILTER (WHERE y = 0) FROM big", "199900000", "f=2000"),
        ("SELECT count(*) FROM big WHERE x > 10 OR f(x) = 50", "19990", "f=11"),
        ("SELECT count(*) FROM big WHERE CASE WHEN x < 10 THEN f(x) > 50 ELSE false END", "4", "f=10"),
        ("SELECT x FROM big ORDER BY CASE WHEN x < 10 THEN f(x) END DESC NULLS LAST LIMIT 2", "9 8", "f=10"),
    ])
    .await;
}

#[tokio::test]
async fn constants_once() {
    check_all(&[
        ("SELECT sum(f(1)) FROM big", "200000", "f=1"),
        ("SELECT max(x + f(1)), max(x + f(g(2))) FROM big", "20009|21999", "f=2 g=1"),
        ("SELECT x FROM big WHERE x * 10 = f(7)", "7", "f=1"),
        ("SELECT x FROM big WHERE x * 10 = f(7) OR x * 5 = f(7)", "14 7", "f=1"),
        ("SELECT x FROM big WHERE f(x) = f(7) AND x < 100", "7", "f=101"),
        ("SELECT x FROM big ORDER BY dist(f(7), x) LIMIT 1", "0", "f=1"),
        ("SELECT a.x FROM t a JOIN t b ON a.x = b.x AND a.x < f(1) + b.y", "1 2 3", "f=1"),
        ("SELECT a.x FROM big a JOIN big b ON a.x = b.x AND a.x < f(1) + b.y WHERE a.x < 3", "0 1 2", "f=1"),
        (
            "SELECT y, max(x) + f(1) FROM big GROUP BY y HAVING max(x) > f(1999)",
            "1|20001 2|20002 3|20003 4|20004 5|20005 6|20006 7|20007 8|20008 9|20009",
            "f=2",
        ),
        ("SELECT max(x + f((SELECT max(y) FROM t))) FROM big", "20039", "f=1"),
        ("SELECT x FROM t WHERE x < f(1) UNION ALL SELECT x FROM t WHERE x < f(1)", "1 1 2 2 3 3", "f=1"),
        ("SELECT count(*) FROM big WHERE x < (SELECT count(*) FROM big WHERE x < f(2))", "20", "f=1"),
        ("SELECT x FROM t WHERE EXISTS (SELECT 1 FROM big b WHERE b.x = t.x AND b.x < f(1))", "1 2 3", "f=1"),
        ("SELECT sum(f(NULL)) FROM big", "-", ""),
        ("SELECT a.x, b.y FROM t a LEFT JOIN t b ON a.x = b.x AND b.y * 4 < f(1)", "1|2 2|- 3|-", "f=1"),
        (
            "SELECT a.x, b.y FROM t a LEFT JOIN t b ON a.x * b.y < f(1) AND a.y = 2",
            "1|2 1|3 1|4 2|- 3|-",
            "f=1",
        ),
        ("SELECT max(x), count(*) OVER (PARTITION BY f(1)) FROM t GROUP BY x", "1|3 2|3 3|3", "f=1"),
    ])
    .await;
}

/// A call with constant arguments that some rows do not need is not evaluated before the first row.
#[tokio::test]
async fn constants_only_if_needed() {
    check_all(&[
        ("SELECT coalesce(z, arrow_cast(f(1), 'Utf8')) FROM t", "z1 z2 z3", ""),
        ("SELECT coalesce(y, f(1)) FROM n", "10 5 6", "f=1"),
        ("SELECT CASE WHEN x > 100 THEN f(1) END FROM t", "- - -", ""),
        ("SELECT CASE WHEN x > 100 THEN f(g(1)) ELSE 0 END FROM t", "0 0 0", ""),
        ("SELECT CASE WHEN x < 100 THEN 0 ELSE f(1) END FROM t", "0 0 0", ""),
        ("SELECT CASE WHEN x < 100 THEN 0 WHEN f(1) = 10 THEN 1 END FROM t", "0 0 0", ""),
        ("SELECT CASE WHEN f(1) = 10 THEN x END FROM big WHERE x < 2", "0 1", "f=1"),
        ("SELECT CASE WHEN x > 2 THEN f(1) ELSE f(2) END FROM t", "10 20 20", "f=3"),
        ("SELECT CASE WHEN x > 100 THEN f(1) END, f(1) FROM t", "-|10 -|10 -|10", "f=1"),
        ("SELECT x > 100 AND f(1) > 5, x < 100 OR f(1) > 5 FROM t", "false|true false|true false|true", ""),
        ("SELECT f(1) > 5 AND x > 100 FROM t", "false false false", ""),
        ("SELECT nvl(x, f(1)), nvl2(x, x, f(2)) FROM t", "1|1 2|2 3|3", ""),
        ("SELECT sum(f(1)) FILTER (WHERE x > 100) FROM t", "-", ""),
        ("SELECT x FROM t ORDER BY CASE WHEN x > 100 THEN f(1) END, x", "1 2 3", ""),
        ("SELECT x FROM t WHERE x > 100 OR f(1) > 5", "1 2 3", "f=3"),
        ("SELECT count(*) FROM big WHERE x >= 0 OR f(1) > 5", "20000", ""),
        ("SELECT max(x) FROM big WHERE x < 50 AND x > f(4)", "49", "f=1"),
        ("SELECT x, f(x) FROM big WHERE x < 5 AND f(x) > 0 AND x > f(0)", "1|10 2|20 3|30 4|40", "f=5"),
        ("SELECT max(CASE WHEN y = 0 THEN f(1) END) FROM big WHERE x < 20", "10", "f=2"),
        // what every row needs is evaluated first, even if there is no row
        ("SELECT a.x FROM t a JOIN t b ON a.x = b.y WHERE a.x > 100 AND f(1) > b.y", "", "f=1"),
        ("SELECT x FROM (SELECT * FROM t WHERE x > 100) WHERE f(1) > x", "", "f=1"),
        ("SELECT x FROM t WHERE f(1) IS NULL AND x > 100", "", "f=1"),
        ("SELECT x FROM t WHERE x > 100 AND f(1) IS NULL", "", "f=1"),
        ("SELECT f(1) FROM t WHERE x > 100", "", "f=1"),
        ("SELECT CASE WHEN random() > 2 THEN f(1) END FROM t", "- - -", "f=1"),
    ])
    .await;
}

#[tokio::test]
async fn synchronous_twins() {
    check_all(&[
        ("SELECT pic(x) FROM t", "2 4 6", "pic=3"),
        ("SELECT f(pic(pic(g(x)))) FROM t", "12000 4000 8000", "f=3 g=3 pic_sync=6"),
        ("SELECT pic(f(pic(x))) FROM t", "120 40 80", "f=3 pic=3 pic_sync=3"),
        ("SELECT abs(pic(x)), pic(x) + 1 FROM t", "2|3 4|5 6|7", "pic=3"),
        ("SELECT abs(pic(pic(x))) FROM t", "12 4 8", "pic=3 pic_sync=3"),
        // what two calls have in common becomes a column, and columns are made by slices
        ("SELECT f(pic(x)), g(pic(x)) FROM t", "20|200 40|400 60|600", "f=3 g=3 pic=3"),
        (
            "SELECT f(pic(pic(x)) + 1), g(pic(pic(x)) + 1) FROM t",
            "130|1300 50|500 90|900",
            "f=3 g=3 pic=3 pic_sync=3",
        ),
        ("SELECT f(p) FROM (SELECT pic(x) AS p FROM t)", "20 40 60", "f=3 pic_sync=3"),
        (
            "SELECT f(p) FROM (SELECT CASE WHEN x > 1 THEN pic(x) END AS p FROM t)",
            "- 40 60",
            "f=2 pic_sync=2",
        ),
        ("SELECT sum(pic(x)), row_number() OVER (ORDER BY max(pic(x))) FROM t", "12|1", "pic=3"),
        ("SELECT dist(f(x), g(y)) FROM t", "10 20 30", "f=3 g=3"),
        ("SELECT x FROM t WHERE pic(x) > 2 ORDER BY dist(x, 1)", "2 3", "pic=3"),
    ])
    .await;
}
