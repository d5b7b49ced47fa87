//! Lets a call skip a middle argument: `embed_text(t, dimensions => 3)`.
//!
//! DataFusion fills parameters from the left and refuses a gap. This pass runs over the parsed statement, before
//! planning, and names every skipped optional parameter with NULL, which our functions read as "the default".

use std::ops::ControlFlow;

use datafusion::logical_expr::{Signature, TypeSignature};
use datafusion::logical_expr_common::signature::Arity;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, Ident, Value,
    VisitMut, visit_expressions_mut,
};

/// The parameters of one function, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// their names
    pub names: Vec<String>,
    /// how many of them, from the left, a call must give; a gap there is the caller's mistake, not ours to fill
    pub required: usize,
}

impl Parameters {
    /// Reads them off a signature; `None` where the parameters have no names.
    ///
    /// A signature whose arity cannot be known is taken to require everything.
    #[must_use]
    pub fn of(signature: &Signature) -> Option<Self> {
        let names = signature.parameter_names.clone()?;
        let required = least_arity(&signature.type_signature).unwrap_or(names.len());
        Some(Self { names, required })
    }
}

/// The fewest arguments that a call with any argument takes. (`TypeSignature::arity` gives the most.)
fn least_arity(signature: &TypeSignature) -> Option<usize> {
    match signature {
        TypeSignature::OneOf(variants) => variants
            .iter()
            .filter(|variant| **variant != TypeSignature::Nullary)
            .map(least_arity)
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .min(),
        other => match other.arity() {
            Arity::Fixed(count) => Some(count),
            Arity::Variable => None,
        },
    }
}

/// Fills the gaps that named arguments leave in every call of `statement`, however deeply nested.
///
/// `parameters` gives the parameters of a function by its normalised name. Calls that DataFusion would refuse for
/// another reason (an unknown name, a name given twice, a missing required argument, a positional argument after a
/// named one) are left as they are, so that its error names what the user wrote.
pub fn fill_gaps(statement: &mut Statement, parameters: &impl Fn(&str) -> Option<Parameters>) {
    match statement {
        Statement::Statement(statement) => fill_in(statement.as_mut(), parameters),
        Statement::Explain(explain) => fill_gaps(&mut explain.statement, parameters),
        Statement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                fill_in(query.as_mut(), parameters);
            }
        }
        Statement::CreateExternalTable(table) => {
            fill_in(&mut table.columns, parameters);
            fill_in(&mut table.order_exprs, parameters);
        }
        Statement::Reset(_) => {}
    }
}

fn fill_in(node: &mut impl VisitMut, parameters: &impl Fn(&str) -> Option<Parameters>) {
    let _: ControlFlow<()> = visit_expressions_mut(node, |expr| {
        if let Expr::Function(call) = expr {
            fill_call(call, parameters);
        }
        ControlFlow::Continue(())
    });
}

fn fill_call(call: &mut Function, parameters: &impl Fn(&str) -> Option<Parameters>) {
    let FunctionArguments::List(list) = &mut call.args else {
        return;
    };
    let [name] = call.name.0.as_slice() else { return };
    let positional = list.args.iter().take_while(|arg| matches!(arg, FunctionArg::Unnamed(_))).count();
    if positional == list.args.len() {
        return;
    }
    let Some(parameters) = name.as_ident().and_then(|ident| parameters(&normalised(ident))) else {
        return;
    };

    let mut given = vec![false; parameters.names.len()];
    for (place, arg) in list.args.iter().enumerate() {
        let place = match arg {
            FunctionArg::Unnamed(_) if place < positional => Some(place),
            FunctionArg::Named { name, .. } | FunctionArg::ExprNamed { name: Expr::Identifier(name), .. } => {
                parameters.names.iter().position(|parameter| is_called(name, parameter))
            }
            _ => None,
        };
        match place.and_then(|place| given.get_mut(place)) {
            Some(given) if !*given => *given = true,
            _ => return,
        }
    }
    if given.iter().take(parameters.required).any(|given| !given) {
        return;
    }
    let Some(rightmost) = given.iter().rposition(|given| *given) else {
        return;
    };
    for (name, _) in parameters.names.iter().zip(&given).take(rightmost).filter(|(_, given)| !**given) {
        list.args.push(FunctionArg::Named {
            name: Ident::new(name),
            arg: FunctionArgExpr::Expr(Expr::Value(Value::Null.into())),
            operator: FunctionArgOperator::RightArrow,
        });
    }
}

/// As DataFusion does: without quotes, case does not matter.
fn normalised(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

fn is_called(name: &Ident, parameter: &str) -> bool {
    match name.quote_style {
        Some(_) => name.value == parameter,
        None => name.value.eq_ignore_ascii_case(parameter),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::Volatility;
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn filled(sql: &str) -> String {
        let mut statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        fill_gaps(&mut statement, &|name| {
            (name == "f")
                .then(|| Parameters { names: ["a", "b", "c", "d"].map(str::to_owned).into(), required: 1 })
        });
        statement.to_string()
    }

    #[test]
    fn a_gap_is_filled_with_null() {
        assert_eq!(filled("SELECT f(x, c => 3)"), "SELECT f(x, c => 3, b => NULL)");
        assert_eq!(filled("SELECT F(d => 1, a => x)"), "SELECT F(d => 1, a => x, b => NULL, c => NULL)");
        assert_eq!(filled("SELECT f(x, C => 3)"), "SELECT f(x, C => 3, b => NULL)");
        assert_eq!(filled(r#"SELECT f(x, "c" => 3)"#), r#"SELECT f(x, "c" => 3, b => NULL)"#);
    }

    #[test]
    fn a_call_without_a_gap_stays_as_it_is() {
        for call in ["f(x)", "f(x, y)", "f(x, b => 1)", "f(x, c => 1, b => 2)", "g(x, c => 1)", "f()", "f(*)"]
        {
            assert_eq!(filled(&format!("SELECT {call}")), format!("SELECT {call}"));
        }
    }

    #[test]
    fn a_wrong_call_is_left_to_datafusion() {
        for call in
            ["f(c => 1)", "f(x, e => 1)", "f(x, c => 1, c => 2)", "f(x, c => 1, 2)", "f(x, a => 1, c => 2)"]
        {
            assert_eq!(filled(&format!("SELECT {call}")), format!("SELECT {call}"));
        }
        assert_eq!(filled(r#"SELECT f(x, "C" => 3)"#), r#"SELECT f(x, "C" => 3)"#);
    }

    #[test]
    fn calls_are_found_wherever_an_expression_may_stand() {
        for sql in [
            "SELECT 1 + f(g(f(x, c => 1)), c => 2)",
            "SELECT a FROM t WHERE f(x, c => 1) ORDER BY f(x, c => 1)",
            "SELECT a FROM t JOIN u ON f(x, c => 1) GROUP BY f(x, c => 1) HAVING f(x, c => 1)",
            "SELECT sum(f(x, c => 1)) FILTER (WHERE f(x, c => 1)) OVER (ORDER BY f(x, c => 1))",
            "SELECT CASE WHEN f(x, c => 1) THEN (SELECT f(x, c => 1)) END",
            "WITH w AS (SELECT f(x, c => 1)) SELECT * FROM (SELECT f(x, c => 1)) AS s, w",
            "SELECT 1 UNION ALL SELECT f(x, c => 1)",
            "VALUES (f(x, c => 1))",
            "CREATE TABLE t AS SELECT f(x, c => 1)",
            "CREATE VIEW t AS SELECT f(x, c => 1)",
            "INSERT INTO t SELECT f(x, c => 1)",
            "PREPARE p AS SELECT f(x, c => 1)",
            "EXPLAIN SELECT f(x, c => 1)",
            "EXPLAIN ANALYZE COPY (SELECT f(x, c => 1)) TO 'x.csv'",
            "COPY (SELECT f(x, c => 1)) TO 'x.csv'",
        ] {
            let result = filled(sql);
            assert_eq!(result.matches("b => NULL").count(), sql.matches("c =>").count(), "{result}");
        }
    }

    #[test]
    fn required_parameters_are_read_off_the_signature() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let one_of = |arities: &[usize]| {
            let variants = arities.iter().map(|n| TypeSignature::Any(*n)).collect();
            Signature::one_of(variants, Volatility::Stable)
        };
        let signature = one_of(&[1, 2, 3]).with_parameter_names(names(&["a", "b", "c"])).unwrap();
        assert_eq!(
            Parameters::of(&signature),
            Some(Parameters { names: names(&["a", "b", "c"]), required: 1 })
        );
        assert_eq!(Parameters::of(&one_of(&[1])), None);
    }
}
