//! Installing the rules.

use super::{Session, register};

#[tokio::test]
async fn twice_is_once() {
    let session = Session::new(1);
    let names = || {
        let state = session.ctx.state();
        let optimizers = state.optimizers().iter().map(|rule| rule.name().to_owned());
        let rewrites = state.analyzer().function_rewrites().iter().map(|rule| rule.name().to_owned());
        optimizers.chain(rewrites).collect::<Vec<_>>()
    };
    let before = names();
    register(&session.ctx, vec![]).unwrap();
    assert_eq!(names(), before);
    let ours = ["constant_once", "drop_inferred", "extract_async", "check_async", "lower_to_sync"]
        .map(|name| format!("semantic.{name}"));
    assert!(before.ends_with(&ours), "{before:?}");
}

#[tokio::test]
async fn constants_stay_where_subqueries_would_become_joins() {
    let session = Session::new(4);
    let off = "SET datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery = false";
    let rows = session.run(&format!("{off}; SELECT sum(f(1) + x) FROM t WHERE x < f(1)")).await.unwrap();
    assert_eq!((rows.as_str(), session.counts.take().as_str()), ("36", "f=3"));
}
