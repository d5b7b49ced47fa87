//! Lets a cross join leave out pairs that a limit above it would cut.

mod join;
mod wanted;

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::config::SemanticOptions;
use crate::execution::{Distance, NearestJoinExec, Of, WantedPairs};
use crate::vector::Metric;

use join::{Join, call};
use wanted::{Wanted, through, wanted};

/// The rule `semantic.nearest_join`: a join of vectors, of whose pairs only the nearest are wanted, becomes a
/// [`NearestJoinExec`]. Only the join changes: it leaves pairs out, and what is above it decides as before. A search
/// for the rows that are nearest to a constant is a join with one row.
///
/// The join is a cross join, or an inner one whose condition is no equality. The nearest are wanted by
/// - `ORDER BY distance(a, b) ... LIMIT k`;
/// - `ROW_NUMBER() OVER (PARTITION BY columns of one side ORDER BY distance(a, b) ...) <= k`, also in `QUALIFY`;
/// - `SELECT columns of one side, min(distance(a, b)) ... GROUP BY columns of one side`;
/// - `SELECT DISTINCT ON (columns of one side) ... ORDER BY these, distance(a, b)`;
/// - `WHERE distance(a, b) < a constant`.
///
/// It is one of the first physical rules: those after it move the inputs of a join and add operators in between.
#[derive(Debug)]
pub(super) struct NearestJoin(pub(super) MetricOf);

/// The metric that a function computes for two vectors, if it does: a name says nothing, a user can have a function of
/// the same name.
pub type MetricOf = fn(&ScalarUDF) -> Option<Metric>;

impl NearestJoin {
    pub(super) const NAME: &'static str = "semantic.nearest_join";
}

impl PhysicalOptimizerRule for NearestJoin {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let enabled = config.extensions.get::<SemanticOptions>().is_none_or(|o| o.settings().nearest_join);
        if !enabled {
            return Ok(plan);
        }
        let nearest = plan.transform_down(|node| match wanted(&node) {
            Some((input, wanted)) => match prune(&input, &wanted, self.0)? {
                Some(pruned) => replace(node, &input, &pruned).map(Transformed::yes),
                None => Ok(Transformed::no(node)),
            },
            None => Ok(Transformed::no(node)),
        })?;
        let near = nearest.data.transform_down(|node| match prune_within(&node, self.0)? {
            Some(pruned) => Ok(Transformed::yes(pruned)),
            None => Ok(Transformed::no(node)),
        })?;
        Ok(near.data)
    }
}

/// `input` with its join pruned, if there is one below nothing but projections; its columns stay.
fn prune(
    input: &Arc<dyn ExecutionPlan>,
    wanted: &Wanted,
    metric_of: MetricOf,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = input.downcast_ref::<ProjectionExec>() {
        let of_each = wanted.of_each.iter().map(|expr| through(expr, projection)).collect::<Option<Vec<_>>>();
        let (Some(key), Some(of_each)) = (through(&wanted.key, projection), of_each) else { return Ok(None) };
        let below = prune(projection.input(), &Wanted { key, of_each, ..*wanted }, metric_of)?;
        return below.map(|below| with_child(Arc::clone(input), below)).transpose();
    }
    let Some(join) = Join::of(input) else { return prune_rows(input, wanted, metric_of) };
    let Some(distance) = join.distance(&wanted.key, metric_of) else { return Ok(None) };
    if distance.metric.larger_is_nearer() != wanted.options.descending {
        return Ok(None);
    }
    let Some(of) = join.whose(&wanted.of_each) else { return Ok(None) };
    if wanted.of_each.iter().any(is_volatile) {
        return Ok(None);
    }
    let wanted = WantedPairs {
        k: Some(wanted.k),
        of,
        within: join.within(&wanted.key, metric_of),
        undefined_is_nearest: wanted.options.nulls_first,
    };
    join.prune(distance, wanted).map(Some)
}

/// A join with a condition on a distance without the pairs that it excludes.
fn prune_within(
    plan: &Arc<dyn ExecutionPlan>,
    metric_of: MetricOf,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(join) = Join::of(plan) else { return Ok(None) };
    for conjunct in &join.conjuncts {
        for key in distances(conjunct) {
            let (Some(distance), Some(within)) =
                (join.distance(&key, metric_of), join.within(&key, metric_of))
            else {
                continue;
            };
            let wanted =
                WantedPairs { k: None, of: Of::All, within: Some(within), undefined_is_nearest: false };
            return join.prune(distance, wanted).map(Some);
        }
    }
    Ok(None)
}

/// Both sides of a comparison.
fn distances(conjunct: &Arc<dyn PhysicalExpr>) -> Vec<Arc<dyn PhysicalExpr>> {
    let comparison = conjunct.downcast_ref::<BinaryExpr>();
    comparison
        .map_or(vec![], |comparison| vec![Arc::clone(comparison.left()), Arc::clone(comparison.right())])
}

/// The rows of `input` that are nearest to a constant: a join of that one row with all of them.
fn prune_rows(
    input: &Arc<dyn ExecutionPlan>,
    wanted: &Wanted,
    metric_of: MetricOf,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((metric, [a, b])) = call(&wanted.key, metric_of) else { return Ok(None) };
    let (constant, vectors) = if is_constant(&a) { (a, b) } else { (b, a) };
    let is_nearest = metric.larger_is_nearer() == wanted.options.descending;
    if !is_nearest || !wanted.of_each.is_empty() || !is_constant(&constant) || is_constant(&vectors) {
        return Ok(None);
    }
    let alias = "nearest_to".to_owned();
    let row = Arc::new(PlaceholderRowExec::new(Arc::new(Schema::empty())));
    let constant = ProjectionExec::try_new([ProjectionExpr { expr: constant, alias: alias.clone() }], row)?;
    let distance = Distance { metric, left: Arc::new(Column::new(&alias, 0)), right: vectors };
    let wanted = WantedPairs {
        k: Some(wanted.k),
        of: Of::All,
        within: None,
        undefined_is_nearest: wanted.options.nulls_first,
    };
    let joined = NearestJoinExec::new(Arc::new(constant), Arc::clone(input), distance, wanted, None);
    let columns = joined.schema().fields().len();
    select(Arc::new(joined), 1..columns).map(Some)
}

fn is_constant(expr: &Arc<dyn PhysicalExpr>) -> bool {
    collect_columns(expr).is_empty() && !is_volatile(expr)
}

/// These columns of `input`.
fn select(
    input: Arc<dyn ExecutionPlan>,
    columns: impl IntoIterator<Item = usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let columns = columns.into_iter().map(|index| {
        let name = schema.field(index).name();
        ProjectionExpr { expr: Arc::new(Column::new(name, index)), alias: name.clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(columns, input)?))
}

/// `node` with `pruned` in the place of `input`, which is below it and perhaps below projections and a window.
fn replace(
    node: Arc<dyn ExecutionPlan>,
    input: &Arc<dyn ExecutionPlan>,
    pruned: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if Arc::ptr_eq(&node, input) {
        return Ok(Arc::clone(pruned));
    }
    let child = Arc::clone(node.children()[0]);
    with_child(node, replace(child, input, pruned)?)
}

fn with_child(node: Arc<dyn ExecutionPlan>, child: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    node.replace_children(vec![child], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}
