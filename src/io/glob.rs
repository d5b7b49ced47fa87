//! Files that match a pattern.
use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::{Error, Result, query_err};

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) last_modified: Option<SystemTime>,
}

/// The files, not folders, whose path matches `pattern`, sorted by path: `?` is one character, `*` any characters of
/// one name, `**` any folders, `[ab]` one of these. A name that starts with a dot is matched only by a dot.
///
/// A pattern that is wrong, or a folder that cannot be read, is an error; no match is an empty list.
pub(crate) fn glob(pattern: &str) -> Result<Vec<FoundFile>> {
    if let Some((scheme, _)) = pattern.split_once("://")
        && scheme != "file"
    {
        return query_err!("cannot list '{scheme}://': local paths can be listed");
    }
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths = glob::glob_with(pattern.strip_prefix("file://").unwrap_or(pattern), options)
        .map_err(|error| Error::Query(format!("'{pattern}' is not a pattern: {} at character {}", error.msg, error.pos)))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            Error::Query(format!("cannot list '{}': {}", error.path().display(), error.error()))
        })?;
        // a file that went away meanwhile is not there
        if let Ok(metadata) = std::fs::metadata(&path)
            && metadata.is_file()
        {
            files.push(FoundFile { path, size: metadata.len(), last_modified: metadata.modified().ok() });
        }
    }
    Ok(files)
}
