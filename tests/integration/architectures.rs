//! Models without an ONNX file: a graph is built for their weights. The models of `tests/data/architectures` are tiny and
//! random, and have the vectors that their own library makes of a few inputs: see `tests/architectures.py`.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::local_models::home_of_the_tests;

/// What is done to a model's folder.
type Change<'a> = &'a dyn Fn(&Path);

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

fn expected(model: &Path) -> Expected {
    serde_json::from_slice(&std::fs::read(model.join("expected.json")).unwrap()).unwrap()
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
    let expected = expected(model);
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

/// Other weights, made by the libraries themselves where they are installed: `PYTHON` or `python3` is asked for them.
#[test]
fn weights_made_now_give_the_vectors_of_their_own_library() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let libraries =
        ["-c", "import model2vec, torch, transformers; assert int(transformers.__version__[0]) > 4"];
    let installed = Command::new(&python).args(libraries).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} has not torch, transformers 5 and model2vec; set PYTHON to one that has");
        return;
    }
    let models = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/architectures.py");
    let made = Command::new(&python).arg(script).arg(models.path()).arg("1").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    check_all(models.path());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// Renames tensors of a safetensors file.
fn rename_tensors(path: &Path, rename: impl Fn(&str) -> String) {
    let bytes = std::fs::read(path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, data) =
        rest.split_at(usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap());
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let header: serde_json::Map<String, Value> =
        header.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], header.as_bytes(), data].concat()).unwrap();
}

fn without(value: &mut Value, keys: &[&str]) {
    for key in keys {
        assert!(value.as_object_mut().unwrap().remove(*key).is_some(), "{key}");
    }
}

/// The files of published models say the same in other words than those that the libraries write now, and leave out what
/// the library takes for granted.
#[test]
fn other_words_of_published_files_give_the_same_vectors() {
    type Edit = fn(&Path);
    let config = |edit: fn(&mut Value)| move |folder: &Path| edit_json(&folder.join("config.json"), edit);
    let modernbert = config(|config| {
        without(config, &["rope_parameters", "layer_types"]);
        config["global_rope_theta"] = json!(160_000.0);
        config["local_rope_theta"] = json!(10_000.0);
        config["global_attn_every_n_layers"] = json!(3);
    });
    let nomic = config(|config| {
        without(config, &["rope_parameters"]);
        config["rope_theta"] = json!(1000.0);
    });
    // its end is the token of the largest number
    let clip = config(|config| {
        config["text_config"]["eos_token_id"] = json!(2);
        without(
            &mut config["text_config"],
            &["hidden_act", "layer_norm_eps", "bos_token_id", "pad_token_id"],
        );
        without(&mut config["vision_config"], &["hidden_act", "layer_norm_eps", "num_channels"]);
    });
    let siglip: Edit = |folder| {
        edit_json(&folder.join("config.json"), |config| {
            let both = ["hidden_act", "layer_norm_eps"];
            without(&mut config["text_config"], &[&both[..], &["projection_size", "pad_token_id"]].concat());
            without(
                &mut config["vision_config"],
                &[&both[..], &["num_channels", "vision_use_head"]].concat(),
            );
        });
        edit_json(&folder.join("tokenizer_config.json"), |config| without(config, &["pad_token"]));
    };
    let tensorflow: Edit = |folder| {
        rename_tensors(&folder.join("model.safetensors"), |name| match name.rsplit_once(".LayerNorm.") {
            Some((layer, "weight")) => format!("{layer}.LayerNorm.gamma"),
            Some((layer, _)) => format!("{layer}.LayerNorm.beta"),
            None => name.to_owned(),
        });
    };
    // the library counts positions from behind token 1 all the same
    let mpnet = config(|config| config["pad_token_id"] = json!(0));
    let variants: [(&str, Change<'_>); 6] = [
        ("modernbert", &modernbert),
        ("nomic-bert", &nomic),
        ("clip", &clip),
        ("siglip", &siglip),
        ("bert", &tensorflow),
        ("mpnet", &mpnet),
    ];
    let home = home();
    for (name, edit) in variants {
        let model = tempfile::tempdir().unwrap();
        copy(&stored().join(name), model.path());
        edit(model.path());
        assert_eq!(check(home.path(), model.path()), [""; 0], "{name}");
    }
}

/// In the cache of Hugging Face's own library a model's files are links to files that are called by their hash.
#[test]
fn links_to_weights_are_followed() {
    let (home, models) = (home(), tempfile::tempdir().unwrap());
    let (blobs, snapshot) = (models.path().join("blobs"), models.path().join("snapshots/1"));
    copy(&stored().join("bert-f16"), &snapshot);
    std::fs::create_dir(&blobs).unwrap();
    for (part, hash) in [("1", "5f2e"), ("2", "90ab")] {
        let file = snapshot.join(format!("model-0000{part}-of-00002.safetensors"));
        std::fs::rename(&file, blobs.join(hash)).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{hash}"), &file).unwrap();
    }
    assert_eq!(check(home.path(), &snapshot), [""; 0]);
}

/// Nothing is remembered of a model that is not so any more.
#[test]
fn another_configuration_or_other_weights_are_another_model() {
    let (home, model) = (home(), tempfile::tempdir().unwrap());
    copy(&stored().join("bert"), model.path());
    let sql = embed_texts(&expected(model.path()).texts, model.path());
    let vectors = || vectors(home.path(), &sql);
    let first = vectors();
    let (config, weights) = (model.path().join("config.json"), model.path().join("model.safetensors"));
    let written = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, written.replace("\"gelu\"", "\"relu\"")).unwrap();
    assert!(largest_difference(&vectors(), &first) > 1e-2);
    std::fs::write(&config, written).unwrap();
    assert_eq!(vectors(), first);
    let mut bytes = std::fs::read(&weights).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0);
    std::fs::write(&weights, bytes).unwrap();
    assert!(largest_difference(&vectors(), &first) > 1e-2);
}

/// Attention takes the square of a text's length, for a run.
#[cfg(target_os = "linux")]
#[test]
fn the_memory_of_long_texts_is_given_back() {
    let (home, model) = (home(), tempfile::tempdir().unwrap());
    copy(&stored().join("nomic-bert"), model.path());
    // with 4 heads 290 MB of scores
    edit_json(&model.path().join("config.json"), |config| config["max_position_embeddings"] = json!(4400));
    std::fs::remove_file(model.path().join("tokenizer_config.json")).unwrap();
    let resident = |words: usize| {
        let model = model.path().display();
        let embed = format!("SELECT embed_text(repeat('sea ', {words}), model => '{model}') IS NULL AS v");
        let status = "SELECT arrow_cast(arrow_cast(content, 'Binary'), 'Utf8') AS v FROM read_blob('/proc/self/status')";
        let output = semsql(home.path(), &format!("{embed}; {status}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows = String::from_utf8(output.stdout).unwrap();
        let megabytes = |name: &str| {
            let line = rows.split("\\n").find_map(|line| line.strip_prefix(name)).unwrap();
            line.replace("\\t", " ").split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
        };
        (megabytes("VmRSS:"), megabytes("VmHWM:"))
    };
    let ((before, _), (after, most)) = (resident(10), resident(4300));
    println!("{before} MB after a short text; {most} MB at most, {after} MB after a long one");
    assert!(most > before + 500 && after < before + 150, "{before}, {most}, {after} MB");
}

/// Where the cache folder cannot be written, the graph is built for each start; nothing is written beside the weights.
#[test]
fn a_cache_folder_that_cannot_be_written_costs_time_only() {
    let (home, model) = (home(), tempfile::tempdir().unwrap());
    std::fs::write(home.path().join("optimized"), "in the way").unwrap();
    copy(&stored().join("bert-f16"), model.path());
    let files = || std::fs::read_dir(model.path()).unwrap().count();
    let before = files();
    assert_eq!(check(home.path(), model.path()), [""; 0]);
    assert_eq!(files(), before);
}

#[test]
fn broken_weights_and_unknown_families_are_errors_of_the_query() {
    let (home, model) = (home(), tempfile::tempdir().unwrap());
    copy(&stored().join("bert"), model.path());
    let sql = embed_texts(&["sea".to_owned()], model.path());
    let weights = model.path().join("model.safetensors");
    std::fs::write(&weights, "no weights").unwrap();
    let found = error(home.path(), &sql);
    assert!(found.contains(&format!("embed_text: cannot use {}: ", weights.display())), "{found}");
    let config = r#"{"model_type": "t5", "hidden_size": 16}"#;
    std::fs::write(model.path().join("config.json"), config).unwrap();
    let found = error(home.path(), &sql);
    assert!(found.contains("model_type is 't5', known are bert"), "{found}");
}

/// all-MiniLM-L6-v2 from the weights in its ONNX file, written as safetensors.
#[test]
fn the_weights_of_minilm_alone_give_its_vectors() {
    let (home, model) = (home(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(home_of_the_tests().join("models"), home.path().join("models")).unwrap();
    let minilm = home_of_the_tests().join("models/sentence-transformers/all-MiniLM-L6-v2");
    copy(&minilm, model.path());
    copy(&minilm.join("1_Pooling"), &model.path().join("1_Pooling"));
    let graph = std::fs::read(minilm.join("onnx/model.onnx")).unwrap();
    let tensors: Vec<(String, Tensor)> = initializers(&graph);
    assert_eq!(tensors.len(), 101);
    let views = tensors.iter().map(|(name, tensor)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), &tensor.data);
        (name, view.unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(model.path().join("model.safetensors"), file).unwrap();
    let similarities = format!(
        "SELECT [1 - cosine_distance(as_embedding(embed_text(t), 'a'), \
         as_embedding(embed_text(t, model => '{}'), 'a'))] AS v \
         FROM (SELECT repeat('word ' || i || ' ', 1 + i * 7 % 40) AS t FROM generate_series(1, 60) AS s(i))",
        model.path().display()
    );
    let similarities = vectors(home.path(), &similarities);
    assert_eq!(similarities.len(), 60);
    assert!(similarities.iter().all(|similarity| similarity[0] >= 0.99999), "{similarities:?}");
}

/// The numbers of a tensor, row by row, as bytes.
struct Tensor {
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// `ModelProto`, `GraphProto` and `TensorProto`, what is needed of them.
#[derive(Clone, PartialEq, prost::Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TensorProto {
    #[prost(uint64, repeated, packed = "false", tag = "1")]
    dims: Vec<u64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

/// The weights of a graph of `make setup` under the names that they were trained with: those of linear layers are
/// transposed in it.
fn initializers(graph: &[u8]) -> Vec<(String, Tensor)> {
    let model = <ModelProto as prost::Message>::decode(graph).unwrap();
    let tensors = model.graph.unwrap().initializer.into_iter();
    let weights = tensors.filter(|tensor| tensor.data_type == 1 && tensor.name.contains('.'));
    weights
        .map(|tensor| {
            let shape: Vec<usize> = tensor.dims.iter().map(|&side| usize::try_from(side).unwrap()).collect();
            let (rows, _) = tensor.raw_data.as_chunks::<4>();
            match tensor.name.strip_suffix("_T") {
                None => (tensor.name, Tensor { shape, data: tensor.raw_data }),
                Some(name) => {
                    let columns = shape[1];
                    let data = (0..columns).flat_map(|column| rows.iter().skip(column).step_by(columns));
                    let data = data.flatten().copied().collect();
                    (name.to_owned(), Tensor { shape: vec![columns, shape[0]], data })
                }
            }
        })
        .collect()
}
