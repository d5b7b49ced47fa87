//! Random queries give the same rows with async functions and our rules as with synchronous functions and none.

use datafusion::error::DataFusionError;

use super::Session;

/// A linear congruential generator: the queries are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// An integer expression over `columns`.
    fn value(&mut self, columns: &[&str], depth: u64) -> String {
        if depth == 0 {
            return if self.below(6) == 0 {
                self.below(4).to_string()
            } else {
                self.pick(columns).to_owned()
            };
        }
        let inner = |random: &mut Self| random.value(columns, depth - 1);
        match self.below(12) {
            0..=2 => format!("f({})", inner(self)),
            3 | 4 => format!("g({})", inner(self)),
            5 => format!("pic({})", inner(self)),
            6 => format!("({} + {})", inner(self), inner(self)),
            7 => format!("coalesce({}, {})", inner(self), inner(self)),
            8 => format!("dist({}, {})", inner(self), inner(self)),
            9 => {
                let (condition, then, otherwise) =
                    (self.condition(columns, depth - 1), inner(self), inner(self));
                format!("CASE WHEN {condition} THEN {then} ELSE {otherwise} END")
            }
            _ => inner(self),
        }
    }

    fn condition(&mut self, columns: &[&str], depth: u64) -> String {
        let values = |random: &mut Self| (random.value(columns, depth), random.value(columns, depth));
        if depth > 0 && self.below(2) == 0 {
            let op = self.pick(&["AND", "AND", "OR"]);
            return format!(
                "({} {op} {})",
                self.condition(columns, depth - 1),
                self.condition(columns, depth - 1)
            );
        }
        let (left, right) = values(self);
        match self.below(6) {
            0 => format!("{left} IS NOT NULL"),
            1 => format!("NOT ({left} > {right})"),
            2 => format!("{left} IN ({right}, 20)"),
            _ => format!("{left} {} {right}", self.pick(&["<", ">", "<=", "<>", "="])),
        }
    }

    /// A `FROM` clause and the columns that it gives. The sides of a join name their columns differently, because
    /// DataFusion's pushdown of filters through a hash join confuses columns of one name.
    fn source(&mut self, depth: u64) -> (String, Vec<&'static str>) {
        match self.below(6) {
            0 | 1 => (format!("{} a", self.pick(&["t", "n"])), vec!["a.x", "a.y"]),
            2 if depth > 0 => (format!("({}) a", self.select(depth - 1)), vec!["a.p", "a.q"]),
            _ => {
                let join = self.pick(&[
                    "JOIN",
                    "JOIN",
                    "LEFT JOIN",
                    "RIGHT JOIN",
                    "FULL JOIN",
                    "LEFT SEMI JOIN",
                    "LEFT ANTI JOIN",
                ]);
                let (left, right) = (self.pick(&["t", "n"]), self.pick(&["t", "n"]));
                let columns: &[&str] =
                    if join == "JOIN" { &["a.x", "a.y", "b.u", "b.v"] } else { &["b.u", "b.v"] };
                let (key, other) = (self.value(&["a.x", "a.y"], 1), self.value(&["b.u", "b.v"], 1));
                let (op, more) = (self.pick(&["=", "=", "<"]), self.condition(columns, 1));
                let visible = if join.starts_with("LEFT ") && join != "LEFT JOIN" {
                    vec!["a.x", "a.y"]
                } else {
                    vec!["a.x", "b.v", "b.u"]
                };
                (
                    format!(
                        "{left} a {join} (SELECT x AS u, y AS v FROM {right}) b ON {key} {op} {other} AND {more}"
                    ),
                    visible,
                )
            }
        }
    }

    /// A query with the columns `p` and `q`.
    fn select(&mut self, depth: u64) -> String {
        let (source, columns) = self.source(depth);
        let filter = match self.below(3) {
            0 => String::new(),
            _ => format!(" WHERE {}", self.condition(&columns, 2)),
        };
        let (p, q) = (self.value(&columns, 2), self.value(&columns, 2));
        match self.below(6) {
            0 => {
                let aggregate = self.pick(&["sum", "max", "count", "min"]);
                let condition = self.condition(&columns, 1);
                let having = self.condition(&["count(*)", "sum(1)"], 1);
                format!(
                    "SELECT {p} AS p, {aggregate}({q}) FILTER (WHERE {condition}) AS q FROM {source}{filter} \
                     GROUP BY {p} HAVING {having}"
                )
            }
            1 => format!("SELECT {p} AS p, sum({q}) OVER (PARTITION BY {p}) AS q FROM {source}{filter}"),
            2 => format!("SELECT DISTINCT {p} AS p, {q} AS q FROM {source}{filter}"),
            3 => {
                let limit = 1 + self.below(3);
                format!("SELECT {p} AS p, {q} AS q FROM {source}{filter} ORDER BY {p}, {q} LIMIT {limit}")
            }
            4 => format!(
                "SELECT {p} AS p, {q} AS q FROM {source}{filter} UNION ALL SELECT x AS p, {} AS q FROM n",
                self.value(&["x", "y"], 2)
            ),
            _ => format!("SELECT {p} AS p, {q} AS q FROM {source}{filter}"),
        }
    }
}

/// `RANDOM_QUERIES=5000 cargo test random_queries` compares more of them.
#[tokio::test]
async fn random_queries() {
    let count: u64 = std::env::var("RANDOM_QUERIES").map_or(100, |count| count.parse().unwrap());
    let mut compared = 0;
    for seed in 0..count {
        let sql = format!("{} /* unordered */", Random(seed).select(2));
        let partitions = if seed % 2 == 0 { 1 } else { 4 };
        let expected = Session::reference(partitions).run(&sql).await;
        let found = Session::new(partitions).run(&sql).await;
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found, expected, "seed {seed}: {sql}");
                compared += 1;
            }
            (Err(found), Ok(_)) => assert!(is_ours(&found), "seed {seed}: {sql}\n{found}"),
            // the query itself is wrong, or DataFusion cannot do it
            (_, Err(_)) => {}
        }
    }
    assert!(compared * 10 > count * 7, "only {compared} of {count} queries were comparable");
}

/// Whether the error is one that a query may get from the planner rules.
fn is_ours(error: &DataFusionError) -> bool {
    let text = error.find_root().to_string();
    text.starts_with("Error during planning")
        && (text.contains("over both sides") || text.contains("around it"))
}
