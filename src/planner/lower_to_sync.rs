//! Puts the synchronous twin of an async function in its place where it serves the query better.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ScalarUDF};

/// Where the synchronous twin of an async function is called in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In every call: the function is cheap, and folding, pushdown and top-k should see a plain expression.
    Always,
    /// In a call that is an argument of another function, at any depth: its value is never a column of its own.
    WhenNested,
}

/// A synchronous function that computes the same values as a registered async function.
#[derive(Debug, Clone)]
pub struct SyncTwin {
    /// The name under which the async function is registered.
    pub name: String,
    /// The twin. It answers to the same name, so that no output column changes its name.
    pub twin: Arc<ScalarUDF>,
    /// Which calls are replaced.
    pub when: When,
}

/// Replaces calls of async functions by calls of their synchronous twins.
///
/// As a [`FunctionRewrite`] it runs before type coercion, on every expression of a plan. The optimizer can nest
/// a call later, when it merges projections: [`super::ExtractAsync`] applies [`LowerToSync::lower`] again.
#[derive(Debug)]
pub(super) struct LowerToSync {
    twins: HashMap<String, SyncTwin>,
}

impl LowerToSync {
    pub(super) const NAME: &'static str = "semantic.lower_to_sync";

    pub(super) fn new(twins: impl IntoIterator<Item = SyncTwin>) -> Self {
        Self { twins: twins.into_iter().map(|twin| (twin.name.clone(), twin)).collect() }
    }

    /// `expr` with every call that has a twin replaced, at any depth.
    pub(super) fn lower(&self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| self.lower_node(expr))
    }

    /// Replaces `expr` itself by its twin if it has one for every call, and the calls inside its arguments by
    /// the twins they have when nested.
    fn lower_node(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let lowered = match &expr {
            Expr::ScalarFunction(_)
            | Expr::HigherOrderFunction(_)
            | Expr::AggregateFunction(_)
            | Expr::WindowFunction(_) => expr.map_children(|argument| self.lower_nested(argument))?,
            _ => Transformed::no(expr),
        };
        lowered.transform_data(|expr| Ok(self.replace(expr, |when| when == When::Always)))
    }

    fn lower_nested(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let mut lowered = expr.transform_down(|expr| Ok(self.replace(expr, |_| true)))?;
        lowered.tnr = TreeNodeRecursion::Continue;
        Ok(lowered)
    }

    fn replace(&self, expr: Expr, applies: impl Fn(When) -> bool) -> Transformed<Expr> {
        match expr {
            Expr::ScalarFunction(call) if call.func.as_async().is_some() => match self.twins.get(call.name())
            {
                Some(twin) if applies(twin.when) => Transformed::yes(Expr::ScalarFunction(
                    ScalarFunction::new_udf(Arc::clone(&twin.twin), call.args),
                )),
                _ => Transformed::no(Expr::ScalarFunction(call)),
            },
            expr => Transformed::no(expr),
        }
    }
}

impl FunctionRewrite for LowerToSync {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn rewrite(&self, expr: Expr, _: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        self.lower_node(expr)
    }
}
