//! Finding and starting ONNX Runtime, once a process.
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider};

use super::home::{self, SETUP};
use crate::error::{Error, Result, query_err};
use crate::models::Device;

const LIBRARY: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };

static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// The environment in which models are loaded.
///
/// The library is `$ORT_DYLIB_PATH`, else the one in the cache folder, else one of the system's library folders. A
/// failure is an error that names the paths tried, and is not remembered: the next call tries again.
pub(super) fn environment() -> Result<Environment> {
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let started = start(&candidates())?;
    *environment = Some(started.clone());
    Ok(started)
}

/// Whether models are to be loaded on a GPU, in an environment that is there; an error where one is demanded and the
/// library has no provider for it.
pub(super) fn may_use_cuda(device: Device) -> Result<bool> {
    let available = || ep::CUDA::is_available().unwrap_or(false);
    match device {
        Device::Cpu => Ok(false),
        Device::Auto => Ok(available()),
        Device::Cuda if available() => Ok(true),
        Device::Cuda => query_err!(
            "semantic.device is 'cuda', and the ONNX Runtime in {} has no provider for it: set ORT_DYLIB_PATH to the library \
             of a build with CUDA (PyPI's onnxruntime-gpu has it), or semantic.device to 'auto' or 'cpu'",
            candidates().iter().find(|path| path.is_file()).unwrap_or(&PathBuf::from(LIBRARY)).display()
        ),
    }
}

fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return vec![PathBuf::from(path)];
    }
    let mut folders = vec![home::home().join("onnxruntime")];
    folders.extend(
        [
            "/usr/local/lib",
            "/usr/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/opt/homebrew/lib",
        ]
        .map(PathBuf::from),
    );
    folders.into_iter().map(|folder| folder.join(LIBRARY)).collect()
}

fn start(candidates: &[PathBuf]) -> Result<Environment> {
    let Some(path) = candidates.iter().find(|path| path.is_file()) else {
        return query_err!(
            "ONNX Runtime is not installed: looked for {}; {SETUP}, or set ORT_DYLIB_PATH to the library",
            candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    };
    load(path).map_err(|error| {
        Error::Query(format!(
            "cannot load ONNX Runtime from {}: {error}; {SETUP}, or set ORT_DYLIB_PATH",
            path.display()
        ))
    })
}

fn load(path: &Path) -> Result<Environment, String> {
    // ort reads a relative path from the folder of the program
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let environment = ort::init_from(path)
        .map_err(|error| error.to_string())?
        .with_name("semsql")
        .with_telemetry(false)
        .build()
        .map_err(|error| error.to_string())?;
    // what fails is in our errors: the library's own lines on standard error would only repeat it
    environment.set_log_level(ort::logging::LogLevel::Fatal);
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_names_the_paths_tried_and_the_cure() {
        let error =
            start(&[PathBuf::from("/nowhere/a.so"), PathBuf::from("/nowhere/b.so")]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/a.so, /nowhere/b.so"), "{error}");
        assert!(error.contains("make setup"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LIBRARY);
        std::fs::write(&path, "not a library").unwrap();
        let error = start(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains("ORT_DYLIB_PATH"), "{error}");
    }
}
