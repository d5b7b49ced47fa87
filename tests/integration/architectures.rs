//! Models without an ONNX file: a graph is built for their weights. The models of `tests/data/architectures` are tiny and
//! random, and have the vectors that their own library makes of a few inputs: see `tests/architectures.py`.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;

use crate::local_models::home_of_the_tests;

/// `expected.json`
#[derive(Deserialize)]
struct Expected {
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    text_vectors: Vec<Vec<f32>>,
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    image_vectors: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Row {
    v: Vec<f32>,
}

/// A cache folder of its own, with the runtime of the tests.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let runtime = home_of_the_tests().join("onnxruntime");
    assert!(runtime.is_dir(), "the tests need ONNX Runtime: run `make setup` first");
    std::os::unix::fs::symlink(runtime, home.path().join("onnxruntime")).unwrap();
    home
}

fn semsql(home: &Path, sql: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
    command.args(["-q", "--format", "ndjson", "-c", sql]).env("SEMSQL_HOME", home);
    command.output().unwrap()
}

fn vectors(home: &Path, sql: &str) -> Vec<Vec<f32>> {
    let output = semsql(home, sql);
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    let rows = String::from_utf8(output.stdout).unwrap();
    rows.lines().map(|row| serde_json::from_str::<Row>(row).unwrap().v).collect()
}

fn error(home: &Path, sql: &str) -> String {
    let output = semsql(home, sql);
    assert!(!output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn embed_texts(texts: &[String], model: &Path) -> String {
    let rows: Vec<String> =
        texts.iter().enumerate().map(|(i, text)| format!("({i}, '{}')", text.replace('\'', "''"))).collect();
    let rows = rows.join(", ");
    let model = model.display();
    format!("SELECT embed_text(t, model => '{model}') AS v FROM (VALUES {rows}) AS v(i, t) ORDER BY i")
}

fn largest_difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    let shape = |vectors: &[Vec<f32>]| vectors.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(shape(found), shape(expected));
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    // a NaN is the largest
    pairs.map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap()
}

/// What is wrong with a model's vectors, which are those of one query for all texts: padding is among them.
fn check(home: &Path, model: &Path) -> Vec<String> {
    let expected = std::fs::read(model.join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&expected).unwrap();
    assert!(!expected.texts.is_empty() || !expected.images.is_empty());
    let mut wrong = Vec::new();
    let mut compare = |what: &str, sql: &str, expected: &[Vec<f32>]| {
        let difference = largest_difference(&vectors(home, sql), expected);
        println!("{} {what}: {difference:e}", model.display());
        if difference.is_nan() || difference > 1e-4 {
            wrong.push(format!("{} {what}: {difference}", model.display()));
        }
    };
    if !expected.texts.is_empty() {
        compare("text", &embed_texts(&expected.texts, model), &expected.text_vectors);
    }
    if !expected.images.is_empty() {
        let model = model.display();
        let sql = format!(
            "SELECT embed_image(content, model => '{model}') AS v FROM read_blob('{model}/*.png') ORDER BY path"
        );
        compare("image", &sql, &expected.image_vectors);
    }
    wrong
}

fn check_all(models: &Path) {
    let home = home();
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 10);
    let wrong: Vec<String> = folders.iter().flat_map(|model| check(home.path(), model)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/architectures")
}

#[test]
fn every_family_gives_the_vectors_of_its_own_library() {
    check_all(&stored());
}
