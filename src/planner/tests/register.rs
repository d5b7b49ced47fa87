//! Installing the rules.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

use super::{Session, SyncTwin, When, functions, register};

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
    register(&session.ctx, functions(vec![])).unwrap();
    assert_eq!(names(), before);
    let ours = ["constant_once", "drop_inferred", "extract_async", "check_async", "lower_to_sync"]
        .map(|name| format!("semantic.{name}"));
    assert!(before.ends_with(&ours), "{before:?}");
}

/// A session that is registered again, with other providers, has functions with new contexts: so have the twins.
#[tokio::test]
async fn again_replaces_the_twins() {
    let session = Session::new(1);
    let copy =
        Session { ctx: SessionContext::new_with_state(session.ctx.state()), counts: session.counts.clone() };
    let other = ScalarUDF::new_from_impl(session.mock("pic", "other_sync"));
    let twin = SyncTwin { name: String::from("pic"), twin: Arc::new(other), when: When::Always };
    register(&session.ctx, functions(vec![twin])).unwrap();
    session.run("SELECT f(pic(x)), pic(y) FROM t").await.unwrap();
    assert_eq!(session.counts.take(), "f=3 other_sync=6");
    // merged by the optimizer, and lowered by the rule that extracts
    session.run("SELECT f(p) FROM (SELECT CASE WHEN x > 1 THEN pic(x) END AS p FROM t)").await.unwrap();
    assert_eq!(session.counts.take(), "f=2 other_sync=2");
    copy.run("SELECT f(pic(x)) FROM t").await.unwrap();
    assert_eq!(copy.counts.take(), "f=3 pic_sync=3");

    register(&session.ctx, functions(vec![])).unwrap();
    session.run("SELECT f(pic(x)) FROM t").await.unwrap();
    assert_eq!(session.counts.take(), "f=3 pic=3");
}

#[tokio::test]
async fn twins_are_no_options() {
    let session = Session::new(1);
    let found =
        session.run("SELECT count(*) FROM information_schema.df_settings WHERE name LIKE '%twins%'").await;
    assert_eq!(found.unwrap(), "0");
    let error = session.run("SET semantic_twins.pic = 1").await.unwrap_err().find_root().to_string();
    assert!(error.contains("semantic_twins.pic: found no such option"), "{error}");
}

#[tokio::test]
async fn constants_stay_where_subqueries_would_become_joins() {
    let session = Session::new(4);
    let off = "SET datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery = false";
    let sql = "SELECT sum(f(1) + x) FROM t WHERE x < f(1)";
    assert!(session.plan(sql).await.unwrap().contains("<subquery>"));
    let rows = session.run(&format!("{off}; {sql}")).await.unwrap();
    assert_eq!((rows.as_str(), session.counts.take().as_str()), ("36", "f=1"));
    assert!(!session.plan(sql).await.unwrap().contains("<subquery>"));
}

/// The state is rebuilt to add a physical rule, which must change nothing else.
#[tokio::test]
async fn the_rest_of_the_session_stays() {
    let ctx = SessionContext::new();
    let session = Session::bare(1);
    // an alias of a built-in function, taken by one of the user's own
    let own = ScalarUDF::new_from_impl(session.mock("length", ""));
    ctx.register_udf(own.clone());
    let id = ctx.session_id();
    register(&ctx, functions(vec![])).unwrap();
    let state = ctx.state();
    assert_eq!(*state.scalar_functions()["length"], own);
    assert!(state.config_options().catalog.create_default_catalog_and_schema);
    assert_eq!(state.session_id(), id);
    let names: Vec<_> = state.physical_optimizers().iter().map(|rule| rule.name().to_owned()).collect();
    assert_eq!(names[..3], ["semantic.decode_resized", "semantic.stream_async", "semantic.nearest_join"]);
    assert_eq!(names.len(), SessionContext::new().state().physical_optimizers().len() + 3);
}
