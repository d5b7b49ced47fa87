//! Cross joins of vectors, of whose pairs only the nearest are wanted: the same answers, with and without
//! `semantic.nearest_join`.
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion_semantic::session;

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

async fn run(ctx: &SessionContext, sql: &str) -> String {
    let batches = session::sql(ctx, sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// The columns of vectors of [`tables`], each of another type.
const TYPES: [(&str, &str); 5] = [
    ("v", "FixedSizeList(5, Float32)"),
    ("doubles", "List(Float64)"),
    ("halves", "FixedSizeList(5, Float16)"),
    ("large", "LargeList(Float32)"),
    ("fixed", "FixedSizeList(5, Float64)"),
];

/// Tables `queries (q, kind, v, ...)` and `documents (d, kind, v, ...)` of vectors of 5 dimensions: with NULLs, equal
/// vectors, a zero vector and infinities among them.
async fn tables(partitions: usize) -> SessionContext {
    let ctx = session::new().unwrap();
    let vector = "CASE WHEN i % 17 = 5 THEN NULL WHEN i % 50 = 7 THEN [0, 0, 0, 0, 0] ELSE \
                  [sin(i % 90), cos(i % 90 * 3), sin(i % 90 * 7), i % 90 / 100.0, CASE WHEN i = 33 THEN 1e300 ELSE 0.5 END] END";
    run(&ctx, &format!("SET datafusion.execution.target_partitions = {partitions}")).await;
    run(&ctx, "SET datafusion.execution.batch_size = 100").await;
    let vectors = TYPES.map(|(name, data_type)| format!("arrow_cast({vector}, '{data_type}') AS {name}"));
    for (table, key, rows) in [("queries", "q", 20), ("documents", "d", 120)] {
        let sql = format!(
            "CREATE TABLE {table} AS SELECT i AS {key}, i % 3 AS kind, {} FROM generate_series(1, {rows}) AS t(i)",
            vectors.join(", ")
        );
        run(&ctx, &sql).await;
    }
    ctx
}

fn statement(random: &mut Random) -> String {
    let (function, order, near) = match random.below(6) {
        0 => ("cosine_distance", "ASC", "< 0.1"),
        1 => ("cosine_similarity", "DESC", ">= 0.9"),
        2 => ("inner_product", "DESC", "> 1"),
        3 => ("l2_distance", "ASC", "<= 0.5"),
        4 => ("array_distance", "ASC", "< 0.7"),
        _ => ("l1_distance", "ASC", "< 1"),
    };
    let mut vector = |table| format!("{table}.{}", TYPES[random.below(TYPES.len())].0);
    let (of_query, of_document) = (vector("queries"), vector("documents"));
    let distance = match random.below(2) {
        0 => format!("{function}({of_query}, {of_document})"),
        _ => format!("{function}({of_document}, {of_query})"),
    };
    let nulls = random.pick(&["", " NULLS FIRST", " NULLS LAST"]);
    let k = random.below(12);
    let joined = random.pick(&["queries CROSS JOIN documents", "documents, queries"]);
    let near = format!(" WHERE {distance} {near}");
    let near_and_more = format!("{near} AND q < d");
    let filter = random.pick(&[
        "",
        " WHERE d % 2 = 0",
        " WHERE queries.kind = 1 AND d > 20",
        " WHERE q + d > 40",
        " WHERE queries.kind <> documents.kind",
        &near,
        &near_and_more,
    ]);
    match random.below(12) {
        0 => format!(
            "SELECT q, d, {distance} AS distance FROM {joined}{filter} ORDER BY distance {order}{nulls}, q, d LIMIT {k}"
        ),
        1 => format!(
            "SELECT q, d FROM {joined}{filter} ORDER BY {distance} {order}{nulls}, d DESC, q LIMIT {k} OFFSET {}",
            random.below(5)
        ),
        2 => format!(
            "SELECT q, d, n FROM (SELECT q, d, ROW_NUMBER() OVER (PARTITION BY q ORDER BY {distance} {order}{nulls}, d) AS n \
             FROM {joined}{filter}) WHERE n {} {k} ORDER BY q, n",
            random.pick(&["<=", "<", "="])
        ),
        3 => format!(
            "SELECT queries.kind, d FROM {joined}{filter} \
             QUALIFY ROW_NUMBER() OVER (PARTITION BY queries.kind ORDER BY {distance} {order}{nulls}, d, q) <= {k} \
             ORDER BY 1, 2"
        ),
        4 => format!(
            "SELECT q, d FROM {joined}{filter} \
             QUALIFY ROW_NUMBER() OVER (PARTITION BY d ORDER BY {distance} {order}{nulls}, q) <= {k} ORDER BY d, q"
        ),
        5 => format!(
            "SELECT DISTINCT ON (q) q, d FROM {joined}{filter} ORDER BY q, {distance} {order}{nulls}, d"
        ),
        6 => format!("SELECT d, min({distance}) FROM {joined}{filter} GROUP BY d ORDER BY d"),
        7 => format!("SELECT q, d, {distance} FROM {joined}{near} ORDER BY q, d"),
        8 | 9 => {
            let query = format!("(SELECT {of_query} FROM queries WHERE q = {})", 1 + random.below(20));
            let filter = random.pick(&["", " WHERE d % 2 = 0", " WHERE kind = 1 AND d > 20", &near]);
            format!(
                "SELECT d, {distance} AS distance FROM documents{filter} ORDER BY distance {order}{nulls}, d \
                 LIMIT {k} OFFSET {}",
                random.below(3)
            )
            .replace(&of_query, &query)
        }
        10 => format!(
            "SELECT q, n.d FROM queries CROSS JOIN LATERAL \
             (SELECT d FROM documents{filter} ORDER BY {distance} {order}{nulls}, d LIMIT {k}) AS n ORDER BY q, d"
        ),
        _ => format!(
            "SELECT q, d FROM queries LEFT JOIN LATERAL \
             (SELECT d FROM documents{filter} ORDER BY {distance} {order}{nulls}, d LIMIT {}) ON true ORDER BY q, d",
            k + 1
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_statements_have_the_same_rows_in_the_same_order() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut pruned = 0;
    for partitions in [1, 4] {
        let ctx = tables(partitions).await;
        for _ in 0..100 {
            let sql = statement(&mut random);
            run(&ctx, "SET semantic.nearest_join = true").await;
            let plan = session::sql(&ctx, &sql).await.unwrap().create_physical_plan().await.unwrap();
            pruned +=
                usize::from(displayable(plan.as_ref()).indent(false).to_string().contains("NearestJoinExec"));
            let found = run(&ctx, &sql).await;
            run(&ctx, "SET semantic.nearest_join = false").await;
            assert_eq!(found, run(&ctx, &sql).await, "{partitions} partitions: {sql}");
        }
    }
    assert!(pruned > 100, "{pruned} of 200 statements have the operator");
}

#[tokio::test]
async fn explain_shows_the_join_and_what_it_left_out() {
    let ctx = tables(1).await;
    let sql = "SELECT q, d FROM queries CROSS JOIN documents \
               QUALIFY ROW_NUMBER() OVER (PARTITION BY q ORDER BY l2_distance(queries.v, documents.v)) <= 3";
    let plan = run(&ctx, &format!("EXPLAIN {sql}")).await;
    assert!(
        plan.contains(
            "NearestJoinExec: k=3 of each left row, metric=L2Distance, vectors=[v@1, v@1], block=128x256"
        ),
        "{plan}"
    );
    let plan = run(&ctx, &format!("EXPLAIN ANALYZE {sql}")).await;
    assert!(plan.contains("pruned_pairs="), "{plan}");
    run(&ctx, "SET semantic.nearest_join = false").await;
    let plan = run(&ctx, &format!("EXPLAIN {sql}")).await;
    assert!(plan.contains("CrossJoinExec") && !plan.contains("NearestJoinExec"), "{plan}");
}

/// What the statements of a search have in common is the operator.
#[tokio::test]
async fn every_way_to_ask_for_the_nearest_has_the_operator() {
    let ctx = tables(1).await;
    let distance = "l2_distance(queries.v, documents.v)";
    let constant = "l2_distance(v, (SELECT v FROM queries WHERE q = 1))";
    for sql in [
        format!("SELECT d FROM documents WHERE kind = 1 ORDER BY {constant} LIMIT 3 OFFSET 1"),
        format!(
            "SELECT upper(concat('x', d)), {constant} AS distance FROM documents ORDER BY distance LIMIT 3"
        ),
        "SELECT d FROM documents ORDER BY l2_distance(v, [1, 2, 3, 4, 5]) LIMIT 3".to_owned(),
        "SELECT d FROM documents ORDER BY cosine_similarity([1, 2, 3, 4, 5], v) DESC LIMIT 3".to_owned(),
        format!("SELECT q, d FROM queries CROSS JOIN documents ORDER BY {distance} LIMIT 3"),
        format!("SELECT q, d FROM queries, documents WHERE q + d > 9 ORDER BY {distance} LIMIT 3"),
        format!("SELECT q, d FROM queries JOIN documents ON {distance} < 0.3 AND q < d"),
        format!(
            "SELECT q, n.d FROM queries, LATERAL (SELECT d FROM documents ORDER BY {distance} LIMIT 3) AS n"
        ),
        format!("SELECT d, min({distance}) FROM queries CROSS JOIN documents GROUP BY d"),
        format!("SELECT DISTINCT ON (q) q, d FROM queries, documents ORDER BY q, {distance}"),
    ] {
        let plan = run(&ctx, &format!("EXPLAIN {sql}")).await;
        assert!(plan.contains("NearestJoinExec"), "{sql}\n{plan}");
        let rows = run(&ctx, &sql).await;
        run(&ctx, "SET semantic.nearest_join = false").await;
        assert_eq!(rows.lines().count(), run(&ctx, &sql).await.lines().count(), "{sql}");
        run(&ctx, "SET semantic.nearest_join = true").await;
    }
}

/// A function of the user's own is not taken for ours by its name.
#[tokio::test]
async fn another_function_of_the_name_is_another_function() {
    let ctx = tables(1).await;
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let vector = DataType::FixedSizeList(item, 5);
    let body = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::from(0.5_f64)));
    let types = vec![vector.clone(), vector];
    ctx.register_udf(create_udf(
        "l2_distance",
        types,
        DataType::Float64,
        Volatility::Immutable,
        Arc::new(body),
    ));
    let sql =
        "SELECT q, d FROM queries CROSS JOIN documents ORDER BY l2_distance(queries.v, documents.v) LIMIT 3";
    let plan = run(&ctx, &format!("EXPLAIN {sql}")).await;
    assert!(!plan.contains("NearestJoinExec"), "{plan}");
}

/// What else a query computes of all pairs needs all pairs.
#[tokio::test]
async fn other_queries_keep_all_pairs() {
    let ctx = tables(1).await;
    let distance = "l2_distance(queries.v, documents.v)";
    for sql in [
        format!("SELECT q, min({distance}), count(*) FROM queries CROSS JOIN documents GROUP BY q"),
        format!("SELECT d, q, min({distance}) FROM queries CROSS JOIN documents GROUP BY d, q"),
        format!("SELECT q, max({distance}) FROM queries CROSS JOIN documents GROUP BY q"),
        format!("SELECT q, d FROM queries CROSS JOIN documents ORDER BY {distance}"),
        format!("SELECT q, d FROM queries CROSS JOIN documents ORDER BY {distance} DESC LIMIT 3"),
        format!("SELECT q, d FROM queries CROSS JOIN documents ORDER BY round({distance}) LIMIT 3"),
        format!("SELECT q, d FROM queries JOIN documents USING (kind) ORDER BY {distance} LIMIT 3"),
        format!("SELECT q, d FROM queries CROSS JOIN documents WHERE {distance} > 3"),
        format!(
            "SELECT q, d FROM (SELECT q, d, {distance} AS x, floor(random() * 2) AS g FROM queries CROSS JOIN documents) \
             QUALIFY row_number() OVER (PARTITION BY g ORDER BY x) <= 3"
        ),
        format!("SELECT floor(random() * 2), min({distance}) FROM queries CROSS JOIN documents GROUP BY 1"),
        format!(
            "SELECT q, d, count(*) OVER () FROM queries CROSS JOIN documents \
             QUALIFY ROW_NUMBER() OVER (PARTITION BY q ORDER BY {distance}) <= 3"
        ),
        format!(
            "SELECT q, d FROM queries CROSS JOIN documents \
             QUALIFY ROW_NUMBER() OVER (PARTITION BY d + q ORDER BY {distance}) <= 3"
        ),
    ] {
        let plan = run(&ctx, &format!("EXPLAIN {sql}")).await;
        assert!(!plan.contains("NearestJoinExec"), "{sql}\n{plan}");
    }
}

/// The vectors of few rows are held in memory, whichever side they are on.
#[tokio::test]
async fn the_side_with_fewer_rows_is_held() {
    let ctx = tables(1).await;
    let mut pruned = vec![];
    for from in ["queries CROSS JOIN documents", "documents CROSS JOIN queries"] {
        let sql = format!("SELECT q, d FROM {from} ORDER BY l2_distance(queries.v, documents.v) LIMIT 3");
        let plan = run(&ctx, &format!("EXPLAIN ANALYZE {sql}")).await;
        let found = plan.split("pruned_pairs=").nth(1).and_then(|found| found.split(']').next());
        pruned.push(found.unwrap_or_else(|| panic!("{plan}")).to_owned());
    }
    // of 2,400; if 120 documents were held, three of the queries would be kept for each
    assert_eq!(pruned, ["2.36 K", "2.36 K"]);
    let partitioned = "SELECT q, d FROM documents CROSS JOIN queries \
                       QUALIFY ROW_NUMBER() OVER (PARTITION BY q ORDER BY l2_distance(queries.v, documents.v)) <= 3";
    let plan = run(&ctx, &format!("EXPLAIN {partitioned}")).await;
    assert!(plan.contains("NearestJoinExec"), "{plan}");
}
