//! What a program that embeds DataFusion gets.
use datafusion::execution::FunctionRegistry;
use datafusion::prelude::SessionContext;

#[test]
fn the_five_functions_are_async() {
    let ctx = SessionContext::new();
    datafusion_semantic::register_all(&ctx).unwrap();
    for name in ["embed_text", "embed_image", "decode_image", "resize", "cosine_distance"] {
        assert!(ctx.udf(name).unwrap().as_async().is_some(), "{name}");
    }
}

#[tokio::test]
async fn an_existing_session_keeps_what_it_has_and_can_be_registered_twice() {
    let ctx = SessionContext::new();
    ctx.sql("CREATE TABLE numbers AS VALUES (1), (2)").await.unwrap();
    let id = ctx.session_id();
    datafusion_semantic::register_all(&ctx).unwrap();
    ctx.sql("SET semantic.text_model = 'no such model'").await.unwrap();
    let rules = || {
        let state = ctx.state();
        let names = state.optimizers().iter().map(|rule| rule.name().to_owned());
        names.collect::<Vec<_>>()
    };
    let before = rules();
    datafusion_semantic::register_all(&ctx).unwrap();
    assert_eq!(rules(), before);
    assert_eq!(ctx.session_id(), id);
    assert_eq!(ctx.table("numbers").await.unwrap().count().await.unwrap(), 2);
    // options survive, and reach the planner
    let error = ctx.sql("SELECT embed_text('x')").await.unwrap_err().to_string();
    assert!(error.contains("model 'no such model' is not on this machine"), "{error}");
}

#[tokio::test]
async fn sessions_do_not_share_options() {
    let (one, other) = (SessionContext::new(), SessionContext::new());
    datafusion_semantic::register_all(&one).unwrap();
    datafusion_semantic::register_all(&other).unwrap();
    one.sql("SET semantic.provider = 'nobody'").await.unwrap();
    let error = one.sql("SELECT embed_text('x')").await.unwrap_err().to_string();
    assert!(error.contains("unknown provider 'nobody': known are 'transformers' (or 'local')"), "{error}");
    let error = other.sql("SELECT embed_text('x', 'no such model')").await.unwrap_err().to_string();
    assert!(error.contains("model 'no such model' is not on this machine"), "{error}");
}

#[tokio::test]
async fn a_session_of_a_copied_configuration_starts_with_its_values_and_goes_its_own_way() {
    let one = SessionContext::new();
    datafusion_semantic::register_all(&one).unwrap();
    one.sql("SET semantic.text_model = 'first'").await.unwrap();
    let other = SessionContext::new_with_config(one.copied_config());
    datafusion_semantic::register_all(&other).unwrap();
    let model =
        |ctx: SessionContext| async move { ctx.sql("SELECT embed_text('x')").await.unwrap_err().to_string() };
    assert!(model(other.clone()).await.contains("model 'first' is not on this machine"));
    other.sql("SET semantic.text_model = 'second'").await.unwrap();
    assert!(model(other).await.contains("model 'second' is not on this machine"));
    assert!(model(one).await.contains("model 'first' is not on this machine"));
}
