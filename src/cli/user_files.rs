//! The files that a person has for the shell, where the XDG base directory specification puts them.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;

/// `$XDG_CONFIG_HOME/semsql/config.toml`: options.
pub fn config() -> Option<PathBuf> {
    Some(Xdg::new().ok()?.config_dir().join("semsql/config.toml"))
}

/// `$XDG_CONFIG_HOME/semsql/semsqlrc`: what an interactive shell runs first.
pub fn startup() -> Option<PathBuf> {
    Some(Xdg::new().ok()?.config_dir().join("semsql/semsqlrc"))
}

/// `$XDG_STATE_HOME/semsql/history`: what was typed, for nobody else to read. `None` where it cannot be kept.
pub fn history() -> Option<PathBuf> {
    let folder = Xdg::new().ok()?.state_dir()?.join("semsql");
    fs::create_dir_all(&folder).ok()?;
    let path = folder.join("history");
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file = options.mode(0o600).open(&path).ok()?;
        // one that was copied from elsewhere
        file.set_permissions(fs::Permissions::from_mode(0o600)).ok()?;
    }
    #[cfg(not(unix))]
    options.open(&path).ok()?;
    Some(path)
}

/// The text of a script, `~/` being the home folder; an error says why there is none.
pub fn read_script(path: &Path) -> Result<String, String> {
    let name = path.display();
    script(&name.to_string(), fs::read_to_string(expanded(path)))
}

/// A path with the home folder in place of `~/`.
pub fn expanded(path: &Path) -> PathBuf {
    let at_home = path.strip_prefix("~").ok().and_then(|rest| Some(etcetera::home_dir().ok()?.join(rest)));
    at_home.unwrap_or_else(|| path.to_owned())
}

/// What was read, without the byte order mark that editors on Windows put in front.
pub fn script(name: &str, read: io::Result<String>) -> Result<String, String> {
    match read {
        Ok(script) => Ok(script.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(script)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(format!("file not found: {name}")),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(format!("{name} is not UTF-8 text")),
        Err(e) => Err(format!("cannot read {name}: {e}")),
    }
}
