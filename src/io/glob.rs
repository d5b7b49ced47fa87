//! The local files that match a pattern.
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Error, Result, query_err};

/// What makes a path a pattern.
pub(crate) const GLOB_CHARACTERS: [char; 4] = ['*', '?', '[', '{'];

/// The files, not folders, whose path matches `pattern`, sorted: `?` is one character and `*` any characters of one
/// name, `**` any folders, `[ab]` one of these characters, `{a,b}` one of these words. Names that start with a dot
/// are not found.
///
/// No match is an empty list; a pattern that is wrong, or a folder that is not there or cannot be read, is an error.
pub(crate) fn glob(pattern: &str) -> Result<Vec<PathBuf>> {
    let pattern = &without_empty_parts(pattern);
    let matcher = GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| Error::Query(format!("'{pattern}' is not a valid glob: {}", error.kind())))?
        .compile_matcher();
    if !pattern.contains(GLOB_CHARACTERS) {
        let file = PathBuf::from(pattern);
        return Ok(if file.is_file() { vec![file] } else { vec![] });
    }
    let parts: Vec<&str> = pattern.split('/').collect();
    let literal = parts.iter().take_while(|part| !part.contains(GLOB_CHARACTERS)).count();
    let base = match parts[..literal].join("/") {
        root if root.is_empty() && literal > 0 => "/".to_owned(),
        base => base,
    };
    // `**` goes as deep as there are folders, anything else as deep as it has parts
    let depth = if pattern.contains("**") { usize::MAX } else { parts.len() - literal };

    let folder = if base.is_empty() { Path::new(".") } else { Path::new(&base) };
    if !folder.is_dir() {
        return query_err!("no file matches '{pattern}': there is no folder '{base}'");
    }
    let mut files = Vec::new();
    find(folder, Path::new(&base), depth, &matcher, &mut files).map_err(|(folder, error)| {
        Error::Query(format!("cannot list '{pattern}': folder '{}': {error}", folder.display()))
    })?;
    files.sort();
    Ok(files)
}

/// `a//b` as `a/b`: the same to a file system, but not to a matcher.
fn without_empty_parts(pattern: &str) -> String {
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    format!("{root}{}", parts.join("/"))
}

/// Collects the files below `folder` that match; `shown` is the folder as the pattern spells it.
fn find(
    folder: &Path,
    shown: &Path,
    depth: usize,
    matcher: &GlobMatcher,
    files: &mut Vec<PathBuf>,
) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (folder.to_owned(), error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        let shown = shown.join(&name);
        // a link to a folder is followed, except below `**`, where it could lead round in a circle
        let is_folder =
            entry.file_type().map_err(failed)?.is_dir() || (depth != usize::MAX && entry.path().is_dir());
        if is_folder {
            if depth > 1 {
                let depth = if depth == usize::MAX { depth } else { depth - 1 };
                find(&entry.path(), &shown, depth, matcher, files)?;
            }
        } else if matcher.is_match(&shown) {
            files.push(shown);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_within_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/1.csv", "a/2.csv", "a/.3.csv", "b/1.csv", "b/c/d.csv", "x.csv"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let files = glob(&format!("{}/{pattern}", folder.path().display())).unwrap();
            files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(found("a/*.csv"), ["a/1.csv", "a/2.csv"]);
        assert_eq!(found("*/1.csv"), ["a/1.csv", "b/1.csv"]);
        assert_eq!(found("b/**/*.csv"), ["b/1.csv", "b/c/d.csv"]);
        assert_eq!(found("{a,b}/?.csv"), ["a/1.csv", "a/2.csv", "b/1.csv"]);
        assert_eq!(found("*.csv"), ["x.csv"]);
        assert_eq!(found("a/1.csv"), ["a/1.csv"]);
        assert_eq!(found("a/.3.csv"), ["a/.3.csv"]);
        assert_eq!(found("a//*.csv"), ["a/1.csv", "a/2.csv"]);
        assert_eq!(found("a/*.png"), Vec::<String>::new());
        let error = glob(&format!("{}/none/*.csv", folder.path().display())).unwrap_err().to_string();
        assert!(error.contains("there is no folder"), "{error}");
        assert!(glob("a/[.csv").unwrap_err().to_string().contains("is not a valid glob"));
    }
}
