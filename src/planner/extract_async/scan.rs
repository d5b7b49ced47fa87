//! Async calls in the filters that the optimizer gave to a table.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableScan, TableScanBuilder};

use super::sink::on_top;
use super::{changed, filter};
use crate::planner::calls::contains_async;
use crate::planner::schema::restore;

/// Takes predicates with async calls back from `scan`: a table evaluates its filters synchronously.
///
/// A filter that the table promised to apply in full is put above the scan again, with the columns it reads;
/// of the others the filter above the scan was kept by the optimizer.
pub(super) fn extract_from_scan(scan: TableScan) -> Result<Transformed<LogicalPlan>> {
    if !scan.filters.iter().any(contains_async) {
        return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
    }
    let schema = Arc::clone(&scan.projected_schema);
    let (slow, cheap): (Vec<_>, Vec<_>) = scan.filters.iter().cloned().partition(contains_async);
    let support = scan.source.supports_filters_pushdown(&slow.iter().collect::<Vec<_>>())?;
    let exact: Vec<Expr> = slow
        .into_iter()
        .zip(support)
        .filter_map(|(predicate, support)| {
            (support == TableProviderFilterPushDown::Exact).then_some(predicate)
        })
        .collect();

    let mut projection = scan.projection.clone();
    if let Some(indices) = &mut projection {
        for column in exact.iter().flat_map(Expr::column_refs) {
            let index = scan.source.schema().index_of(&column.name)?;
            if !indices.contains(&index) {
                indices.push(index);
            }
        }
    }
    let scan = TableScanBuilder::from(scan).with_filters(cheap).with_projection(projection).build()?;
    let scan = Arc::new(LogicalPlan::TableScan(scan));
    let plan = match on_top(exact, Arc::clone(&scan))? {
        Some(LogicalPlan::Filter(above)) => filter(above)?.data,
        _ => Arc::unwrap_or_clone(scan),
    };
    changed(restore(plan, schema.columns(), &schema)?)
}
