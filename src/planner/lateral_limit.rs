//! Plans `LATERAL` subqueries with a `LIMIT`, which DataFusion does not.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, JoinType, Result, ScalarValue, TableReference};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, Sort};
use datafusion::logical_expr::expr_fn::when;
use datafusion::logical_expr::logical_plan::Join;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, FetchType, LogicalPlan, LogicalPlanBuilder, SkipType, lit,
};
use datafusion::optimizer::AnalyzerRule;

/// The rule `semantic.lateral_limit`: in
///
/// ```sql
/// FROM queries CROSS JOIN LATERAL (SELECT ... FROM documents WHERE ... ORDER BY distance(queries.v, documents.v) LIMIT k)
/// ```
///
/// the rows of each query are numbered in the order that the subquery asks for, and those up to `k` are kept: a cross
/// join, `ROW_NUMBER() OVER (PARTITION BY the number of the left row ORDER BY ...)` and a filter. It is also done for
/// `LEFT JOIN LATERAL (...) ON true`, where a left row without any is kept, if there is no `OFFSET`; that is an outer join,
/// of which no pairs are left out.
///
/// DataFusion itself plans a correlated subquery in `FROM` if nothing in it depends on how many rows there are. Any
/// other subquery than the above is left to it.
#[derive(Debug)]
pub(super) struct LateralLimit;

impl LateralLimit {
    pub(super) const NAME: &'static str = "semantic.lateral_limit";
}

impl AnalyzerRule for LateralLimit {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut joins = 0;
        let rewritten = plan.transform_up_with_subqueries(|plan| {
            let LogicalPlan::Join(join) = &plan else { return Ok(Transformed::no(plan)) };
            match join_of_numbered(join, joins)? {
                Some(numbered) => {
                    joins += 1;
                    Ok(Transformed::yes(numbered))
                }
                None => Ok(Transformed::no(plan)),
            }
        })?;
        Ok(rewritten.data)
    }
}

/// A lateral join as one that counts the rows of each left row; `number` is its own in the statement.
fn join_of_numbered(join: &Join, number: usize) -> Result<Option<LogicalPlan>> {
    let is_left = join.join_type == JoinType::Left;
    let unconditional = join.filter.as_ref().is_none_or(|filter| *filter == lit(true));
    if !join.on.is_empty() || !(join.join_type == JoinType::Inner || is_left && unconditional) {
        return Ok(None);
    }
    let (subquery, alias) = match join.right.as_ref() {
        LogicalPlan::Subquery(subquery) => (subquery, None),
        LogicalPlan::SubqueryAlias(aliased) => match aliased.input.as_ref() {
            LogicalPlan::Subquery(subquery) => (subquery, Some(aliased.alias.clone())),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let Some((steps, base)) = steps(&subquery.subquery)? else { return Ok(None) };
    let left = Left::new(&join.left, number)?;
    let Some(numbered) = Numbered::new(&left, steps, base, is_left)? else { return Ok(None) };

    // the columns of the join, under their names
    let of_left = join.left.schema().columns().into_iter().zip(&left.names);
    let of_left = of_left.map(|(column, name)| named(Expr::from(name.clone()), &column));
    let of_right = numbered.own_columns().into_iter().map(|column| {
        let target = Column::new(alias.clone().or(column.relation.clone()), column.name.clone());
        // a left row without any right rows has NULLs, whatever the subquery would compute
        let value = match is_left {
            true => {
                let metadata =
                    FieldMetadata::from(numbered.plan.schema().field_from_column(&column)?.as_ref());
                let value = when(Expr::from(left.matched()), Expr::from(column)).end()?;
                return Ok(value.alias_qualified_with_metadata(target.relation, target.name, Some(metadata)));
            }
            false => Expr::from(column),
        };
        Ok(named(value, &target))
    });
    let columns = of_left.map(Ok).chain(of_right).collect::<Result<Vec<_>>>()?;
    let plan = LogicalPlanBuilder::from(numbered.plan).project(columns)?;
    let plan = match &join.filter {
        Some(condition) if !unconditional => plan.filter(condition.clone())?,
        _ => plan,
    };
    plan.build().map(Some)
}

fn named(value: Expr, column: &Column) -> Expr {
    value.alias_qualified(column.relation.clone(), column.name.clone())
}

/// What a subquery does with the rows of its `FROM`.
enum Step {
    Filter(Expr),
    Project(Vec<Expr>),
    Alias(TableReference),
    Sort(Vec<Sort>),
    Limit { skip: usize, fetch: Option<usize> },
}

/// The steps of a correlated subquery with one limit, first to last, and the plan of its `FROM`, which does not refer
/// to the left row. `None` for any other subquery.
fn steps(subquery: &LogicalPlan) -> Result<Option<(Vec<Step>, LogicalPlan)>> {
    let (mut steps, mut plan, mut limits) = (vec![], subquery, 0);
    while refers_outside(plan)? {
        let (step, input) = match plan {
            LogicalPlan::Filter(filter) => (Step::Filter(filter.predicate.clone()), &filter.input),
            LogicalPlan::Projection(projection) => {
                (Step::Project(projection.expr.clone()), &projection.input)
            }
            LogicalPlan::SubqueryAlias(aliased) => (Step::Alias(aliased.alias.clone()), &aliased.input),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => (Step::Sort(sort.expr.clone()), &sort.input),
            LogicalPlan::Limit(limit) => {
                limits += 1;
                match (limit.get_skip_type()?, limit.get_fetch_type()?) {
                    (SkipType::Literal(skip), FetchType::Literal(fetch)) => {
                        (Step::Limit { skip, fetch }, &limit.input)
                    }
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        steps.push(step);
        plan = input;
    }
    steps.reverse();
    Ok((limits == 1).then(|| (steps, plan.clone())))
}

fn refers_outside(plan: &LogicalPlan) -> Result<bool> {
    let found = plan.apply_with_subqueries(|node| {
        Ok(if node.contains_outer_reference() {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    Ok(found == TreeNodeRecursion::Stop)
}

/// The rows of the subquery for all left rows.
struct Numbered {
    plan: LogicalPlan,
    /// So many columns come before those of the subquery.
    carried: usize,
}

impl Numbered {
    /// `None` if a step cannot be done for all left rows at once.
    fn new(left: &Left, steps: Vec<Step>, base: LogicalPlan, is_left: bool) -> Result<Option<Self>> {
        let mut steps = steps.into_iter().peekable();
        let carried = left.plan.schema().fields().len();
        let mut this = if is_left {
            let mut conditions = vec![lit(true)];
            while let Some(Step::Filter(predicate)) = steps.next_if(|step| matches!(step, Step::Filter(_))) {
                let Some(predicate) = left.over_join(predicate)? else { return Ok(None) };
                conditions.push(predicate);
            }
            let columns = base.schema().columns().into_iter().map(Expr::from);
            let matched = lit(true).alias(left.matched().name);
            let base = LogicalPlanBuilder::from(base).project(std::iter::once(matched).chain(columns))?;
            let plan = LogicalPlanBuilder::from(left.plan.clone())
                .join_on(base.build()?, JoinType::Left, conditions)?
                .build()?;
            Self { plan, carried: carried + 1 }
        } else {
            let plan = LogicalPlanBuilder::from(left.plan.clone()).cross_join(base)?.build()?;
            Self { plan, carried }
        };
        let (mut sorted, mut limited) = (false, false);
        for step in steps {
            let done = match step {
                // a row that a filter drops has its number, or is the only one of a left row
                Step::Filter(predicate) if !sorted && !is_left => this.filter(left, predicate)?,
                Step::Filter(_) => return Ok(None),
                Step::Project(exprs) => this.project(left, exprs)?,
                Step::Alias(alias) => {
                    let columns = this.own_columns().into_iter().map(|column| {
                        let name = Column::new(Some(alias.clone()), column.name.clone());
                        named(Expr::from(column), &name)
                    });
                    this.project(left, columns.collect())?
                }
                Step::Sort(_) if sorted || limited => return Ok(None),
                Step::Sort(keys) => {
                    sorted = true;
                    this.number(left, keys)?
                }
                // a left row that a limit leaves without any rows would have to be kept
                Step::Limit { skip, fetch } if is_left && (skip > 0 || fetch == Some(0)) => return Ok(None),
                Step::Limit { skip, fetch } => {
                    if !sorted && this.number(left, vec![])?.is_none() {
                        return Ok(None);
                    }
                    (sorted, limited) = (false, true);
                    Some(this.limit(left, skip, fetch)?)
                }
            };
            if done.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(this))
    }

    fn own_columns(&self) -> Vec<Column> {
        self.plan.schema().columns().split_off(self.carried)
    }

    fn carried_columns(&self) -> impl Iterator<Item = Expr> {
        self.plan.schema().columns().into_iter().take(self.carried).map(Expr::from)
    }

    fn filter(&mut self, left: &Left, predicate: Expr) -> Result<Option<()>> {
        let Some(predicate) = left.over_join(predicate)? else { return Ok(None) };
        self.plan = LogicalPlanBuilder::from(self.plan.clone()).filter(predicate)?.build()?;
        Ok(Some(()))
    }

    fn project(&mut self, left: &Left, exprs: Vec<Expr>) -> Result<Option<()>> {
        let over_join = |expr: Expr| {
            // a column that says nothing else is named after its expression
            let (relation, name) = expr.qualified_name();
            let over_join = left.over_join(expr).transpose()?;
            Some(over_join.map(|expr| match expr.qualified_name() == (relation.clone(), name.clone()) {
                true => expr,
                false => expr.alias_qualified(relation, name),
            }))
        };
        let columns: Option<Vec<_>> = exprs.into_iter().map(over_join).collect::<Option<_>>();
        let Some(columns) = columns else { return Ok(None) };
        let columns = self.carried_columns().map(Ok).chain(columns).collect::<Result<Vec<_>>>()?;
        self.plan = LogicalPlanBuilder::from(self.plan.clone()).project(columns)?.build()?;
        Ok(Some(()))
    }

    /// Numbers the rows of each left row in the order of `keys`.
    fn number(&mut self, left: &Left, keys: Vec<Sort>) -> Result<Option<()>> {
        let mut order = vec![];
        for Sort { expr, asc, nulls_first } in keys {
            let Some(expr) = left.over_join(expr)? else { return Ok(None) };
            order.push(Sort { expr, asc, nulls_first });
        }
        let number = row_number().partition_by(vec![left.row().into()]).order_by(order).build()?;
        let columns = self.carried_columns().chain([Expr::from(left.number())]);
        let columns = columns.chain(self.own_columns().into_iter().map(Expr::from)).collect::<Vec<_>>();
        let plan = LogicalPlanBuilder::from(self.plan.clone());
        self.plan = plan.window([number.alias(left.number().name)])?.project(columns)?.build()?;
        self.carried += 1;
        Ok(Some(()))
    }

    fn limit(&mut self, left: &Left, skip: usize, fetch: Option<usize>) -> Result<()> {
        let limit = |rows: usize| lit(ScalarValue::UInt64(u64::try_from(rows).ok()));
        let number = Expr::from(left.number());
        let fetched = fetch.map(|fetch| number.clone().lt_eq(limit(skip.saturating_add(fetch))));
        let skipped = (skip > 0).then(|| number.gt(limit(skip)));
        if let Some(kept) = fetched.into_iter().chain(skipped).reduce(Expr::and) {
            self.plan = LogicalPlanBuilder::from(self.plan.clone()).filter(kept)?.build()?;
        }
        Ok(())
    }
}

/// The left side of the join: its columns under names that no subquery has, and a number for each row.
struct Left {
    plan: LogicalPlan,
    of: Arc<LogicalPlan>,
    names: Vec<Column>,
    prefix: String,
}

impl Left {
    fn new(of: &Arc<LogicalPlan>, number: usize) -> Result<Self> {
        let prefix = format!("__lateral_{number}");
        let columns = of.schema().columns();
        let names: Vec<_> =
            (0..columns.len()).map(|index| Column::from_name(format!("{prefix}_{index}"))).collect();
        let renamed =
            columns.into_iter().zip(&names).map(|(column, name)| Expr::from(column).alias(&name.name));
        let plan = LogicalPlanBuilder::from(Arc::clone(of))
            .project(renamed)?
            .window([row_number().alias(format!("{prefix}_row"))])?
            .build()?;
        Ok(Self { plan, of: Arc::clone(of), names, prefix })
    }

    /// The number of the left row.
    fn row(&self) -> Column {
        Column::from_name(format!("{}_row", self.prefix))
    }

    /// The number of a row of the subquery among those of its left row.
    fn number(&self) -> Column {
        Column::from_name(format!("{}_number", self.prefix))
    }

    /// True for a row of the subquery; NULL for what an outer join puts in the place of none.
    fn matched(&self) -> Column {
        Column::from_name(format!("{}_matched", self.prefix))
    }

    /// `expr`, which may refer to the left row, over the columns of the join; `None` if it refers to anything else
    /// outside the subquery, or does so in a subquery of its own.
    fn over_join(&self, expr: Expr) -> Result<Option<Expr>> {
        let mut known = true;
        let over_join = expr.transform_up(|expr| match &expr {
            Expr::OuterReferenceColumn(_, column) => match self.of.schema().maybe_index_of_column(column) {
                Some(index) => Ok(Transformed::yes(Expr::from(self.names[index].clone()))),
                None => {
                    known = false;
                    Ok(Transformed::no(expr))
                }
            },
            Expr::ScalarSubquery(subquery)
            | Expr::Exists(Exists { subquery, .. })
            | Expr::InSubquery(InSubquery { subquery, .. })
            | Expr::SetComparison(SetComparison { subquery, .. }) => {
                known &= subquery.outer_ref_columns.is_empty();
                Ok(Transformed::no(expr))
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        Ok(known.then_some(over_join.data))
    }
}
