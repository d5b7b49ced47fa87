//! The option `semantic.allow_paths`.
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result, data_err, query_err};

/// The local files that a query may reach: `all`, or a list of folders and files with commas, which takes in all that
/// is below the folders. The default is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AllowPaths {
    all: bool,
    /// absolute, as they are written
    paths: Vec<PathBuf>,
    text: String,
}

impl AllowPaths {
    /// Every file.
    #[must_use]
    pub fn all() -> Self {
        Self { all: true, paths: vec![], text: "all".to_owned() }
    }

    pub(crate) fn are_all(&self) -> bool {
        self.all
    }

    /// Where `path` is after links and `..`, whether or not there is a file; an error if that is not allowed. What is
    /// to be used is the path returned, not the one that was asked for.
    ///
    /// Links are followed now: whoever may make links in an allowed folder while the query runs may lead it out.
    pub(crate) fn check(&self, path: &Path) -> Result<PathBuf> {
        if self.all {
            return Ok(path.to_owned());
        }
        match real(path) {
            Some(real_path) if self.covers(&real_path) => Ok(real_path),
            // the same words whether it is there or not
            _ => data_err!(
                "'{}' is not allowed: semantic.allow_paths does not list it or its folder",
                path.display()
            ),
        }
    }

    /// As [`Self::check`], for what is to be written to: without links and `..` where every path is allowed too.
    pub(crate) fn check_target(&self, path: &Path) -> Result<PathBuf> {
        let path = self.check(path)?;
        Ok(real(&path).unwrap_or(path))
    }

    fn covers(&self, real_path: &Path) -> bool {
        self.paths.iter().any(|allowed| real(allowed).is_some_and(|allowed| real_path.starts_with(allowed)))
    }
}

/// The path without links and `..`. What does not exist is taken as it is written, below the nearest folder that does;
/// `None` where that cannot be told.
fn real(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let mut missing: Vec<OsString> = vec![];
    let mut existing = absolute.as_path();
    loop {
        match existing.canonicalize() {
            Ok(mut real) => {
                real.extend(missing.into_iter().rev());
                return Some(real);
            }
            // a link that leads nowhere is not a missing name: it would be followed when it is written to
            Err(_) if existing.is_symlink() => return None,
            Err(_) => {
                // a path that ends in `..` has no name
                missing.push(existing.file_name()?.to_owned());
                existing = existing.parent()?;
            }
        }
    }
}

impl fmt::Display for AllowPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for AllowPaths {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text == "all" {
            return Ok(Self::all());
        }
        let paths: Vec<PathBuf> =
            text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(PathBuf::from).collect();
        if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
            return query_err!(
                "'{}' is not an absolute path: write 'all', or a list like '/srv/photos, /srv/documents'",
                path.display()
            );
        }
        Ok(Self { all: false, paths, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_below_a_listed_folder_is_allowed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        fs::create_dir_all(at("in/deep")).unwrap();
        fs::create_dir_all(at("inner")).unwrap();
        fs::create_dir_all(at("out")).unwrap();
        for file in ["in/a", "in/deep/b", "inner/c", "out/d", "e"] {
            fs::write(at(file), "x").unwrap();
        }
        #[cfg(unix)]
        for (link, target) in
            [("in/link", "out/d"), ("in/folder", "out"), ("in/broken", "out/none"), ("back", "in")]
        {
            std::os::unix::fs::symlink(at(target), at(link)).unwrap();
        }
        let allowed: AllowPaths = format!("{}, {}", at("in").display(), at("e").display()).parse().unwrap();
        for path in ["in/a", "in/deep/b", "in/deep/../a", "in/none/b", "in", "e", "back/a", "out/../in/a"] {
            let real_path = allowed.check(&at(path));
            assert!(
                real_path.as_ref().is_ok_and(|real_path| !real_path.to_string_lossy().contains("..")),
                "{path}"
            );
        }
        for path in [
            "out/d",
            "inner/c",
            "in/../out/d",
            "in/link",
            "in/folder/d",
            "in/folder/none",
            "in/broken",
            "in/none/../../out/d",
            "in/..",
            "in/none/..",
            "back/../out/d",
            "",
        ] {
            assert!(allowed.check(&at(path)).is_err(), "{path}");
        }
        assert!(AllowPaths::default().check(&at("e")).is_err());
        let error = |path: &str| allowed.check(&at(path)).unwrap_err().to_string().replace(path, "");
        assert_eq!(error("out/d"), error("out/none"));
        assert!("relative".parse::<AllowPaths>().is_err());
    }
}
