//! The cache folder.
use std::path::PathBuf;

use etcetera::BaseStrategy;

/// What puts ONNX Runtime and the default models into the cache folder; errors end with it.
pub(super) const SETUP: &str = "`make setup` installs ONNX Runtime and the default models";

/// Where ONNX Runtime and the models are: `$SEMSQL_HOME`, else `semsql` in `$XDG_CACHE_HOME`, else `~/.cache/semsql`.
pub(super) fn home() -> PathBuf {
    match std::env::var_os("SEMSQL_HOME") {
        Some(home) if !home.is_empty() => PathBuf::from(home),
        _ => etcetera::base_strategy::Xdg::new()
            .map_or_else(|_| PathBuf::from(".cache"), |base| base.cache_dir())
            .join("semsql"),
    }
}
