//! The joins of which pairs can be left out.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinSide, JoinType, Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::{collect_columns, split_conjunction};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::{MetricOf, select};
use crate::execution::{Distance, NearestJoinExec, Of, WantedPairs};
use crate::vector::Metric;

/// So many rows are worth holding in memory, rather than a side whose rows nobody has counted.
const FEW_ROWS: usize = 1 << 16;

/// An inner join whose condition, if it has one, is checked pair by pair.
pub(super) struct Join {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    condition: Option<JoinFilter>,
    /// Those of the condition, over the columns of the join.
    pub(super) conjuncts: Vec<Arc<dyn PhysicalExpr>>,
}

impl Join {
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
            let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
            return Some(Self { left, right, condition: None, conjuncts: vec![] });
        }
        let join = plan.downcast_ref::<NestedLoopJoinExec>()?;
        if *join.join_type() != JoinType::Inner || join.contains_projection() {
            return None;
        }
        let lefts = join.left().schema().fields().len();
        let condition = join.filter().cloned();
        let conjuncts = condition.iter().flat_map(|condition| {
            let conjuncts = split_conjunction(condition.expression()).into_iter();
            conjuncts.filter_map(|conjunct| {
                let over_join = Arc::clone(conjunct).transform_up(|expr| {
                    let Some(column) = expr.downcast_ref::<Column>() else {
                        return Ok(Transformed::no(expr));
                    };
                    let source = &condition.column_indices()[column.index()];
                    let index =
                        if source.side == JoinSide::Left { source.index } else { lefts + source.index };
                    let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), index));
                    Ok(Transformed::yes(column))
                });
                over_join.ok().map(|over_join| over_join.data)
            })
        });
        let conjuncts = conjuncts.collect();
        Some(Self { left: Arc::clone(join.left()), right: Arc::clone(join.right()), condition, conjuncts })
    }

    fn lefts(&self) -> usize {
        self.left.schema().fields().len()
    }

    /// The side whose columns `expr` is over; `None` if it is over both, or none.
    fn side_of(&self, exprs: &[Arc<dyn PhysicalExpr>]) -> Option<JoinSide> {
        let columns: Vec<_> = exprs.iter().flat_map(collect_columns).collect();
        if columns.is_empty() {
            None
        } else if columns.iter().all(|column| column.index() < self.lefts()) {
            Some(JoinSide::Left)
        } else if columns.iter().all(|column| column.index() >= self.lefts()) {
            Some(JoinSide::Right)
        } else {
            None
        }
    }

    /// Whose nearest are wanted, if these are wanted of each value of `of_each`; `None` if these are of both sides.
    pub(super) fn whose(&self, of_each: &[Arc<dyn PhysicalExpr>]) -> Option<Of> {
        match self.side_of(of_each) {
            Some(JoinSide::Left) => Some(Of::EachLeft),
            Some(_) => Some(Of::EachRight),
            None if of_each.iter().all(|expr| collect_columns(expr).is_empty()) => Some(Of::All),
            None => None,
        }
    }

    /// `key` as a distance between a vector of each side.
    pub(super) fn distance(&self, key: &Arc<dyn PhysicalExpr>, metric_of: MetricOf) -> Option<Distance> {
        let (metric, [a, b]) = call(key, metric_of)?;
        let sides = [&a, &b].map(|side| self.side_of(std::slice::from_ref(side)));
        let (left, right) = match sides {
            [Some(JoinSide::Left), Some(JoinSide::Right)] => (a, b),
            [Some(JoinSide::Right), Some(JoinSide::Left)] => (b, a),
            _ => return None,
        };
        let (schema, lefts) = (self.right.schema(), self.lefts());
        let right = right.transform_up(|expr| match expr.downcast_ref::<Column>() {
            Some(column) => {
                let index = column.index() - lefts;
                let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(index).name(), index));
                Ok(Transformed::yes(column))
            }
            None => Ok(Transformed::no(expr)),
        });
        Some(Distance { metric, left, right: right.ok()?.data })
    }

    /// The value of `key` beyond which the condition does not hold.
    pub(super) fn within(&self, key: &Arc<dyn PhysicalExpr>, metric_of: MetricOf) -> Option<f64> {
        let (metric, _) = call(key, metric_of)?;
        let limits = self.conjuncts.iter().filter_map(|conjunct| {
            let comparison = conjunct.downcast_ref::<BinaryExpr>()?;
            let (limit, operator) = if comparison.left() == key {
                (comparison.right(), *comparison.op())
            } else if comparison.right() == key {
                (comparison.left(), comparison.op().swap()?)
            } else {
                return None;
            };
            let nearer = match metric.larger_is_nearer() {
                true => [Operator::Gt, Operator::GtEq, Operator::Eq],
                false => [Operator::Lt, Operator::LtEq, Operator::Eq],
            };
            let limit = limit.downcast_ref::<Literal>()?.value().cast_to(&DataType::Float64).ok()?;
            let ScalarValue::Float64(Some(limit)) = limit else { return None };
            (nearer.contains(&operator) && !limit.is_nan()).then_some(limit)
        });
        limits.reduce(if metric.larger_is_nearer() { f64::max } else { f64::min })
    }

    /// The join with the pairs that are wanted, and perhaps others; the side with fewer rows is held in memory.
    pub(super) fn prune(self, distance: Distance, wanted: WantedPairs) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = |side: &Arc<dyn ExecutionPlan>| {
            let statistics = StatisticsContext::new().compute(side.as_ref(), &StatisticsArgs::new()).ok()?;
            statistics.num_rows.get_value().copied()
        };
        // where nothing is known, the side whose nearest are wanted: they get nearer from batch to batch
        let swap = match (rows(&self.left), rows(&self.right)) {
            (Some(left), Some(right)) => right < left,
            (None, Some(right)) => right <= FEW_ROWS,
            (Some(left), None) => left > FEW_ROWS && wanted.of == Of::EachRight,
            (None, None) => wanted.of == Of::EachRight,
        };
        if !swap {
            let Self { left, right, condition, .. } = self;
            return Ok(Arc::new(NearestJoinExec::new(left, right, distance, wanted, condition)));
        }
        let distance = Distance { left: distance.right, right: distance.left, ..distance };
        let of = match wanted.of {
            Of::EachLeft => Of::EachRight,
            Of::EachRight => Of::EachLeft,
            Of::All => Of::All,
        };
        let condition = self.condition.as_ref().map(JoinFilter::swap);
        let (lefts, rights) = (self.lefts(), self.right.schema().fields().len());
        let wanted = WantedPairs { of, ..wanted };
        let join = NearestJoinExec::new(self.right, self.left, distance, wanted, condition);
        select(Arc::new(join), (rights..rights + lefts).chain(0..rights))
    }
}

/// A function of ours that computes a metric, and its arguments.
pub(super) fn call(
    key: &Arc<dyn PhysicalExpr>,
    metric_of: MetricOf,
) -> Option<(Metric, [Arc<dyn PhysicalExpr>; 2])> {
    let call = key.downcast_ref::<ScalarFunctionExpr>()?;
    let metric = metric_of(call.fun())?;
    let arguments = call.args().to_vec().try_into().ok()?;
    (!is_volatile(key)).then_some((metric, arguments))
}
