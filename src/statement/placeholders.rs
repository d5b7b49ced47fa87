//! Numbers the parameters that are written as `?`.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{Expr, Value, VisitMut, visit_expressions_mut};
use datafusion::sql::sqlparser::tokenizer::Location;

/// Gives each `?` the number of its place in the text: DataFusion knows `$1`, `$2` and names only.
pub fn number(statement: &mut Statement) -> Result<()> {
    let (mut places, mut numbered) = (vec![], false);
    each(statement, &mut |name, place| match name.as_str() {
        "?" => places.push(place),
        _ => numbered = true,
    });
    if places.is_empty() {
        return Ok(());
    }
    if numbered {
        return plan_err!("a statement has parameters written as ? or as $1, not both");
    }
    places.sort_unstable();
    each(statement, &mut |name, place| {
        if let Ok(index) = places.binary_search(&place) {
            *name = format!("${}", index + 1);
        }
    });
    Ok(())
}

fn each(statement: &mut Statement, visit: &mut impl FnMut(&mut String, Location)) {
    match statement {
        Statement::Statement(statement) => each_in(statement.as_mut(), visit),
        Statement::Explain(explain) => each(&mut explain.statement, visit),
        Statement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                each_in(query.as_mut(), visit);
            }
        }
        Statement::CreateExternalTable(_) | Statement::Reset(_) => {}
    }
}

fn each_in(node: &mut impl VisitMut, visit: &mut impl FnMut(&mut String, Location)) {
    let _: ControlFlow<()> = visit_expressions_mut(node, |expr| {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &mut value.value
        {
            visit(name, value.span.start);
        }
        ControlFlow::Continue(())
    });
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn numbered(sql: &str) -> Result<String> {
        let mut statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        number(&mut statement)?;
        Ok(statement.to_string())
    }

    #[test]
    fn parameters_are_numbered_in_the_order_of_the_text() {
        for (sql, expected) in [
            (
                "SELECT ?, f(?, a => ?) FROM t WHERE a IN (?, ?) LIMIT ? OFFSET ?",
                "SELECT $1, f($2, a => $3) FROM t WHERE a IN ($4, $5) LIMIT $6 OFFSET $7",
            ),
            (
                "WITH w AS (SELECT ?) SELECT * FROM w, LATERAL (SELECT ?) ORDER BY f(?)",
                "WITH w AS (SELECT $1) SELECT * FROM w, LATERAL (SELECT $2) ORDER BY f($3)",
            ),
            ("INSERT INTO t VALUES (?, ?), (?, ?)", "INSERT INTO t VALUES ($1, $2), ($3, $4)"),
            ("EXPLAIN SELECT ?", "EXPLAIN SELECT $1"),
            ("SELECT $2, $1, '?'", "SELECT $2, $1, '?'"),
        ] {
            assert_eq!(numbered(sql).unwrap(), expected);
        }
    }

    #[test]
    fn the_two_ways_to_write_parameters_are_not_mixed() {
        let error = numbered("SELECT ?, $1").unwrap_err().to_string();
        assert!(error.contains("a statement has parameters written as ? or as $1, not both"), "{error}");
    }
}
