//! Puts the synchronous twin of an async function in its place where it serves the query better.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, config_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ScalarUDF};

use crate::execution::Bodies;

/// Where the synchronous twin of an async function is called in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In every call: the function is cheap, and folding, pushdown and top-k should see a plain expression.
    Always,
    /// In the arguments of an async call, at any depth: its value is never a column of its own.
    ///
    /// Anywhere else the function stays async, because a column of what it makes may be large: async calls are run
    /// in slices.
    WithinAsync,
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
/// a call later, when it merges projections: [`super::ExtractAsync`] applies [`Twins::lower`] again.
#[derive(Debug)]
pub(super) struct LowerToSync;

impl LowerToSync {
    pub(super) const NAME: &'static str = "semantic.lower_to_sync";
}

impl FunctionRewrite for LowerToSync {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn rewrite(&self, expr: Expr, _: &DFSchema, options: &ConfigOptions) -> Result<Transformed<Expr>> {
        match Twins::of(options) {
            Some(twins) => twins.lower_node(expr),
            None => Ok(Transformed::no(expr)),
        }
    }
}

/// The twins of a session, by the names of the async functions.
///
/// They are an extension of its options, because those are all of a session that a rule is given: so a session
/// that is registered again has its new twins, as it has its new functions, and a session made from its state has
/// twins of its own. It has no option that a user could see or set.
#[derive(Debug, Clone, Default)]
pub(super) struct Twins(Arc<HashMap<String, SyncTwin>>);

impl Twins {
    pub(super) fn new(twins: impl IntoIterator<Item = SyncTwin>) -> Self {
        Self(Arc::new(twins.into_iter().map(|twin| (twin.name.clone(), twin)).collect()))
    }

    pub(super) fn of(options: &ConfigOptions) -> Option<&Self> {
        options.extensions.get()
    }

    /// The twins by name, whatever calls they replace.
    pub(super) fn bodies(&self) -> Bodies {
        self.0.iter().map(|(name, twin)| (name.clone(), Arc::clone(&twin.twin))).collect()
    }

    /// `expr` as the rewrite of the whole expression would have left it, whatever the optimizer has moved since.
    pub(super) fn lower(&self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| self.lower_node(expr))
    }

    /// `expr` with the twins that are no longer inside an async call replaced by their async functions, which
    /// `registry` has: the optimizer made a column of what two calls have in common.
    pub(super) fn raise(&self, expr: Expr, registry: &dyn FunctionRegistry) -> Result<Transformed<Expr>> {
        expr.transform_down(|expr| match &expr {
            Expr::ScalarFunction(call) if call.func.as_async().is_some() => {
                Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump))
            }
            Expr::ScalarFunction(call) if self.is_within_async(call) => {
                let (function, args) = (registry.udf(call.name())?, call.args.clone());
                let raised = Expr::ScalarFunction(ScalarFunction::new_udf(function, args));
                Ok(Transformed::new(raised, true, TreeNodeRecursion::Jump))
            }
            _ => Ok(Transformed::no(expr)),
        })
    }

    fn is_within_async(&self, call: &ScalarFunction) -> bool {
        self.0.get(call.name()).is_some_and(|twin| twin.when == When::WithinAsync && twin.twin == call.func)
    }

    /// Replaces `expr` itself by its twin if it has one for every call; if it is an async call, the calls inside its
    /// arguments by whatever twins they have.
    fn lower_node(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let replaced = Self::replace(expr, |name| self.0.get(name).filter(|twin| twin.when == When::Always));
        replaced.transform_data(|expr| match &expr {
            Expr::ScalarFunction(call) if call.func.as_async().is_some() => expr.map_children(|argument| {
                let mut lowered =
                    argument.transform_down(|expr| Ok(Self::replace(expr, |name| self.0.get(name))))?;
                lowered.tnr = TreeNodeRecursion::Continue;
                Ok(lowered)
            }),
            _ => Ok(Transformed::no(expr)),
        })
    }

    fn replace<'a>(expr: Expr, twin: impl Fn(&str) -> Option<&'a SyncTwin>) -> Transformed<Expr> {
        match expr {
            Expr::ScalarFunction(call) if call.func.as_async().is_some() => match twin(call.name()) {
                Some(twin) => Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(
                    Arc::clone(&twin.twin),
                    call.args,
                ))),
                None => Transformed::no(Expr::ScalarFunction(call)),
            },
            expr => Transformed::no(expr),
        }
    }
}

impl ConfigExtension for Twins {
    const PREFIX: &'static str = "semantic_twins";
}

impl ExtensionOptions for Twins {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        config_err!("{}.{key}: found no such option, expected semantic.*; see SHOW ALL", Self::PREFIX)
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        vec![]
    }
}
