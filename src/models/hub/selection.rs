//! Which files of a repository a model needs.
use std::collections::BTreeMap;

use super::name::is_plain_part;
use crate::error::{Result, data_err, query_err};
use crate::io::model_repository::RepositoryFile;
use crate::models::safetensors_files::{INDEX, SINGLE};

/// What is put before texts.
pub(super) const PROMPTS: &str = "config_sentence_transformers.json";
/// Settings that are read where they are there.
const SETTINGS: [&str; 7] = [
    "config.json",
    PROMPTS,
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
    /// Small files, by which it is known whether the model can be run.
    pub(super) settings: Vec<RepositoryFile>,
    /// What is large. Further files of weights may be named by an index among the settings, and by graphs.
    pub(super) weights: Vec<RepositoryFile>,
    /// Those of `weights` that are ONNX graphs.
    pub(super) graphs: Vec<String>,
}

impl Selection {
    pub(super) fn files(&self) -> impl Iterator<Item = &RepositoryFile> {
        self.settings.iter().chain(&self.weights)
    }

    /// Whether an index says which files of weights there are.
    pub(super) fn has_index(&self) -> bool {
        self.settings.iter().any(|file| file.path == INDEX)
    }
}

/// The files by their path, but for those whose names are not the same on every system; an error if one of them would be
/// outside of the model's folder.
pub(super) fn by_path(files: Vec<RepositoryFile>) -> Result<Files> {
    let leaves = |path: &str| path.starts_with('/') || path.split('/').any(|part| part == "..");
    if let Some(outside) = files.iter().find(|file| leaves(&file.path)) {
        return data_err!(
            "the hub lists a file '{}': it would be outside of the model's folder",
            outside.path
        );
    }
    let plain = files.into_iter().filter(|file| file.path.split('/').all(is_plain_part));
    Ok(plain.map(|file| (file.path.clone(), file)).collect())
}

/// The settings and the weights of a model.
///
/// Weights are ONNX graphs, those of `variant` where it is `demanded` or there, else the original ones; where there are
/// none, `model.safetensors`, or what its index names. Pickled weights are never fetched. Weights that the model had before,
/// of the paths `had`, are kept where the repository has them still.
pub(super) fn select<'a>(
    files: &Files,
    variant: Option<&str>,
    demanded: bool,
    had: impl IntoIterator<Item = &'a String>,
) -> Result<Selection> {
    if !files.contains_key("config.json") {
        return query_err!("it has no config.json: it is no model that can be run here");
    }
    if !files.contains_key("tokenizer.json") && !files.contains_key("preprocessor_config.json") {
        return query_err!(
            "it has neither a tokenizer.json, which models of text have, nor a preprocessor_config.json, which models of \
             images have"
        );
    }
    let graphs = match variant.filter(|variant| *variant != "fp32") {
        Some(variant) => graphs_of(files, &format!("_{variant}")),
        None => vec![],
    };
    let original = graphs_of(files, "");
    let safetensors = [SINGLE, INDEX].into_iter().find(|file| files.contains_key(*file));
    let safetensors = safetensors.filter(|_| original.is_empty());
    let mut graphs = match (graphs.is_empty(), demanded && variant.is_some_and(|variant| variant != "fp32")) {
        (false, _) => graphs,
        (true, false) => original,
        (true, true) => {
            return query_err!(
                "it has no variant '{}': there {}",
                variant.unwrap_or_default(),
                variants(files)
            );
        }
    };
    if graphs.is_empty() && safetensors.is_none() {
        let extension = |path: &String| path.rsplit('.').next().map(str::to_owned);
        let pickled = files.keys().filter_map(extension).any(|kind| matches!(kind.as_str(), "bin" | "pt"));
        return query_err!(
            "it has neither onnx/model.onnx nor model.safetensors{}; there {}",
            if pickled { ", and pickled weights (.bin, .pt) are not read, as they can run code" } else { "" },
            variants(files)
        );
    }
    let (mut needs_safetensors, mut kept) = (graphs.is_empty(), vec![]);
    for path in had {
        needs_safetensors |= path == SINGLE || path == INDEX;
        if is_graph(path) && files.contains_key(path) && !graphs.contains(path) {
            kept.push(path.clone());
        }
    }
    graphs.append(&mut kept);
    let safetensors = safetensors.filter(|_| needs_safetensors).and_then(|path| files.get(path));
    let of_modules = files.values().filter(|file| is_setting(&file.path));
    let small = of_modules.chain(safetensors);
    let (weights, settings): (Vec<_>, Vec<_>) = small.cloned().partition(|file| is_safetensors(&file.path));
    let of_graphs = graphs.iter().filter_map(|path| files.get(path)).cloned();
    Ok(Selection { settings, weights: weights.into_iter().chain(of_graphs).collect(), graphs })
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

fn is_safetensors(path: &str) -> bool {
    path.ends_with(".safetensors")
}

/// Whether it is where graphs are.
fn is_graph(path: &str) -> bool {
    let name = path.strip_prefix("onnx/").unwrap_or(path);
    !name.contains('/') && name.strip_suffix(".onnx").is_some()
}

/// Whether a file of a model's folder is read where it is there, for one model or another.
pub(super) fn is_read(path: &str) -> bool {
    is_setting(path) || is_graph(path) || path == INDEX || (is_safetensors(path) && !path.contains('/'))
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
        let selection = select(&files(paths)?, variant, demanded, &[])?;
        Ok(selection.files().map(|file| file.path.clone()).collect())
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
        let settings =
            ["1_Pooling/config.json", "2_Dense/config.json", "config.json", "sentence_bert_config.json"];
        assert_eq!(paths[..4], settings);
        assert_eq!(paths[4], "tokenizer.json");
        let mut weights = paths[5..].to_vec();
        weights.retain(|path| path != "2_Dense/model.safetensors");
        assert_eq!(weights.len() + 6, paths.len());
        Ok(weights)
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
        let towers = ["onnx/model.onnx", "onnx/text_model.onnx", "onnx/vision_model.onnx"];
        assert_eq!(weights(&towers, None, false).unwrap(), towers[1..]);
    }

    /// The index says which files of weights there are: it is fetched where they are, and only there.
    #[test]
    fn an_index_comes_with_its_files_alone() {
        let parts = [INDEX, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let all = files(&[&TEXT[..], &parts, &["onnx/model_q4.onnx"]].concat()).unwrap();
        let plain = select(&all, None, false, &[]).unwrap();
        assert!(plain.has_index() && plain.graphs.is_empty(), "{plain:?}");
        let variant = select(&all, Some("q4"), true, &[]).unwrap();
        assert!(!variant.has_index() && variant.graphs == ["onnx/model_q4.onnx"], "{variant:?}");
        let single = [&TEXT[..], &parts, &[SINGLE]].concat();
        assert!(!select(&files(&single).unwrap(), None, false, &[]).unwrap().has_index());
    }

    /// A newer commit replaces the weights that are here, whichever of them is asked for.
    #[test]
    fn weights_that_were_here_are_kept() {
        let had = ["onnx/model.onnx", "onnx/model_q4.onnx", "onnx/model_old.onnx", "config.json"];
        let had = had.map(str::to_owned);
        let graphs = ["onnx/model.onnx", "onnx/model_int8.onnx", "onnx/model_q4.onnx"];
        let all = files(&[&TEXT[..], &graphs, &[SINGLE]].concat()).unwrap();
        assert_eq!(select(&all, None, false, &had).unwrap().graphs, [graphs[0], graphs[2]]);
        assert_eq!(select(&all, Some("int8"), true, &had).unwrap().graphs, [graphs[1], graphs[0], graphs[2]]);
        let all = files(&[&TEXT[..], &graphs[1..], &[SINGLE]].concat()).unwrap();
        let selection = select(&all, Some("int8"), true, &[SINGLE.to_owned()]).unwrap();
        assert!(selection.weights.iter().any(|file| file.path == SINGLE), "{selection:?}");
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
        for outside in ["../x", "/etc/x", "a/../../x"] {
            assert!(error(&[outside], None).contains("outside of the model's folder"), "{outside}");
        }
        // names that some systems read otherwise are no reason to do without the model
        for odd in ["a\\..\\x", "C:x", "a//x", "~/x", "1_Pooling\\config.json", "onnx/a:b.onnx"] {
            assert_eq!(weights(&[odd, "model.onnx"], None, false).unwrap(), ["model.onnx"], "{odd}");
        }
    }
}
