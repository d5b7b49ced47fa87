//! The cache folder.
use std::path::PathBuf;

use etcetera::BaseStrategy;

/// What puts ONNX Runtime and the default models into the cache folder; errors end with it.
pub(super) const SETUP: &str = "`make setup` installs ONNX Runtime and the default models";

/// Where ONNX Runtime and the models are: `$SEMSQL_HOME`, else `semsql` in `$XDG_CACHE_HOME`, else `~/.cache/semsql`.
pub(super) fn home() -> PathBuf {
    match std::env::var_os("SEMSQL_HOME") {
        Some(home) if !home.is_empty() => PathBuf::from(home),
        _ => caches().join("semsql"),
    }
}

/// The cache of the Hugging Face libraries: `$HF_HUB_CACHE`, else `hub` in `$HF_HOME`, else `huggingface/hub` in
/// `$XDG_CACHE_HOME` or `~/.cache`.
pub(super) fn cache_of_hub() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HF_HOME").unwrap_or_else(|| caches().join("huggingface"));
    set("HF_HUB_CACHE").unwrap_or_else(|| home().join("hub"))
}

fn caches() -> PathBuf {
    etcetera::base_strategy::Xdg::new().map_or_else(|_| PathBuf::from(".cache"), |base| base.cache_dir())
}
