//! What tells the files of a model apart from others at the same paths: a folder can be fetched or trained anew while
//! queries run.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::architectures;
use super::config::{Module, SENTENCE_BERT};
use super::folder::{ModelFolder, Weights};
use crate::error::{Result, query_err};
use crate::models::external_data::external_files;

/// Files that say how a model is used, or where its weights are. Those of its modules are named in one of them.
const SETTINGS: [&str; 8] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "config_sentence_transformers.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
];

/// What is known of a file without reading it. Another file has another one, even of the same length and date.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    bytes: u64,
    modified: SystemTime,
    /// Number, and the time of the last change of anything, its date among them.
    #[cfg(unix)]
    inode: (u64, i64, i64),
}

impl Stamp {
    /// Links are followed.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path)?;
        Ok(Self {
            bytes: metadata.len(),
            modified: metadata.modified()?,
            #[cfg(unix)]
            inode: (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// All files that a model is read from, as they were when it was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelFiles {
    name: String,
    /// Without a stamp where there was no such file.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
}

impl ModelFiles {
    /// Looks at the files before any of them is read. Cost: the names that a graph or an index has for its weights are
    /// read, and some twenty files looked at.
    pub(super) fn of(folder: &ModelFolder, weights: &Weights) -> Self {
        let mut paths: Vec<PathBuf> =
            SETTINGS.iter().chain(SENTENCE_BERT).map(|file| folder.path(file)).collect();
        // what is wrong in a file is an error when it is used
        let modules: Vec<Module> = folder.read_json("modules.json").ok().flatten().unwrap_or_default();
        for file in ["config.json", "model.safetensors"] {
            let of_modules = modules.iter().filter_map(|module| module.file(folder, file).ok());
            paths.extend(of_modules.map(|file| folder.path(&file)));
        }
        paths.extend(match weights {
            Weights::Onnx(graph) => of_graph(graph).unwrap_or_default(),
            Weights::Safetensors(folder, _) => architectures::files(folder).unwrap_or_default(),
        });
        let stamps = paths.into_iter().map(|path| (Stamp::of(&path).ok(), path));
        Self { name: folder.name().to_owned(), stamps: stamps.map(|(stamp, path)| (path, stamp)).collect() }
    }

    /// Whether they are the same files still.
    pub(super) fn are_unchanged(&self) -> bool {
        self.stamps.iter().all(|(path, stamp)| Stamp::of(path).ok() == *stamp)
    }

    /// An error unless they are: what is read of them now would not fit what was read before.
    pub(super) fn check(&self) -> Result<()> {
        if self.are_unchanged() { Ok(()) } else { self.changed() }
    }

    /// The error that they are not.
    pub(super) fn changed<T>(&self) -> Result<T> {
        query_err!("the files of model '{}' have changed while the query ran: run it again", self.name)
    }
}

/// The file of a graph, and those beside it that its weights are in.
pub(super) fn of_graph(graph: &Path) -> Result<Vec<PathBuf>> {
    let folder = graph.parent().unwrap_or(graph);
    let beside = external_files(graph)?.into_iter().map(|file| folder.join(file));
    Ok(std::iter::once(graph.to_owned()).chain(beside).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_changed_or_added_or_removed_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let path = |file: &str| temp.path().join(file);
        fs::write(path("config.json"), "{}").unwrap();
        fs::write(path("modules.json"), r#"[{"path": "2_Dense", "type": "x.Dense"}]"#).unwrap();
        let folder = ModelFolder::of("o/n", temp.path());
        let look = || ModelFiles::of(&folder, &Weights::Onnx(path("model.onnx")));
        let files = look();
        files.check().unwrap();
        fs::create_dir(path("2_Dense")).unwrap();
        fs::write(path("README.md"), "of no model").unwrap();
        files.check().unwrap();
        for file in ["2_Dense/model.safetensors", "tokenizer.json", "sentence_roberta_config.json"] {
            let files = look();
            fs::write(path(file), "added").unwrap();
            assert!(files.check().unwrap_err().to_string().contains("files of model 'o/n' have changed"));
        }
        let files = look();
        fs::remove_file(path("tokenizer.json")).unwrap();
        assert!(!files.are_unchanged());
    }

    #[cfg(unix)]
    #[test]
    fn another_file_of_the_same_length_and_date_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs::write(&path, "weights").unwrap();
        let (first, date) = (Stamp::of(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
        assert_eq!(Stamp::of(&path).unwrap(), first);
        fs::write(folder.path().join("other"), "WEIGHTS").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
        let second = Stamp::of(&path).unwrap();
        assert_eq!((second.bytes, second.modified), (first.bytes, first.modified));
        assert_ne!(second, first);
    }
}
