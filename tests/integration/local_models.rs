//! The real models of `make setup`.
use std::path::PathBuf;
use std::process::Command;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Float32Type, Float64Type};
use datafusion::prelude::SessionContext;

/// A session over the models of the cache folder; fails with the cure where they are not installed.
fn session() -> SessionContext {
    let ctx = datafusion_semantic::session::new().unwrap();
    let plan = futures::executor::block_on(ctx.sql("SELECT embed_text('x')"));
    if let Err(error) = plan {
        panic!("the tests need the default models: run `make setup` first ({error})");
    }
    ctx
}

async fn floats(ctx: &SessionContext, sql: &str) -> Vec<f64> {
    let batches = datafusion_semantic::session::sql(ctx, sql).await.unwrap().collect().await.unwrap();
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Float64Type>().values().to_vec()).collect()
}

async fn vectors(ctx: &SessionContext, sql: &str) -> Vec<Vec<f32>> {
    let batches = datafusion_semantic::session::sql(ctx, sql).await.unwrap().collect().await.unwrap();
    let rows =
        batches.iter().flat_map(|batch| batch.column(0).as_fixed_size_list().iter().collect::<Vec<_>>());
    rows.map(|row| row.unwrap().as_primitive::<Float32Type>().values().to_vec()).collect()
}

#[tokio::test]
async fn minilm_gives_its_published_vectors() {
    let ctx = session();
    let vector = &vectors(&ctx, "SELECT embed_text('A man is eating food.')").await[0];
    assert_eq!(vector.len(), 384);
    for (found, expected) in
        vector.iter().zip([0.033_241_6, 0.004_406_1, -0.006_277_0, 0.048_378_8, -0.138_702_2])
    {
        assert!((found - expected).abs() < 1e-4, "{:?}", &vector[..5]);
    }
    let distance = "SELECT cosine_distance(embed_text('A man is eating food.'), \
                    embed_text('A man is eating a piece of bread.'))";
    assert!((floats(&ctx, distance).await[0] - 0.245).abs() < 0.005);
}

/// 1,000 texts of 2 to 13 words.
const TEXTS: &str = "CREATE TABLE texts AS SELECT i, repeat('word ', 1 + i * 7 % 12) || i AS text \
                     FROM generate_series(1, 1000) AS t(i)";

#[tokio::test]
async fn vectors_do_not_depend_on_batch_or_order() {
    let ctx = session();
    ctx.sql(TEXTS).await.unwrap().collect().await.unwrap();
    // a table keeps its order: of a subquery's ORDER BY the optimizer would know that it does not matter
    let shuffle = "CREATE TABLE shuffled AS SELECT * FROM texts ORDER BY i * 7919 % 1009";
    ctx.sql(shuffle).await.unwrap().collect().await.unwrap();
    let by_id = |table| format!("SELECT e FROM (SELECT i, embed_text(text) AS e FROM {table}) ORDER BY i");
    let together = vectors(&ctx, &by_id("texts")).await;
    let shuffled = vectors(&ctx, &by_id("shuffled")).await;
    assert_eq!((together.len(), shuffled.len()), (1000, 1000));
    let difference =
        |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0_f32, |largest, (a, b)| largest.max((a - b).abs()));
    let mut largest = 0_f32;
    for (a, b) in together.iter().zip(&shuffled) {
        largest = largest.max(difference(a, b));
    }
    for i in (1..=1000).step_by(37) {
        let alone = vectors(&ctx, &format!("SELECT embed_text(text) FROM texts WHERE i = {i}")).await;
        assert_eq!(alone.len(), 1);
        largest = largest.max(difference(&alone[0], &together[i - 1]));
    }
    assert!(largest < 1e-5, "{largest}");
}

#[tokio::test]
async fn the_int8_variant_is_close_and_shares_the_space() {
    let ctx = session();
    let sql = "SELECT cosine_distance(embed_text(t), embed_text(t, 'all-MiniLM-L6-v2@int8')) \
               FROM (VALUES ('A man is eating food.'), ('What is Daft?'), ('sea')) AS v(t)";
    for distance in floats(&ctx, sql).await {
        assert!(distance > 0.0 && distance < 0.02, "{distance}");
    }
}

#[tokio::test]
async fn an_option_prefers_a_variant_and_a_name_demands_one() {
    let ctx = session();
    let sql = "SELECT cosine_distance(embed_text('sea'), embed_text('sea', 'all-MiniLM-L6-v2@fp32'))";
    assert!(floats(&ctx, sql).await[0].abs() < 1e-6);
    ctx.sql("SET semantic.model_variant = 'int8'").await.unwrap();
    let distance = floats(&ctx, sql).await[0];
    assert!(distance > 1e-4 && distance < 0.02, "{distance}");
    // the image models have no such variant
    let photo = "SELECT cosine_distance(embed_image(download('sql/data/photos/cat.png')), embed_text('cat'))";
    assert!(floats(&ctx, photo).await[0] < 1.0);
    ctx.sql("SET semantic.model_variant = ''").await.unwrap();
    assert!(floats(&ctx, sql).await[0].abs() < 1e-6);
    for (option, value, expected) in [
        ("model_variant", "int7", "must be empty or one of fp32, fp16, int8, q4, found 'int7'"),
        ("threads", "0", "must be a number from 1, found '0'"),
        ("memory_arena", "some", "must be true or false, found 'some'"),
    ] {
        let error = ctx.sql(&format!("SET semantic.{option} = '{value}'")).await.unwrap_err().to_string();
        assert!(error.contains(&format!("semantic.{option} {expected}")), "{error}");
    }
}

#[tokio::test]
async fn threads_and_memory_arena_change_no_vector() {
    let ctx = session();
    let sql = "SELECT embed_text(concat('Document number ', i)) FROM generate_series(1, 100) AS t(i)";
    let expected = vectors(&ctx, sql).await;
    for option in ["threads = 1", "threads = 5", "memory_arena = false"] {
        ctx.sql(&format!("SET semantic.{option}")).await.unwrap();
        for (found, expected) in vectors(&ctx, sql).await.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-5, "{option}");
        }
    }
}

#[tokio::test]
async fn an_empty_text_embeds_and_null_does_not() {
    let ctx = session();
    let sql =
        "SELECT CAST(embed_text(t) IS NULL AS DOUBLE) FROM (VALUES (1, ''), (2, NULL)) AS v(i, t) ORDER BY i";
    assert_eq!(floats(&ctx, sql).await, [0.0, 1.0]);
}

#[tokio::test]
async fn text_finds_photos() {
    let ctx = session();
    let photos = "CREATE TABLE photos AS SELECT path, download(path) AS img FROM glob('sql/data/photos/*')";
    ctx.sql(photos).await.unwrap().collect().await.unwrap();
    for (text, expected) in [
        ("a photo of a cat", "cat.png"),
        ("a cup of coffee", "coffee.jpg"),
        ("a rocket launch", "rocket.tiff"),
    ] {
        let sql = format!(
            "SELECT path FROM photos ORDER BY cosine_distance(embed_image(img), embed_text('{text}')) LIMIT 1"
        );
        let batches = ctx.sql(&sql).await.unwrap().collect().await.unwrap();
        let path = datafusion::arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap();
        assert!(path.ends_with(expected), "{text}: {path}");
    }
}

#[tokio::test]
async fn spaces_are_not_mixed() {
    let ctx = session();
    let sql = "SELECT cosine_distance(embed_image(x'00', 'efficientnet-lite0'), embed_text('x'))";
    let error = ctx.sql(sql).await.unwrap_err().to_string();
    assert!(error.contains("vectors of different dimensions, 1280 and 384"), "{error}");
}

#[tokio::test]
async fn a_model_of_the_other_kind_names_the_right_function() {
    let ctx = session();
    let error = ctx.sql("SELECT embed_text('x', 'efficientnet-lite0')").await.unwrap_err().to_string();
    assert!(
        error.contains("embed_text: model 'efficientnet-lite0' embeds images, not text: use embed_image"),
        "{error}"
    );
    let error = ctx.sql("SELECT embed_image(x'00', 'all-MiniLM-L6-v2')").await.unwrap_err().to_string();
    assert!(error.contains("embeds text, not images: use embed_text"), "{error}");
}

/// A home of its own, with the runtime and the models of the tests.
fn home() -> tempfile::TempDir {
    drop(session());
    let home = tempfile::tempdir().unwrap();
    for folder in ["models", "onnxruntime"] {
        std::os::unix::fs::symlink(home_of_the_tests().join(folder), home.path().join(folder)).unwrap();
    }
    home
}

/// The first number of a text's vector, in a process and a home of its own.
fn first_number(home: &std::path::Path) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
    command.args(["-q", "--format", "csv", "-c", "SELECT embed_text('A man is eating food.')[1]"]);
    let output = command.env("SEMSQL_HOME", home).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    answer.trim().lines().last().unwrap().parse().unwrap()
}

/// The files of the optimised graphs in a home, with the time of their change.
fn optimized(home: &std::path::Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut files = Vec::new();
    let mut folders = vec![home.join("optimized")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => files.push((entry.path(), entry.metadata().unwrap().modified().unwrap())),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_graph_is_optimised_once_and_the_result_is_used() {
    let home = home();
    let expected = 0.033_241_6;
    assert!((first_number(home.path()) - expected).abs() < 1e-4);
    let made = optimized(home.path());
    let names: Vec<_> = made.iter().map(|(path, _)| path.file_name().unwrap().to_owned()).collect();
    // and beside them where it is from
    assert_eq!(names, ["model.onnx", "model.weights", "source"]);
    assert!((first_number(home.path()) - expected).abs() < 1e-4);
    assert_eq!(optimized(home.path()), made);
    // what is broken is made again
    std::fs::write(&made[0].0, "not a graph").unwrap();
    assert!((first_number(home.path()) - expected).abs() < 1e-4);
    assert!(std::fs::metadata(&made[0].0).unwrap().len() > 1000);
}

/// Where the cache folder cannot be written, the graph itself is loaded.
#[test]
fn a_cache_folder_that_cannot_be_written_costs_time_only() {
    let home = home();
    std::fs::write(home.path().join("optimized"), "in the way").unwrap();
    assert!((first_number(home.path()) - 0.033_241_6).abs() < 1e-4);
}

/// Runs the command in a home of its own.
fn semsql(home: &std::path::Path, environment: &[(&str, &str)], sql: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
    command.args(["-c", sql]).env("SEMSQL_HOME", home).env_remove("ORT_DYLIB_PATH");
    // nobody is there: what is missing is not fetched
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HUB_CACHE", home.join("none"));
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Nothing is loaded before it is needed: a broken runtime is found by a call, not by a start or a plan.
#[test]
fn the_runtime_is_loaded_on_first_use_only() {
    drop(session());
    let run = |sql: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
        command.args(["-c", sql]).env("ORT_DYLIB_PATH", "/nowhere").output().unwrap().status.success()
    };
    assert!(run("SELECT 1"));
    assert!(run("EXPLAIN SELECT embed_text('x') FROM (VALUES (1), (2)) AS t(i)"));
    assert!(run("SELECT embed_text(NULL), embed_text(t) FROM (VALUES (1, 'x')) AS v(i, t) WHERE i > 1"));
    assert!(!run("SELECT embed_text('x')"));
}

#[test]
fn an_empty_home_names_the_paths_tried_and_the_command() {
    let home = tempfile::tempdir().unwrap();
    let error = semsql(home.path(), &[], "SELECT embed_text('x')");
    let models = home.path().join("models").display().to_string();
    assert!(error.contains(&models) && error.contains("make setup"), "{error}");
}

#[test]
fn a_missing_runtime_names_the_paths_tried_and_the_command() {
    drop(session());
    let home = tempfile::tempdir().unwrap();
    let models = home_of_the_tests().join("models");
    std::os::unix::fs::symlink(models, home.path().join("models")).unwrap();
    let error =
        semsql(home.path(), &[("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")], "SELECT embed_text('x')");
    assert!(
        error.contains("looked for /nowhere/libonnxruntime.so") && error.contains("make setup"),
        "{error}"
    );
}

#[test]
fn a_broken_graph_and_a_missing_file_name_the_file() {
    let home = tempfile::tempdir().unwrap();
    let minilm = home_of_the_tests().join("models/sentence-transformers/all-MiniLM-L6-v2");
    let folder = home.path().join("models/broken");
    std::fs::create_dir_all(folder.join("onnx")).unwrap();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(minilm.join(file), folder.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(home_of_the_tests().join("onnxruntime"), home.path().join("onnxruntime"))
        .unwrap();
    let graph = folder.join("onnx/model.onnx");
    let error = semsql(home.path(), &[], "SELECT embed_text('x', 'broken')");
    assert!(error.contains(&format!("model 'broken' has no file {}", graph.display())), "{error}");
    std::fs::write(&graph, "not a graph").unwrap();
    let error = semsql(home.path(), &[], "SELECT embed_text('x', 'broken')");
    assert!(error.contains(&format!("cannot load the model {}", graph.display())), "{error}");
    std::fs::write(folder.join("sentence_bert_config.json"), r#"{"max_seq_length": 0}"#).unwrap();
    let error = semsql(home.path(), &[], "SELECT embed_text('x', 'broken')");
    assert!(error.contains("at most 0 tokens"), "{error}");
    std::fs::remove_file(folder.join("sentence_bert_config.json")).unwrap();
    std::fs::copy(minilm.join("onnx/model.onnx"), &graph).unwrap();
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    let error = semsql(home.path(), &[], "SELECT embed_text('x', 'broken')");
    assert!(error.contains(&format!("has no file {}", folder.join("tokenizer.json").display())), "{error}");
    std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let error = semsql(home.path(), &[], "SELECT embed_text('x', 'broken')");
    assert!(error.contains("cannot use tokenizer.json of model 'broken'"), "{error}");
    std::fs::write(folder.join("config.json"), "{").unwrap();
    let error = semsql(home.path(), &[], "SELECT embed_text('x', 'broken')");
    assert!(error.contains(&format!("cannot use {}", folder.join("config.json").display())), "{error}");
}

/// The cache folder that the tests use.
pub(crate) fn home_of_the_tests() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let xdg = set("XDG_CACHE_HOME").filter(|cache| cache.is_absolute());
    set("SEMSQL_HOME")
        .or_else(|| xdg.map(|cache| cache.join("semsql")))
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/semsql"))
}
