//! The headers of a model's safetensors files: where each tensor is. No weight is read here.
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::error::{Error, Result, query_err};
pub(in super::super) use crate::models::safetensors_files::files;
use crate::models::safetensors_files::{INDEX, SINGLE};

/// Bytes of a header, which takes several times that as it is read: those of encoders have less than a million.
const MAX_HEADER: u64 = 10_000_000;

/// A tensor in a file: its bytes are row after row, little-endian.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    /// The name of the file, in [`TensorFiles::folder`].
    pub(super) file: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Bytes from the start of the file.
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The tensors of a model by their names.
#[derive(Debug)]
pub(super) struct TensorFiles {
    /// What to blame in errors: the file or its index.
    source: PathBuf,
    folder: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl TensorFiles {
    /// Reads the headers of the safetensors files in a model's folder. Links are followed, as the Hugging Face cache
    /// has them; the files that they lead to have to be in one folder.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let files = files(folder)?;
        let source = match files.as_slice() {
            [] => return query_err!("{} has neither {SINGLE} nor {INDEX}", folder.display()),
            [one] => one.clone(),
            _ => folder.join(INDEX),
        };
        let mut weights = Self { source, folder: PathBuf::new(), tensors: HashMap::new() };
        for file in files {
            let real = std::fs::canonicalize(&file)
                .map_err(|error| Error::Query(format!("cannot read {}: {error}", file.display())))?;
            let (Some(parent), Some(name)) = (real.parent(), real.file_name().and_then(|name| name.to_str()))
            else {
                return query_err!("cannot use {}: its name is not UTF-8", file.display());
            };
            if weights.tensors.is_empty() {
                parent.clone_into(&mut weights.folder);
            } else if weights.folder != parent {
                return query_err!(
                    "cannot use {}: it leads to {}, while other files of the model lead to {}; put them into one folder",
                    file.display(),
                    parent.display(),
                    weights.folder.display()
                );
            }
            for (tensor, at) in header(&real, name)
                .map_err(|error| Error::Query(format!("cannot use {}: {error}", file.display())))?
            {
                if weights.tensors.insert(tensor.clone(), at).is_some() {
                    return query_err!(
                        "cannot use {}: another file has a tensor '{tensor}' too",
                        file.display()
                    );
                }
            }
        }
        Ok(weights)
    }

    /// The folder that the files are in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The first of `prefixes` under which there is a tensor `name`: a model that was saved with a head has its tensors
    /// below the name of the encoder.
    pub(super) fn prefix(&self, prefixes: &[&'static str], name: &str) -> Result<&'static str> {
        match prefixes.iter().find(|prefix| self.has(&format!("{prefix}{name}"))) {
            Some(prefix) => Ok(prefix),
            None => self.missing(name),
        }
    }

    fn missing<T>(&self, name: &str) -> Result<T> {
        query_err!("{} has no tensor '{name}', which its config.json asks for", self.source.display())
    }

    /// The tensor `name`.
    pub(super) fn get(&self, name: &str) -> Result<&Tensor> {
        match self.tensors.get(name) {
            Some(tensor) => Ok(tensor),
            None => self.missing(name),
        }
    }

    /// The tensor `name`, whose shape is known from the configuration.
    pub(super) fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Tensor> {
        let tensor = self.get(name)?;
        if tensor.shape != shape {
            return query_err!(
                "{} has a tensor '{name}' of shape {:?}, expected {shape:?} by its config.json",
                self.source.display(),
                tensor.shape
            );
        }
        Ok(tensor)
    }

    /// An error that blames the file.
    pub(super) fn unusable<T>(&self, what: &str) -> Result<T> {
        query_err!("cannot use {}: {what}", self.source.display())
    }
}

/// The tensors of a file. Offsets are without gaps and overlaps, and within the file: the library checks the former.
fn header(path: &Path, name: &str) -> Result<Vec<(String, Tensor)>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    // to open a pipe would wait for who writes into it
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    let bytes = metadata.len();
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut length = [0; 8];
    file.read_exact(&mut length)
        .map_err(|_| format!("it has {bytes} bytes, too few for a safetensors file"))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > bytes.saturating_sub(8) {
        return Err(format!(
            "it says that its header has {length} bytes: it is damaged, or no safetensors file"
        ));
    }
    let mut json = Vec::new();
    file.take(length).read_to_end(&mut json).map_err(|error| error.to_string())?;
    let metadata: Metadata = serde_json::from_slice(&json).map_err(|error| format!("its header: {error}"))?;
    let start = 8 + length;
    let expected = start + metadata.data_len() as u64;
    if expected != bytes {
        return Err(format!(
            "it has {bytes} bytes, expected {expected} by its header: it is cut short or damaged"
        ));
    }
    let tensors = metadata.tensors().into_iter().map(|(tensor, info)| {
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let (file, shape) = (name.to_owned(), info.shape.clone());
        (tensor, Tensor { file, dtype: info.dtype, shape, offset: start + from, length: to - from })
    });
    Ok(tensors.collect())
}
