//! What the files of a model say, and what they say wrongly. Vectors are computed by hand.
use std::path::Path;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Float32Type;
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;
use futures::StreamExt;

use crate::tiny_models::{
    Folder, both_towers_graph, image_tower_graph, table_bytes, text_graph, text_tower_graph, tokenizer,
};

async fn query(ctx: &SessionContext, sql: &str) -> Result<Vec<Vec<f32>>, String> {
    let frame = session::sql(ctx, sql).await.map_err(|error| error.to_string())?;
    let batches = frame.collect().await.map_err(|error| error.to_string())?;
    let rows =
        batches.iter().flat_map(|batch| batch.column(0).as_fixed_size_list().iter().collect::<Vec<_>>());
    Ok(rows.map(|row| row.unwrap().as_primitive::<Float32Type>().values().to_vec()).collect())
}

/// The vector of a text, with further arguments of `embed_text`.
async fn embed(folder: &Folder, text: &str, more: &str) -> Result<Vec<f32>, String> {
    let sql = format!("SELECT embed_text('{text}', model => '{}'{more})", folder.name());
    Ok(query(&session::new().unwrap(), &sql).await?.remove(0))
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    let near = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
    assert!(near, "{what}: {found:?}, expected {expected:?}");
}

/// a (1, 2), b (5, 8), c (3, -1), d (7, 3)
const TEXT: &str = "a b c d";

#[tokio::test]
async fn each_pooling_gives_its_own_vector() {
    for (pooling, expected) in [
        ("mean_tokens", vec![4.0, 3.0]),
        ("cls_token", vec![1.0, 2.0]),
        ("max_tokens", vec![7.0, 8.0]),
        ("mean_sqrt_len_tokens", vec![8.0, 6.0]),
        ("weightedmean_tokens", vec![4.8, 2.7]),
        ("lasttoken", vec![7.0, 3.0]),
    ] {
        let folder = Folder::pooled(&format!(r#"{{"pooling_mode_{pooling}": true}}"#), &[]);
        assert_near(&embed(&folder, TEXT, "").await.unwrap(), &expected, pooling);
    }
    let both = Folder::pooled(r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#, &[]);
    assert_near(&embed(&both, TEXT, "").await.unwrap(), &[1.0, 2.0, 4.0, 3.0], "two at once");
    assert_near(&embed(&Folder::text(), TEXT, "").await.unwrap(), &[4.0, 3.0], "no modules");
}

/// A shorter text is padded to the longer one's length, and padding has a vector too.
#[tokio::test]
async fn padding_counts_for_no_pooling() {
    for (pooling, expected) in
        [("mean_tokens", [1.0, 2.0]), ("max_tokens", [1.0, 2.0]), ("lasttoken", [1.0, 2.0])]
    {
        let folder = Folder::pooled(&format!(r#"{{"pooling_mode_{pooling}": true}}"#), &[]);
        let sql = format!(
            "SELECT embed_text(t, model => '{}') FROM (VALUES (1, 'a'), (2, 'a b c d')) AS v(i, t) ORDER BY i",
            folder.name()
        );
        assert_near(&query(&session::new().unwrap(), &sql).await.unwrap()[0], &expected, pooling);
    }
}

const MEAN: &str = r#"{"pooling_mode_mean_tokens": true}"#;

/// Weights as a file of safetensors, of one layer.
fn dense(weight: [[f32; 2]; 3], bias: [f32; 3]) -> Vec<u8> {
    let header = r#"{"linear.weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]},
                     "linear.bias": {"dtype": "F32", "shape": [3], "data_offsets": [24, 36]}}"#;
    let numbers = weight.into_iter().flatten().chain(bias).flat_map(f32::to_le_bytes);
    let length = (header.len() as u64).to_le_bytes();
    length.into_iter().chain(header.bytes()).chain(numbers).collect()
}

const DENSE: &str = r#"{"in_features": 2, "out_features": 3, "bias": true,
                       "activation_function": "torch.nn.modules.linear.Identity"}"#;

#[tokio::test]
async fn normalisation_and_dense_layers_follow_in_their_order() {
    let normal = Folder::pooled(MEAN, &[("2_Normalize", "Normalize")]);
    assert_near(&embed(&normal, TEXT, "").await.unwrap(), &[0.8, 0.6], "normalised");

    let weights = dense([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [0.0, 0.5, -7.0]);
    let layer = |modules: &[(&str, &str)], config: &str| {
        let folder = Folder::pooled(MEAN, modules);
        folder.write("2_Dense/config.json", config);
        folder.write("2_Dense/model.safetensors", &weights);
        folder
    };
    // of (4, 3)
    let plain = layer(&[("2_Dense", "Dense")], DENSE);
    assert_near(&embed(&plain, TEXT, "").await.unwrap(), &[4.0, 6.5, 0.0], "dense");
    let tanh = layer(&[("2_Dense", "Dense")], &DENSE.replace("linear.Identity", "activation.Tanh"));
    assert_near(&embed(&tanh, TEXT, "").await.unwrap(), &[4_f32.tanh(), 6.5_f32.tanh(), 0.0], "tanh");
    // of (0.8, 0.6), and not normalised again
    let behind = layer(&[("3_Normalize", "Normalize"), ("2_Dense", "Dense")], DENSE);
    assert_near(&embed(&behind, TEXT, "").await.unwrap(), &[0.8, 1.7, -5.6], "normalised first");
}

#[tokio::test]
async fn prompts_are_those_of_the_files_and_else_of_the_options() {
    let folder = Folder::text();
    folder.write(
        "config_sentence_transformers.json",
        r#"{"prompts": {"query": "q ", "passage": "p "}, "default_prompt_name": null}"#,
    );
    // of a (1, 2) with q (2, 0) or p (0, 2)
    for (more, expected) in [
        ("", [1.0, 2.0]),
        (", input_type => 'query'", [1.5, 1.0]),
        (", input_type => 'document'", [0.5, 2.0]),
    ] {
        assert_near(&embed(&folder, "a", more).await.unwrap(), &expected, more);
    }
    folder.write("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true, "include_prompt": false}"#);
    folder.write(
        "modules.json",
        r#"[{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]"#,
    );
    // another file of the same graph: models are kept by it
    std::fs::rename(folder.path().join("onnx/model.onnx"), folder.path().join("model.onnx")).unwrap();
    let without = embed(&folder, "a", ", input_type => 'query'").await.unwrap();
    assert_near(&without, &[1.0, 2.0], "the prompt does not count");

    let ctx = session::new().unwrap();
    let plain = Folder::text();
    let sql = format!("SELECT embed_text('a', model => '{}', input_type => 'query')", plain.name());
    assert_near(&query(&ctx, &sql).await.unwrap()[0], &[1.0, 2.0], "no prompt");
    session::sql(&ctx, "SET semantic.providers.transformers.query_prefix = 'q '").await.unwrap();
    assert_near(&query(&ctx, &sql).await.unwrap()[0], &[1.5, 1.0], "an option's");
    // what sentence-transformers writes for a model without prompts
    plain.write("config_sentence_transformers.json", r#"{"prompts": {"query": "", "document": ""}}"#);
    assert_near(&query(&ctx, &sql).await.unwrap()[0], &[1.5, 1.0], "an option's, not an empty one");
    let error = session::sql(&ctx, "SET semantic.providers.local.base_url = 'http://x'").await.unwrap_err();
    assert!(error.to_string().contains("models on this machine have long_text, query_prefix"), "{error}");
}

#[tokio::test]
async fn letters_are_made_small_where_the_files_say_so() {
    let folder = Folder::text();
    assert_near(&embed(&folder, "A", "").await.unwrap(), &[-1.0, -1.0], "as it is");
    let small = Folder::text();
    small.write("sentence_bert_config.json", r#"{"do_lower_case": true}"#);
    assert_near(&embed(&small, "A", "").await.unwrap(), &[1.0, 2.0], "by sentence-transformers");
    let bert = |more: &str| {
        let folder = Folder::text();
        let normalizer = r#"{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                             "strip_accents": null, "lowercase": true}"#;
        folder.write("tokenizer.json", tokenizer(false, normalizer));
        folder.write("tokenizer_config.json", more);
        folder
    };
    assert_near(&embed(&bert("{}"), "A", "").await.unwrap(), &[1.0, 2.0], "by the tokenizer");
    let kept = bert(r#"{"do_lower_case": false, "model_max_length": 1e30}"#);
    assert_near(&embed(&kept, "A", "").await.unwrap(), &[-1.0, -1.0], "by its configuration");
}

/// The tokens of a text are four, of which two are special.
#[tokio::test]
async fn the_limit_of_a_text_is_where_sentence_transformers_looks_for_it() {
    for (file, content, more) in [
        ("sentence_roberta_config.json", r#"{"max_seq_length": 4}"#, "{}"),
        ("sentence_xlnet_config.json", r#"{"max_seq_length": 4}"#, r#"{"model_max_length": 3}"#),
        ("tokenizer_config.json", r#"{"model_max_length": 4}"#, r#"{"model_max_length": 4}"#),
    ] {
        let folder = Folder::text();
        folder.write("tokenizer.json", tokenizer(true, "null"));
        folder.write("tokenizer_config.json", more);
        folder.write(file, content);
        // ([UNK] a b [UNK]) / 4
        assert_near(&embed(&folder, "a b c", "").await.unwrap(), &[1.5, 2.5], file);
        folder.write("config.json", r#"{"hidden_size": 2, "max_position_embeddings": 3}"#);
        assert_near(
            &embed(&folder, "a b c", "").await.unwrap(),
            &[1.0 / 3.0, 2.0 / 3.0],
            "no more positions",
        );
    }
}

/// Of one model, what a query sees is of one time.
#[tokio::test]
async fn other_files_at_the_same_place_are_another_model() {
    let folder = Folder::text();
    folder.write("onnx/model.onnx", text_graph(Some("weights.bin")));
    folder.write("onnx/weights.bin", table_bytes());
    assert_near(&embed(&folder, TEXT, "").await.unwrap(), &[4.0, 3.0], "as it is");
    let other: Vec<u8> = table_bytes()
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|bytes| (2.0 * f32::from_le_bytes(*bytes)).to_le_bytes())
        .collect();
    folder.write("onnx/weights.bin", other);
    assert_near(&embed(&folder, TEXT, "").await.unwrap(), &[8.0, 6.0], "other weights");
    folder.write("modules.json", r#"[{"path": "1_Normalize", "type": "x.Normalize"}]"#);
    assert_near(&embed(&folder, TEXT, "").await.unwrap(), &[0.8, 0.6], "other modules");
    folder.remove("modules.json");
    assert_near(&embed(&folder, TEXT, "").await.unwrap(), &[8.0, 6.0], "none any more");
    folder.write("tokenizer.json", tokenizer(true, "null"));
    assert_near(&embed(&folder, "a", "").await.unwrap(), &[2.0 / 3.0, 4.0 / 3.0], "another tokenizer");

    // while a query runs
    let ctx = session::new().unwrap();
    session::sql(&ctx, "SET datafusion.execution.batch_size = 100").await.unwrap();
    let rows = "SELECT concat('a ', i) AS t FROM generate_series(1, 40000) AS s(i)";
    let sql = format!("SELECT embed_text(t, model => '{}') FROM ({rows})", folder.name());
    let mut batches = session::sql(&ctx, &sql).await.unwrap().execute_stream().await.unwrap();
    batches.next().await.unwrap().unwrap();
    folder.write("tokenizer.json", tokenizer(false, "null"));
    let error = loop {
        match batches.next().await.expect("an error before the end") {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    let expected =
        format!("files of model '{}' have changed while the query ran: run it again", folder.name());
    assert!(error.contains(&expected), "{error}");
    assert_near(&query(&ctx, &format!("{sql} LIMIT 1")).await.unwrap()[0], &[1.0, 2.0], "run again");
}

/// A commit in the cache of the Hugging Face libraries is one model, however it is named.
#[test]
fn all_names_of_a_snapshot_are_of_one_space() {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    let (folder, cache) = (Folder::pooled(MEAN, &[]), tempfile::tempdir().unwrap());
    let repository = cache.path().join("models--o--n");
    std::fs::create_dir_all(repository.join("snapshots")).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    let snapshot = repository.join("snapshots").join(COMMIT);
    std::os::unix::fs::symlink(folder.path(), &snapshot).unwrap();
    std::fs::write(repository.join("refs/main"), COMMIT).unwrap();
    let path = snapshot.display().to_string();
    let names = ["o/n@main".to_owned(), path, format!("o/n@{COMMIT}"), "o/n".to_owned()];
    let calls = names.map(|name| format!("embed_text('a', model => '{name}')"));
    let sql: Vec<String> = calls.windows(2).map(|two| format!("l2_distance({})", two.join(", "))).collect();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_semsql"))
        .args(["-q", "--format", "csv", "-c", &format!("SELECT {}", sql.join(" + "))])
        .env("HF_HUB_CACHE", cache.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("\n0.0\n"));
}

/// Four tokens of which two are special: windows of two words.
#[tokio::test]
async fn a_long_text_is_cut_and_counted_or_averaged_or_an_error() {
    let folder = Folder::text();
    folder.write("tokenizer.json", tokenizer(true, "null"));
    folder.write("sentence_bert_config.json", r#"{"max_seq_length": 4}"#);
    let ctx = session::new().unwrap();
    let sql = format!("SELECT embed_text('a b c', model => '{}')", folder.name());
    // ([UNK] a b [UNK]) / 4
    assert_near(&query(&ctx, &sql).await.unwrap()[0], &[1.5, 2.5], "cut");
    let rows = "(VALUES ('a b c'), ('a b'), ('a b c d')) AS v(t)";
    let explain = format!("EXPLAIN ANALYZE SELECT embed_text(t, model => '{}') FROM {rows}", folder.name());
    let batches = session::sql(&ctx, &explain).await.unwrap().collect().await.unwrap();
    let plan = datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    assert!(plan.contains("truncated=2") && plan.contains("tokens=12"), "{plan}");

    session::sql(&ctx, "SET semantic.providers.transformers.long_text = 'average'").await.unwrap();
    // a b: (1.5, 2.5), twice the weight of c: (1, -1/3)
    let sum: [f32; 2] = [1.5 * 2.0 + 1.0, 2.5 * 2.0 - 1.0 / 3.0];
    let length = sum[0].hypot(sum[1]);
    let expected = [sum[0] / length, sum[1] / length];
    assert_near(&query(&ctx, &sql).await.unwrap()[0], &expected, "averaged");

    session::sql(&ctx, "SET semantic.providers.local.long_text = 'raise'").await.unwrap();
    let error = query(&ctx, &sql).await.unwrap_err();
    assert!(error.contains("a text has 5 tokens, the model reads 4"), "{error}");
    let sql =
        format!("SELECT embed_text(t, model => '{}', on_error => 'null') IS NULL FROM {rows}", folder.name());
    let batches = session::sql(&ctx, &sql).await.unwrap().collect().await.unwrap();
    let nulls: Vec<_> = batches.iter().flat_map(|batch| batch.column(0).as_boolean().iter()).collect();
    assert_eq!(nulls, [Some(true), Some(false), Some(true)]);
}

#[tokio::test]
async fn fewer_dimensions_are_the_first_ones_with_length_1() {
    let folder = Folder::pooled(
        r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#,
        &[("2_Normalize", "Normalize")],
    );
    // of (1, 2, 4, 3)
    let cut = embed(&folder, TEXT, ", dimensions => 2").await.unwrap();
    assert_near(&cut, &[1.0 / 5_f32.sqrt(), 2.0 / 5_f32.sqrt()], "cut");
    let error = embed(&folder, TEXT, ", dimensions => 5").await.unwrap_err();
    assert!(error.contains("has 4 dimensions, not 5: leave dimensions out"), "{error}");
    let trained = Folder::pooled(r#"{"pooling_mode": ["cls", "mean"]}"#, &[]);
    trained.write("config.json", r#"{"hidden_size": 2, "matryoshka_dimensions": [2, 4]}"#);
    assert_near(&embed(&trained, TEXT, ", dimensions => 4").await.unwrap(), &[1.0, 2.0, 4.0, 3.0], "whole");
    let error = embed(&trained, TEXT, ", dimensions => 3").await.unwrap_err();
    assert!(error.contains("has no vectors of 3 dimensions: it has 2, 4"), "{error}");
}

/// CLIP's: one name for both functions, one space, pixels in 0 to 1.
fn two_towers() -> Folder {
    let folder = Folder::empty();
    folder.write(
        "config.json",
        r#"{"model_type": "clip", "projection_dim": 3, "text_config": {}, "vision_config": {}}"#,
    );
    folder.write("tokenizer.json", tokenizer(false, "null"));
    folder.write(
        "preprocessor_config.json",
        r#"{"feature_extractor_type": "CLIPFeatureExtractor", "size": 2, "crop_size": 2, "do_normalize": false}"#,
    );
    folder
}

#[tokio::test]
async fn two_towers_share_a_name_and_a_space() {
    let (apart, together) = (two_towers(), two_towers());
    apart.write("onnx/text_model.onnx", text_tower_graph());
    apart.write("onnx/vision_model.onnx", image_tower_graph());
    together.write("onnx/model.onnx", both_towers_graph());
    let png = "encode_image(crop(decode_image(download('sql/data/photos/cat.png')), 0, 0, 1, 1), 'png')";
    let ctx = session::new().unwrap();
    for folder in [&apart, &together] {
        let name = folder.name();
        // the mean of a (1, 2, 1) and b (5, 8, 5)
        assert_near(&embed(folder, "a b", "").await.unwrap(), &[3.0, 5.0, 3.0], "text");
        let sql = format!(
            "SELECT cosine_distance(embed_image({png}, model => '{name}'), embed_text('a', model => '{name}'))"
        );
        session::sql(&ctx, &sql).await.unwrap().collect().await.unwrap();
        let other = Folder::pooled(MEAN, &[]);
        let sql = format!(
            "SELECT cosine_distance(embed_image({png}, model => '{name}'), as_embedding(arrow_cast([1.0, 2.0, 3.0], 'FixedSizeList(3, Float32)'), '{}'))",
            other.name()
        );
        let error = session::sql(&ctx, &sql).await.unwrap_err().to_string();
        assert!(error.contains(&format!("different spaces, '{name}' and '{}'", other.name())), "{error}");
    }
}

#[tokio::test]
async fn an_image_is_preprocessed_as_its_file_says_whatever_form_it_has() {
    // 2 x 1 pixels: (10, 20, 30) and (30, 60, 90)
    let png = {
        let mut bytes = vec![];
        let image = image::RgbImage::from_raw(2, 1, vec![10, 20, 30, 30, 60, 90]).unwrap();
        image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let decoded = format!("decode_image(x'{png}', 'RGB')");
    let forms = [
        format!("x'{png}'"),
        decoded.clone(),
        format!("resize({decoded}, 2, 1, filter => 'nearest')"),
        format!("image_to_tensor(resize({decoded}, 2, 1, filter => 'nearest'))"),
    ];
    let ctx = session::new().unwrap();
    for (file, expected) in [
        (r#"{"do_rescale": true}"#, [20.0 / 255.0, 40.0 / 255.0, 60.0 / 255.0]),
        // rescaling is left out of older files, and is done
        ("{}", [20.0 / 255.0, 40.0 / 255.0, 60.0 / 255.0]),
        (r#"{"do_rescale": true, "rescale_factor": 0.1}"#, [2.0, 4.0, 6.0]),
        (r#"{"do_rescale": false}"#, [20.0, 40.0, 60.0]),
        (r#"{"do_rescale": false, "do_flip_channel_order": true}"#, [60.0, 40.0, 20.0]),
        (r#"{"do_rescale": false, "image_mean": [10, 20, 30], "image_std": [1, 2, 5]}"#, [10.0, 10.0, 6.0]),
        (
            r#"{"do_rescale": false, "do_normalize": false, "image_mean": [1, 1, 1], "image_std": [2, 2, 2]}"#,
            [20.0, 40.0, 60.0],
        ),
        // one pixel: the mean of both by the filter, or the nearest
        (r#"{"do_rescale": false, "size": {"height": 1, "width": 1}, "resample": 4}"#, [20.0, 40.0, 60.0]),
        (r#"{"do_rescale": false, "size": {"height": 1, "width": 1}, "resample": 0}"#, [30.0, 60.0, 90.0]),
        // the middle, of 4 x 2 pixels: half of each; or of nothing resized
        (
            r#"{"do_rescale": false, "size": {"shortest_edge": 2}, "resample": 0, "crop_size": {"height": 2, "width": 2}}"#,
            [20.0, 40.0, 60.0],
        ),
        (
            r#"{"do_rescale": false, "do_resize": false, "size": 7, "do_center_crop": false, "crop_size": 7}"#,
            [20.0, 40.0, 60.0],
        ),
    ] {
        let folder = Folder::empty();
        folder.write("config.json", r#"{"projection_dim": 3}"#);
        folder.write("onnx/model.onnx", image_tower_graph());
        folder.write("preprocessor_config.json", file);
        for image in &forms {
            let sql = format!("SELECT embed_image({image}, model => '{}')", folder.name());
            assert_near(&query(&ctx, &sql).await.unwrap()[0], &expected, &format!("{file}, {image}"));
        }
    }
}

#[tokio::test]
async fn siglip_texts_are_padded_to_the_length_that_the_model_reads() {
    let folder = two_towers();
    folder.write(
        "config.json",
        r#"{"model_type": "siglip", "text_config": {"hidden_size": 3, "max_position_embeddings": 4}, "vision_config": {"hidden_size": 3}}"#,
    );
    folder.write("tokenizer_config.json", r#"{"pad_token": {"content": "d"}}"#);
    folder.write("onnx/text_model.onnx", text_tower_graph());
    folder.write("onnx/vision_model.onnx", image_tower_graph());
    // the mean of a (1, 2) and three times d (7, 3)
    assert_near(&embed(&folder, "a", "").await.unwrap(), &[5.5, 2.75, 5.5], "padded");
}

#[tokio::test]
async fn weights_beside_a_graph_are_read_and_those_elsewhere_refused() {
    let folder = Folder::text();
    folder.write("onnx/model.onnx", text_graph(Some("model.onnx_data")));
    let error = embed(&folder, "a", "").await.unwrap_err();
    assert!(error.contains("it keeps weights in 'model.onnx_data', which is not beside it"), "{error}");
    folder.write("onnx/model.onnx_data", table_bytes());
    assert_near(&embed(&folder, "a", "").await.unwrap(), &[1.0, 2.0], "beside it");
    folder.write("table", table_bytes());
    for outside in ["../table", "/etc/hostname", "x/../../table"] {
        let folder = Folder::text();
        folder.write("onnx/model.onnx", text_graph(Some(outside)));
        let error = embed(&folder, "a", "").await.unwrap_err();
        assert!(
            error.contains(&format!("keeps weights in '{outside}', outside of its own folder")),
            "{error}"
        );
    }
}

/// Each kind of broken folder, and what is said about it.
#[tokio::test]
async fn broken_folders_are_clear_errors() {
    let text = |file: &'static str, content: &'static str, expected: &'static str| {
        let folder = Folder::pooled(MEAN, &[]);
        folder.write(file, content);
        (folder, file, content, expected)
    };
    let modules = |kind: &str, path: &str| {
        format!(r#"[{{"path": "", "type": "x.Transformer"}}, {{"path": "{path}", "type": "x.{kind}"}}]"#)
    };
    let lost = modules("Pooling", "3_Pooling").leak();
    let outside = modules("Pooling", "../1_Pooling").leak();
    let unknown = modules("Router", "1_Router").leak();
    let pickled = modules("Dense", "2_Dense").leak();
    let cases = [
        text("config.json", "{", "cannot use"),
        text("config.json", "[]", "cannot use"),
        text("config.json", "{}", "has no hidden_size: it is no text encoder"),
        text("config.json", r#"{"hidden_size": "2"}"#, "cannot use"),
        text("config.json", r#"{"hidden_size": 0}"#, "say that hidden_size is 0: expected 1 to 65535"),
        text("config.json", r#"{"hidden_size": 99999999999}"#, "hidden_size is 99999999999"),
        text(
            "config.json",
            r#"{"hidden_size": 3}"#,
            "returned an output of shape [1, 1, 2], expected 3 numbers",
        ),
        text("config.json", r#"{"hidden_size": 2, "max_position_embeddings": 2}"#, "at most 2 tokens"),
        text(
            "config.json",
            r#"{"hidden_size": 2, "max_position_embeddings": 1000000000000}"#,
            "at most 1000000000000 tokens, expected 3 to 1048576",
        ),
        text(
            "config.json",
            r#"{"model_type": "siglip", "text_config": {"hidden_size": 2, "max_position_embeddings": 1000000000000}}"#,
            "at most 1000000000000 tokens, expected 3 to 4096",
        ),
        text("modules.json", "{}", "cannot use"),
        text("modules.json", lost, "has no file 3_Pooling/config.json"),
        text("modules.json", outside, "has a module in '../1_Pooling', which is no folder below the model's"),
        text("modules.json", unknown, "has a module of type x.Router"),
        text("modules.json", pickled, "has no file 2_Dense/config.json"),
        text("1_Pooling/config.json", "{}", "chooses no way to pool"),
        text("1_Pooling/config.json", r#"{"pooling_mode": "median"}"#, "pools by 'median'"),
        text(
            "1_Pooling/config.json",
            r#"{"pooling_mode_mean_tokens": true, "word_embedding_dimension": 384}"#,
            "contradict each other",
        ),
        text("sentence_bert_config.json", r#"{"max_seq_length": 0}"#, "at most 0 tokens"),
        text("sentence_bert_config.json", r#"{"max_seq_length": -1}"#, "cannot use"),
        text("tokenizer_config.json", "nonsense", "cannot use"),
        text("config_sentence_transformers.json", r#"{"prompts": ["a"]}"#, "cannot use"),
        text("tokenizer.json", "", "cannot use tokenizer.json"),
        text("tokenizer.json", r#"{"model": {"type": "Unknown"}}"#, "cannot use tokenizer.json"),
        text("onnx/model.onnx", "", "cannot load the model"),
        text("onnx/model.onnx", "not a graph", "it is no ONNX graph, or not a whole one"),
    ];
    for (folder, file, content, expected) in &cases {
        let error = embed(folder, "a", "").await.expect_err(content);
        assert!(error.contains(expected), "{file} {content}: {error}");
    }

    let folder = Folder::text();
    let whole = text_graph(None);
    folder.write("onnx/model.onnx", &whole[..whole.len() / 2]);
    assert!(embed(&folder, "a", "").await.unwrap_err().contains("not a whole one"));
    folder.remove("onnx/model.onnx");
    let error = embed(&folder, "a", "").await.unwrap_err();
    assert!(error.contains("and no model.safetensors: there is no ONNX graph"), "{error}");
    folder.write("onnx/model_q4.onnx", "");
    assert!(embed(&folder, "a", "").await.unwrap_err().contains("there is model_q4.onnx"));
    folder.remove("tokenizer.json");
    let error = embed(&folder, "a", "").await.unwrap_err();
    assert!(error.contains("has no file"), "{error}");
    let error = embed(&Folder::empty(), "a", "").await.unwrap_err();
    assert!(error.contains("has no file"), "{error}");
    let missing = "SELECT embed_text('a', model => '/nowhere/model')";
    let error = query(&session::new().unwrap(), missing).await.unwrap_err();
    assert!(error.contains("no model in folder /nowhere/model: the folder does not exist"), "{error}");
}

#[tokio::test]
async fn broken_layers_are_clear_errors() {
    let weights = dense([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [0.0; 3]);
    let broken = |config: String, weights: Option<&[u8]>| {
        let folder = Folder::pooled(MEAN, &[("2_Dense", "Dense")]);
        folder.write("2_Dense/config.json", config);
        if let Some(weights) = weights {
            folder.write("2_Dense/model.safetensors", weights);
        }
        folder
    };
    let nameless: Vec<u8> = String::from_utf8_lossy(&weights[..8 + 60]).into_owned().into_bytes();
    for (config, weights, expected) in [
        (
            DENSE.to_owned(),
            None,
            "has no file 2_Dense/model.safetensors; pickled weights (.bin) are not read",
        ),
        (DENSE.to_owned(), Some(&b"nonsense"[..]), "cannot use 2_Dense/model.safetensors"),
        (DENSE.to_owned(), Some(&nameless[..]), "cannot use 2_Dense/model.safetensors"),
        (
            DENSE.replace("\"in_features\": 2", "\"in_features\": 4"),
            Some(&weights[..]),
            "of a layer from 4 to 3",
        ),
        (
            DENSE.replace("\"out_features\": 3", "\"out_features\": 5"),
            Some(&weights[..]),
            "has shape [3, 2], expected [5, 2]",
        ),
        (
            DENSE.replace("\"out_features\": 3", "\"out_features\": 0"),
            Some(&weights[..]),
            "of a layer from 2 to 0",
        ),
        (
            DENSE.replace("Identity", "Swish"),
            Some(&weights[..]),
            "has the activation torch.nn.modules.linear.Swish",
        ),
    ] {
        let error = embed(&broken(config.clone(), weights), "a", "").await.unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[tokio::test]
async fn broken_preprocessing_is_a_clear_error() {
    for (file, expected) in [
        ("", "cannot use"),
        (r#"{"do_resize": true}"#, "do_resize without size"),
        (r#"{"do_center_crop": true}"#, "do_center_crop without crop_size"),
        (r#"{"do_normalize": true}"#, "do_normalize without image_mean and image_std"),
        (r#"{"size": {"longest_edge": 2}}"#, "cannot use"),
        (r#"{"size": 0}"#, "a side of 0 pixels"),
        (r#"{"size": 4000000000}"#, "a side of 4000000000 pixels"),
        (r#"{"size": 2, "resample": 9}"#, "unknown resample 9"),
        (r#"{"image_mean": [0, 0, 0], "image_std": [1, 0, 1]}"#, "expected numbers above 0"),
        (r#"{"do_pad": true}"#, "do_pad is a step that is not known here"),
        (r#"{"crop_pct": 0.9}"#, "crop_pct is a step"),
    ] {
        let folder = Folder::empty();
        folder.write("config.json", r#"{"projection_dim": 3}"#);
        folder.write("onnx/model.onnx", image_tower_graph());
        folder.write("preprocessor_config.json", file);
        let sql = format!("SELECT embed_image(x'00', model => '{}')", folder.name());
        let error = query(&session::new().unwrap(), &sql).await.unwrap_err();
        assert!(error.contains(expected), "{file}: {error}");
    }
}

#[tokio::test]
async fn a_gpu_that_is_not_there_is_an_error_or_the_processor() {
    let folder = Folder::text();
    let ctx = session::new().unwrap();
    let sql = format!("SELECT embed_text('a', model => '{}')", folder.name());
    for device in ["auto", "cpu"] {
        session::sql(&ctx, &format!("SET semantic.device = '{device}'")).await.unwrap();
        assert_near(&query(&ctx, &sql).await.unwrap()[0], &[1.0, 2.0], device);
    }
    let error = session::sql(&ctx, "SET semantic.device = 'tpu'").await.unwrap_err().to_string();
    assert!(error.contains("semantic.device: unknown device 'tpu': use 'auto', 'cpu' or 'cuda'"), "{error}");
    session::sql(&ctx, "SET semantic.device = 'cuda'").await.unwrap();
    // unless the tests run on one
    if let Err(error) = query(&ctx, &sql).await {
        let missing = error.contains("has no provider for it: set ORT_DYLIB_PATH");
        assert!(missing || error.contains("on a GPU"), "{error}");
    }
}

#[tokio::test]
async fn a_folder_or_graph_by_its_path_is_what_a_query_may_reach() {
    use datafusion::common::config::ExtensionOptions;
    use datafusion_semantic::config::SemanticOptions;

    let folder = Folder::text();
    let graph = folder.path().join("onnx/model.onnx");
    let run = async |allowed: &str, model: &Path| {
        let mut options = SemanticOptions::default();
        options.set("allow_paths", allowed).unwrap();
        let ctx = session::with_options(options).unwrap();
        query(&ctx, &format!("SELECT embed_text('a', model => '{}')", model.display())).await
    };
    for model in [folder.path(), &graph] {
        let error = run("", model).await.unwrap_err();
        assert!(error.contains("is not allowed: semantic.allow_paths does not list it"), "{error}");
        assert_near(&run(&folder.name(), model).await.unwrap()[0], &[1.0, 2.0], "allowed");
    }
}
