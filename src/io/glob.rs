//! The files that match a pattern.
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use globset::{GlobBuilder, GlobMatcher};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::access::AllowPaths;
use super::failure::explain;
use super::location::object_path;
use crate::error::{Error, Result, query_err};

/// What makes a path a pattern.
pub(crate) const GLOB_CHARACTERS: [char; 4] = ['*', '?', '[', '{'];

/// A file, by the path under which it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    /// `None` where the store does not say.
    pub(crate) last_modified: Option<DateTime<Utc>>,
}

fn matcher(pattern: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob =
        glob.map_err(|error| Error::Query(format!("'{pattern}' is not a valid glob: {}", error.kind())))?;
    Ok(glob.compile_matcher())
}

/// The objects of a store whose path matches `pattern`, as [`glob`] matches files. What is found is `prefix` and its path.
///
/// A pattern of the last name alone lists one folder, any other all that is below the folders before its first wildcard.
pub(super) async fn in_store(store: &dyn ObjectStore, prefix: &str, pattern: &str) -> Result<Vec<FoundFile>> {
    if !pattern.contains(GLOB_CHARACTERS) {
        let named = format!("{prefix}{pattern}");
        return one(store, &object_path(pattern)?, &named, &named).await;
    }
    let matcher = matcher(pattern)?;
    let parts: Vec<&str> = pattern.split('/').collect();
    let literal = parts.iter().take_while(|part| !part.contains(GLOB_CHARACTERS)).count();
    let base = object_path(&parts[..literal].join("/"))?;
    let failed = |error| explain("cannot list", &format!("{prefix}{pattern}"), &error);
    let hidden = |path: &str| path.split('/').skip(literal).any(|part| part.starts_with('.'));
    let matching = |object: ObjectMeta| {
        let path = object.location.as_ref();
        let is_found = matcher.is_match(path) && !hidden(path);
        is_found.then(|| found_object(format!("{prefix}{path}"), &object))
    };
    let mut found: Vec<FoundFile> = if literal + 1 == parts.len() && !pattern.contains("**") {
        let listed = store.list_with_delimiter(Some(&base)).await.map_err(failed)?;
        listed.objects.into_iter().filter_map(matching).collect()
    } else {
        // a store may hold far more than what matches
        let objects = store.list(Some(&base)).map_err(failed);
        objects.try_filter_map(async |object| Ok(matching(object))).try_collect().await?
    };
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// The paths, in `folder`, of all files below it, sorted. Those whose names start with a dot are among them.
pub(super) async fn below(
    store: &dyn ObjectStore,
    folder: &object_store::path::Path,
    shown: &str,
) -> Result<Vec<String>> {
    let objects = store.list(Some(folder)).map_err(|error| explain("cannot list", shown, &error));
    let path_in_folder = async |object: ObjectMeta| {
        let Some(parts) = object.location.prefix_match(folder) else { return Ok(None) };
        let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        Ok(Some(parts.join("/")))
    };
    let mut paths: Vec<String> = objects.try_filter_map(path_in_folder).try_collect().await?;
    paths.sort();
    Ok(paths)
}

/// The object at `path`, if there is one, under the name `named`; the error shows it as `shown`.
pub(super) async fn one(
    store: &dyn ObjectStore,
    path: &object_store::path::Path,
    named: &str,
    shown: &str,
) -> Result<Vec<FoundFile>> {
    match store.head(path).await {
        Ok(object) => Ok(vec![found_object(named.to_owned(), &object)]),
        Err(object_store::Error::NotFound { .. }) => Ok(vec![]),
        Err(error) => Err(explain("cannot list", shown, &error)),
    }
}

fn found_object(path: String, object: &ObjectMeta) -> FoundFile {
    // stores that are told no time have one that is not after this
    let last_modified = Some(object.last_modified).filter(|time| *time > DateTime::UNIX_EPOCH);
    FoundFile { path, size: object.size, last_modified }
}

/// The local files that match, as [`glob`] finds them. A file that went away meanwhile is not there.
pub(super) fn local(pattern: &str, allowed: &AllowPaths) -> Result<Vec<FoundFile>> {
    let files = glob(pattern, allowed)?.into_iter().filter_map(|path| {
        let metadata = std::fs::metadata(&path).ok()?;
        let last_modified = metadata.modified().ok().map(DateTime::from);
        Some(FoundFile { path: path.to_string_lossy().into_owned(), size: metadata.len(), last_modified })
    });
    Ok(files.collect())
}

/// The files, not folders, whose path matches `pattern`, sorted: `?` is one character and `*` any characters of one
/// name, `**` any folders, `[ab]` one of these characters, `{a,b}` one of these words. Names that start with a dot
/// are not found.
///
/// No match is an empty list; a pattern that is wrong, or a folder that is not there, cannot be read or is not allowed,
/// is an error. A file below that is not allowed, as one behind a link, is not found.
pub(super) fn glob(pattern: &str, allowed: &AllowPaths) -> Result<Vec<PathBuf>> {
    let pattern = &without_empty_parts(pattern);
    let matcher = matcher(pattern)?;
    if !pattern.contains(GLOB_CHARACTERS) {
        let file = PathBuf::from(pattern);
        allowed.check(&file)?;
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
    allowed.check(folder)?;
    if !folder.is_dir() {
        return query_err!("no file matches '{pattern}': there is no folder '{base}'");
    }
    let mut files = Vec::new();
    find(folder, Path::new(&base), depth, &matcher, &mut files).map_err(|(folder, error)| {
        Error::Query(format!("cannot list '{pattern}': folder '{}': {error}", folder.display()))
    })?;
    files.retain(|file| allowed.check(file).is_ok());
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
            let files = glob(&format!("{}/{pattern}", folder.path().display()), &AllowPaths::all()).unwrap();
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
        let error = glob(&format!("{}/none/*.csv", folder.path().display()), &AllowPaths::all());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("there is no folder"), "{error}");
        assert!(glob("a/[.csv", &AllowPaths::all()).unwrap_err().to_string().contains("is not a valid glob"));
    }
}
