//! Folders that are broken: each is an error that names what is wrong, and none a panic. The whole ones that they are made
//! of are those of `tests/data/architectures`, whose vectors are tested by the integration tests.
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::folder::Tower;
use super::onnx::ModelProto;
use super::{Config, build, outline};
use crate::models::safetensors_files::{INDEX, SINGLE};

fn stored(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/architectures").join(name)
}

/// A copy of a whole model.
fn model(name: &str) -> tempfile::TempDir {
    let from = stored(name);
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// Changes the header of a safetensors file; what follows it stays.
fn edit_header(path: &Path, edit: impl FnOnce(&mut Value)) {
    let bytes = std::fs::read(path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
    let mut header = serde_json::from_slice(&rest[..length]).unwrap();
    edit(&mut header);
    let header = header.to_string().into_bytes();
    let mut made = (header.len() as u64).to_le_bytes().to_vec();
    made.extend(header);
    made.extend(&rest[length..]);
    std::fs::write(path, made).unwrap();
}

fn error(folder: &Path, tower: Tower) -> String {
    build(folder, tower).unwrap_err().to_string()
}

/// The error of a model whose `config.json` has another value for a key; `/text_config/hidden_act` is one in a section.
fn with_config(name: &str, tower: Tower, key: &str, value: Value) -> String {
    let model = model(name);
    edit_json(&model.path().join("config.json"), |config| {
        let (section, key) = key.rsplit_once('/').unwrap();
        config.pointer_mut(section).unwrap()[key] = value;
    });
    let error = error(model.path(), tower);
    assert!(error.contains("config.json") || error.contains(SINGLE), "{error}");
    error
}

/// The error of a model whose safetensors file has another header.
fn with_header(edit: impl FnOnce(&mut Value)) -> String {
    let model = model("bert");
    edit_header(&model.path().join(SINGLE), edit);
    let error = error(model.path(), Tower::Text);
    assert!(error.contains(SINGLE), "{error}");
    error
}

#[test]
fn every_model_is_built_and_says_its_dimensions() {
    let models = stored("");
    let mut built = 0;
    for entry in std::fs::read_dir(models).unwrap() {
        let folder = entry.unwrap().path();
        let config = Config::read(&folder).unwrap();
        for tower in [Tower::Text, Tower::Image] {
            let Some(outline) = outline(&config, tower).unwrap() else { continue };
            assert!([12, 16].contains(&outline.dimensions), "{}", folder.display());
            // the weights are not in it
            let onnx = build(&folder, tower).unwrap().onnx;
            assert!(onnx.len() < 60_000);
            let graph = <ModelProto as prost::Message>::decode(&onnx[..]).unwrap().graph.unwrap();
            assert!(graph.initializer.iter().all(|tensor| tensor.name.len() < 100), "{}", folder.display());
            built += 1;
        }
    }
    assert_eq!(built, 21);
}

/// ONNX Runtime computes what depends on weights alone once, and keeps it: of a table it would keep 32-bit floats.
#[test]
fn tables_of_16_bit_floats_stay_what_they_are() {
    for (model, table) in
        [("bert-f16", "bert.embeddings.word_embeddings.weight"), ("static-plain", "embeddings")]
    {
        let onnx = build(&stored(model), Tower::Text).unwrap().onnx;
        let graph = <ModelProto as prost::Message>::decode(&onnx[..]).unwrap().graph.unwrap();
        let users = graph.node.iter().filter(|node| node.input.iter().any(|input| input == table));
        let users: Vec<&str> = users.map(|node| node.op_type.as_str()).collect();
        assert_eq!(users, ["Gather"], "{model}");
    }
}

#[test]
fn positions_of_near_tokens_turn_as_all_do_where_nothing_else_is_said() {
    let built = |near: Value| {
        let model = model("modernbert");
        edit_json(&model.path().join("config.json"), |config| {
            config.as_object_mut().unwrap().remove("rope_parameters");
            config["global_rope_theta"] = json!(80_000.0);
            config["local_rope_theta"] = near;
        });
        build(model.path(), Tower::Text).unwrap().onnx
    };
    assert_eq!(built(Value::Null), built(json!(80_000.0)));
    assert_ne!(built(Value::Null), built(json!(10_000.0)));
}

#[test]
fn a_configuration_that_says_too_little_or_nonsense() {
    for (name, tower, key, value, expected) in [
        ("bert", Tower::Text, "/model_type", json!("t5"), "model_type is 't5', known are bert, roberta"),
        ("bert", Tower::Image, "/model_type", json!("bert"), "cannot build a graph for images"),
        ("bert", Tower::Text, "/model_type", json!(5), "model_type is 5, expected a string"),
        ("bert", Tower::Text, "/vocab_size", Value::Null, "it has no vocab_size"),
        ("nomic-bert-hub", Tower::Text, "/n_embd", Value::Null, "it has no n_embd or hidden_size"),
        (
            "bert",
            Tower::Text,
            "/hidden_size",
            json!("16"),
            "hidden_size is \"16\", expected a whole number from 1",
        ),
        ("bert", Tower::Text, "/hidden_size", json!(0), "hidden_size is 0, expected a whole number from 1"),
        ("bert", Tower::Text, "/vocab_size", json!(1e30), "vocab_size is 1e+30, expected a whole number"),
        (
            "bert",
            Tower::Text,
            "/layer_norm_eps",
            json!("small"),
            "layer_norm_eps is \"small\", expected a number",
        ),
        (
            "bert",
            Tower::Text,
            "/num_attention_heads",
            json!(3),
            "16 dimensions cannot be shared by 3 attention heads",
        ),
        ("clip", Tower::Text, "/text_config", json!(7), "text_config is 7, expected an object"),
        // what is left out is as its library has it
        ("clip", Tower::Text, "/text_config", json!({}), "expected [49408, 512]"),
        ("clip", Tower::Image, "/vision_config", json!({}), "expected [768, 3, 32, 32]"),
        ("siglip", Tower::Text, "/text_config", json!({}), "expected [32000, 768]"),
        ("siglip", Tower::Image, "/vision_config", json!({}), "expected [768, 3, 16, 16]"),
        (
            "clip",
            Tower::Image,
            "/vision_config/patch_size",
            json!([8, 4]),
            "vision_config.patch_size is [8,4]",
        ),
        (
            "clip",
            Tower::Image,
            "/vision_config/patch_size",
            json!(17),
            "patch_size 17 is more than image_size 16",
        ),
        ("modernbert", Tower::Text, "/layer_types", json!(["full_attention"]), "layer_types has 1 layers"),
        ("modernbert", Tower::Text, "/layer_types", json!([1, 2]), "expected a list of strings"),
        ("clip", Tower::Text, "/text_config/eos_token_id", json!("</s>"), "expected the number of a token"),
        ("nomic-bert-hub", Tower::Text, "/prenorm", json!("no"), "prenorm is \"no\", expected true or false"),
    ] {
        let error = with_config(name, tower, key, value);
        assert!(error.contains(expected), "{error}");
    }
    let broken = model("bert");
    std::fs::write(broken.path().join("config.json"), "[]").unwrap();
    assert!(error(broken.path(), Tower::Text).contains("config.json: invalid type"));
}

#[test]
fn what_is_not_built_is_said() {
    for (name, tower, key, value, expected) in [
        ("bert", Tower::Text, "/hidden_act", json!("mish"), "activation 'mish' is not known"),
        (
            "bert",
            Tower::Text,
            "/position_embedding_type",
            json!("relative_key"),
            "'relative_key', not 'absolute'",
        ),
        ("bert", Tower::Text, "/is_decoder", json!(true), "is_decoder is true"),
        ("roberta", Tower::Text, "/is_decoder", json!(true), "is_decoder is true"),
        (
            "nomic-bert-hub",
            Tower::Text,
            "/rope_scaling",
            json!({ "type": "linear" }),
            "rope_type is 'linear'",
        ),
        ("nomic-bert", Tower::Text, "/rope_scaling", json!({ "factor": 2.0 }), "are scaled by a factor"),
        ("modernbert", Tower::Text, "/rope_scaling", json!({ "rope_type": "yarn" }), "rope_type is 'yarn'"),
        (
            "modernbert",
            Tower::Text,
            "/rope_parameters",
            json!({ "rope_theta": 5.0 }),
            "rope_parameters has no section for each kind of layer",
        ),
        ("nomic-bert-hub", Tower::Text, "/num_experts", json!(8), "it is a mixture of experts"),
        ("nomic-bert-hub", Tower::Text, "/prenorm", json!(true), "prenorm is true"),
        ("nomic-bert-hub", Tower::Text, "/rotary_emb_fraction", json!(0.5), "rotary_emb_fraction is 0.5"),
        ("nomic-bert-hub", Tower::Text, "/n_head", json!(16), "a head has 1 numbers, which are no pairs"),
        ("nomic-bert", Tower::Text, "/rope_parameters/rope_type", json!("yarn"), "rope_type is 'yarn'"),
        ("modernbert", Tower::Text, "/layer_types/0", json!("linear"), "layer_types has 'linear'"),
        ("siglip", Tower::Image, "/vision_config/vision_use_head", json!(false), "vision_use_head is false"),
        ("aimv2", Tower::Image, "/vision_config/is_native", json!(true), "is_native is true"),
        ("vit", Tower::Image, "/num_channels", json!(1), "num_channels is 1, not 3"),
    ] {
        let error = match key.rsplit_once('/').unwrap() {
            (section, index) if index.parse::<usize>().is_ok() => {
                let key = section.rsplit('/').next().unwrap();
                let kinds = json!([value, "full_attention", "full_attention", "full_attention"]);
                with_config(name, tower, &format!("/{key}"), kinds)
            }
            _ => with_config(name, tower, key, value),
        };
        assert!(error.contains(expected) && error.contains("export the model to ONNX"), "{error}");
    }
}

#[test]
fn weights_that_contradict_the_configuration() {
    for (key, value, expected) in [
        (
            "/intermediate_size",
            json!(25),
            "a tensor 'encoder.layer.0.intermediate.dense.weight' of shape [24, 16], expected [25, 16]",
        ),
        ("/num_hidden_layers", json!(3), "no tensor 'encoder.layer.2.attention.self.query.weight'"),
        ("/num_hidden_layers", json!(2_000_000_000), "no tensor 'encoder.layer.2."),
        ("/max_position_embeddings", json!(64), "of shape [32, 16], expected [64, 16]"),
    ] {
        let error = with_config("bert", Tower::Text, key, value);
        assert!(error.contains(expected), "{error}");
    }
    let word = "embeddings.word_embeddings.weight";
    let renamed = with_header(|header| {
        let table = header.as_object_mut().unwrap().remove(word).unwrap();
        header["embeddings.words"] = table;
    });
    assert!(renamed.contains(&format!("has no tensor '{word}'")), "{renamed}");
    let integers = with_header(|header| header[word]["dtype"] = json!("I32"));
    assert!(
        integers.contains(&format!("tensor '{word}' is of type I32, expected F32, F16, BF16")),
        "{integers}"
    );
    let flat = with_header(|header| header[word]["shape"] = json!([24 * 16]));
    assert!(flat.contains("of shape [384], expected [24, 16]"), "{flat}");
}

#[test]
fn safetensors_files_that_lie_or_are_damaged() {
    let word = "embeddings.word_embeddings.weight";
    for (edit, expected) in [
        (json!({ "shape": [25, 16] }), "its header"),
        (json!({ "shape": [u64::MAX, 16] }), "its header"),
        (json!({ "data_offsets": [0, u64::MAX] }), "its header"),
        (json!({ "data_offsets": [8, 1544] }), "its header"),
        (json!({ "dtype": "F99" }), "its header"),
    ] {
        let error = with_header(|header| {
            header[word].as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
        });
        assert!(error.contains(expected), "{error}");
    }
    let model = model("bert");
    let (folder, path) = (model.path(), model.path().join(SINGLE));
    let whole = std::fs::read(&path).unwrap();
    for (bytes, expected) in [
        (whole[..whole.len() - 1].to_vec(), "it is cut short or damaged"),
        ([&whole[..], b"more"].concat(), "it is cut short or damaged"),
        (whole[..5].to_vec(), "it has 5 bytes, too few for a safetensors file"),
        (vec![], "it has 0 bytes, too few"),
        (b"version https://git-lfs.github.com/spec/v1".to_vec(), "it is damaged, or no safetensors file"),
        ([&10_u64.to_le_bytes()[..], b"not a JSON!"].concat(), "its header: "),
        (u64::MAX.to_le_bytes().to_vec(), "it says that its header has 18446744073709551615 bytes"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = error(folder, Tower::Text);
        assert!(error.contains(SINGLE) && error.contains(expected), "{error}");
    }
    for (bytes, expected) in [(20_000_000, "says that its header has 15000000 bytes"), (7, "it has 7 bytes")]
    {
        std::fs::write(&path, 15_000_000_u64.to_le_bytes()).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(bytes).unwrap();
        let error = error(folder, Tower::Text);
        assert!(error.contains(expected), "{error}");
    }
    let config = folder.join("config.json");
    std::fs::File::options().write(true).open(&config).unwrap().set_len(20_000_000).unwrap();
    let large = error(folder, Tower::Text);
    assert!(large.contains("config.json: it has 20000000 bytes, expected 10000000 at most"), "{large}");
    std::fs::copy(stored("bert").join("config.json"), &config).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(
        error(folder, Tower::Text).contains("has neither model.safetensors nor model.safetensors.index.json")
    );
}

#[test]
fn an_index_of_several_files_that_is_wrong() {
    let model = model("bert-f16");
    let (folder, index) = (model.path(), model.path().join(INDEX));
    let first = "model-00001-of-00002.safetensors";
    let whole = std::fs::read(&index).unwrap();
    for (file, expected) in [
        ("../x.safetensors", "it names the file '../x.safetensors', expected a safetensors file beside it"),
        ("/x.safetensors", "it names the file '/x.safetensors'"),
        ("pytorch_model.bin", "it names the file 'pytorch_model.bin'"),
        ("missing.safetensors", "missing.safetensors: No such file"),
    ] {
        edit_json(&index, |index| index["weight_map"]["bert.pooler.dense.weight"] = json!(file));
        let error = error(folder, Tower::Text);
        assert!(error.contains(expected), "{error}");
        std::fs::write(&index, &whole).unwrap();
    }
    // a pipe would be waited for
    let pipe = folder.join("pipe.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    edit_json(&index, |index| index["weight_map"]["bert.pooler.dense.weight"] = json!("pipe.safetensors"));
    let of_pipe = error(folder, Tower::Text);
    assert!(of_pipe.contains("pipe.safetensors: it is no file"), "{of_pipe}");
    std::fs::write(&index, r#"{"weight_map": []}"#).unwrap();
    assert!(error(folder, Tower::Text).contains("model.safetensors.index.json: invalid type"));
    std::fs::write(&index, &whole).unwrap();
    std::fs::copy(folder.join(first), folder.join("model-00002-of-00002.safetensors")).unwrap();
    assert!(error(folder, Tower::Text).contains("another file has a tensor '"));
}
