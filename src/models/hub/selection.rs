//! Which files of a repository a model needs.
use std::collections::BTreeMap;

use super::name::is_plain_part;
use crate::error::{Result, data_err, query_err};
use crate::io::model_repository::RepositoryFile;

/// Settings that are read where they are there.
const SETTINGS: [&str; 8] = [
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors.index.json",
    "modules.json",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// The files of a repository by their path.
pub(super) type Files = BTreeMap<String, RepositoryFile>;

/// What is fetched for a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) files: Vec<RepositoryFile>,
    /// Those of `files` that are ONNX graphs, which may name further files.
    pub(super) graphs: Vec<String>,
}

/// The files by their path; an error if one of them would be outside of the model's folder.
pub(super) fn by_path(files: Vec<RepositoryFile>) -> Result<Files> {
    if let Some(outside) = files.iter().find(|file| !file.path.split('/').all(is_plain_part)) {
        return data_err!(
            "the hub lists a file '{}': it would be outside of the model's folder",
            outside.path
        );
    }
    Ok(files.into_iter().map(|file| (file.path.clone(), file)).collect())
}

/// The settings and the weights of a model.
///
/// Weights are ONNX graphs, those of `variant` where it is `demanded` or there, else the original ones; where there are
/// none, `model.safetensors`. Pickled weights are never fetched.
pub(super) fn select(files: &Files, variant: Option<&str>, demanded: bool) -> Result<Selection> {
    if !files.contains_key("config.json") {
        return query_err!("it has no config.json: it is no model that can be run here");
    }
    if !files.contains_key("tokenizer.json") && !files.contains_key("preprocessor_config.json") {
        return query_err!(
            "it has neither a tokenizer.json, which models of text have, nor a preprocessor_config.json, which models of \
             images have"
        );
    }
    let settings = files.values().filter(|file| is_setting(&file.path));
    let graphs = match variant.filter(|variant| *variant != "fp32") {
        Some(variant) => graphs_of(files, &format!("_{variant}")),
        None => vec![],
    };
    let original = || graphs_of(files, "");
    let graphs = match (graphs.is_empty(), demanded && variant.is_some_and(|variant| variant != "fp32")) {
        (false, _) => graphs,
        (true, false) => original(),
        (true, true) => {
            return query_err!(
                "it has no variant '{}': there {}",
                variant.unwrap_or_default(),
                variants(files)
            );
        }
    };
    let weights: Vec<&RepositoryFile> = match graphs.is_empty() {
        false => graphs.iter().filter_map(|path| files.get(path)).collect(),
        true => files.values().filter(|file| is_safetensors(&file.path)).collect(),
    };
    if weights.is_empty() {
        let extension = |path: &String| path.rsplit('.').next().map(str::to_owned);
        let pickled = files.keys().filter_map(extension).any(|kind| matches!(kind.as_str(), "bin" | "pt"));
        return query_err!(
            "it has neither onnx/model.onnx nor model.safetensors{}; there {}",
            if pickled { ", and pickled weights (.bin, .pt) are not read, as they can run code" } else { "" },
            variants(files)
        );
    }
    Ok(Selection { files: settings.chain(weights).cloned().collect(), graphs })
}

/// The paths of the graphs whose names end like this: those of two towers, or the one of a model.
fn graphs_of(files: &Files, suffix: &str) -> Vec<String> {
    let there = |names: &[&str]| -> Option<Vec<String>> {
        let paths: Vec<_> = names.iter().map(|name| format!("{name}{suffix}.onnx")).collect();
        paths.iter().all(|path| files.contains_key(path)).then_some(paths)
    };
    there(&["onnx/text_model", "onnx/vision_model"])
        .or_else(|| there(&["onnx/model"]))
        .or_else(|| there(&["model"]))
        .unwrap_or_default()
}

fn is_setting(path: &str) -> bool {
    let of_module = path.split_once('/').is_some_and(|(folder, file)| {
        folder.starts_with(|first: char| first.is_ascii_digit())
            && matches!(file, "config.json" | "model.safetensors")
    });
    let limits = path.starts_with("sentence_") && path.ends_with("_config.json") && !path.contains('/');
    SETTINGS.contains(&path) || of_module || limits
}

/// `model.safetensors`, or one of its parts, `model-00001-of-00003.safetensors`.
fn is_safetensors(path: &str) -> bool {
    let middle = path.strip_prefix("model").and_then(|rest| rest.strip_suffix(".safetensors"));
    middle.is_some_and(|middle| {
        middle.is_empty()
            || middle.strip_prefix('-').and_then(|rest| rest.split_once("-of-")).is_some_and(
                |(part, parts)| {
                    [part, parts].iter().all(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
                },
            )
    })
}

/// `are the variants ...`, of those that are there.
fn variants(files: &Files) -> String {
    let names = files.keys().filter_map(|path| {
        let path = path.strip_prefix("onnx/").unwrap_or(path).strip_suffix(".onnx")?;
        let name = path.strip_prefix("model").or_else(|| path.strip_prefix("text_model"))?;
        Some(match name.strip_prefix('_') {
            Some(variant) => format!("'{variant}'"),
            None if name.is_empty() => "'fp32'".to_owned(),
            None => return None,
        })
    });
    match names.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "is no ONNX graph".to_owned(),
        names => format!("are {names}: choose one with NAME@VARIANT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::model_repository::FileHash;

    fn files(paths: &[&str]) -> Result<Files> {
        by_path(
            paths
                .iter()
                .map(|path| RepositoryFile {
                    path: (*path).to_owned(),
                    size: 1,
                    hash: FileHash::Git("0".to_owned()),
                })
                .collect(),
        )
    }

    fn selected(paths: &[&str], variant: Option<&str>, demanded: bool) -> Result<Vec<String>> {
        let selection = select(&files(paths)?, variant, demanded)?;
        Ok(selection.files.into_iter().map(|file| file.path).collect())
    }

    const TEXT: [&str; 8] = [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "2_Dense/pytorch_model.bin",
        "config.json",
        "pytorch_model.bin",
        "sentence_bert_config.json",
        "tokenizer.json",
    ];

    fn weights(more: &[&str], variant: Option<&str>, demanded: bool) -> Result<Vec<String>> {
        let paths = selected(&[&TEXT, more].concat(), variant, demanded)?;
        assert!(paths.iter().all(|path| !path.contains(".bin")));
        Ok(paths[6..].to_vec())
    }

    #[test]
    fn the_settings_and_one_form_of_the_weights() {
        let all = ["model.safetensors", "onnx/model.onnx", "onnx/model_int8.onnx"];
        assert_eq!(weights(&all, None, false).unwrap(), ["onnx/model.onnx"]);
        assert_eq!(weights(&all, Some("fp32"), true).unwrap(), ["onnx/model.onnx"]);
        assert_eq!(weights(&all, Some("int8"), true).unwrap(), ["onnx/model_int8.onnx"]);
        assert_eq!(weights(&all, Some("q4"), false).unwrap(), ["onnx/model.onnx"]);
        assert_eq!(weights(&["model.onnx", "model.safetensors"], None, false).unwrap(), ["model.onnx"]);
        assert_eq!(
            weights(&["model.safetensors", "tf_model.h5"], None, false).unwrap(),
            ["model.safetensors"]
        );
        let parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(weights(&[&parts[..], &["model-x.safetensors"]].concat(), None, false).unwrap(), parts);
        let towers = ["onnx/model.onnx", "onnx/text_model.onnx", "onnx/vision_model.onnx"];
        assert_eq!(weights(&towers, None, false).unwrap(), towers[1..]);
    }

    #[test]
    fn what_cannot_be_run_is_explained() {
        let error = |paths: &[&str], variant| selected(paths, variant, true).unwrap_err().to_string();
        assert!(error(&["tokenizer.json"], None).contains("no config.json"));
        assert!(error(&["config.json", "model.onnx"], None).contains("neither a tokenizer.json"));
        assert!(error(&TEXT, None).contains("pickled weights (.bin, .pt) are not read"));
        let some = [&TEXT[..], &["onnx/model.onnx", "onnx/model_q4.onnx"]].concat();
        assert!(error(&some, Some("int8")).contains("no variant 'int8': there are 'fp32', 'q4'"));
        let only = [&TEXT[..], &["onnx/model_q4.onnx"]].concat();
        assert!(error(&only, None).contains("there are 'q4': choose one with NAME@VARIANT"));
        for outside in ["../x", "/etc/x", "a/../../x", "a\\..\\x", "C:x", "a//x", "~/x"] {
            assert!(error(&[outside], None).contains("outside of the model's folder"), "{outside}");
        }
    }
}
