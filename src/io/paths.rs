//! What a path in SQL names on the local disk: a file, a folder of files, or whatever a glob matches; and what to
//! say where it names nothing.

use std::fs;
use std::path::{Path, PathBuf};

use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};

use super::access::AllowPaths;
use super::glob::{GLOB_CHARACTERS, glob};

/// The files that a path names, sorted, never empty.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// one file
    File(PathBuf),
    /// a folder
    Folder(Folder),
    /// all that a glob matched
    Glob(Vec<PathBuf>),
}

/// The files of a folder and of its `key=value` folders.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Folder {
    /// where it is
    pub path: PathBuf,
    /// the files that are read, sorted
    pub files: Vec<PathBuf>,
    /// those that are not, because their name or that of a folder of theirs starts with a dot or an underscore
    pub left_out: Vec<PathBuf>,
    /// in a store, files in other folders
    pub nested: Vec<PathBuf>,
}

impl Folder {
    /// Takes in a file, by its path in the folder: as a listing gives it, with `/`.
    pub fn add(&mut self, path_in_folder: &str) {
        let file = self.path.join(path_in_folder);
        let folders = path_in_folder.rsplit_once('/').map_or("", |(folders, _)| folders);
        if !folders.is_empty() && !folders.split('/').all(|name| name.contains('=')) {
            self.nested.push(file);
        } else if path_in_folder.split('/').any(is_hidden) {
            self.left_out.push(file);
        } else {
            self.files.push(file);
        }
    }
}

/// Writers put markers into files with an underscore.
fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// Finds what `path` names. A file or folder whose name looks like a glob goes before the glob.
///
/// Names that start with a dot are found only by their full name, and in a folder names that start with an
/// underscore neither: writers put markers there.
pub fn find(path: &str, allowed: &AllowPaths) -> Result<Found> {
    if path.contains(GLOB_CHARACTERS) && fs::metadata(path).is_err() {
        return matching(path, allowed);
    }
    allowed.check(Path::new(path))?;
    let given = Path::new(path);
    match fs::metadata(given) {
        Ok(meta) if meta.is_dir() => {
            let mut folder = Folder { path: given.to_owned(), ..Folder::default() };
            files_of_folder(given, false, &mut folder).map_err(|e| unreadable(path, &e))?;
            folder.files.retain(|file| allowed.check(file).is_ok());
            folder.files.sort();
            Ok(Found::Folder(folder))
        }
        Ok(_) => Ok(Found::File(given.to_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => missing(path, given, allowed),
        Err(e) => Err(unreadable(path, &e)),
    }
}

fn matching(pattern: &str, allowed: &AllowPaths) -> Result<Found> {
    let files = glob(pattern, allowed)?;
    if files.is_empty() {
        return plan_err!("no file matches '{pattern}'");
    }
    Ok(Found::Glob(files))
}

fn files_of_folder(folder: &Path, hidden: bool, found: &mut Folder) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hidden = hidden || is_hidden(&name);
        if !path.is_dir() {
            if hidden { &mut found.left_out } else { &mut found.files }.push(path);
        } else if name.contains('=') {
            files_of_folder(&path, hidden, found)?;
        }
    }
    Ok(())
}

fn unreadable(path: &str, error: &std::io::Error) -> DataFusionError {
    plan_datafusion_err!("cannot read '{path}': {error}")
}

/// The error for a path where nothing is: names what there is instead and is allowed.
fn missing(path: &str, given: &Path, allowed: &AllowPaths) -> Result<Found> {
    let folder = match given.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    if !folder.is_dir() {
        return plan_err!("file not found: '{path}' (there is no folder '{}')", folder.display());
    }
    let near = near_matches(&file_name(given), folder, allowed);
    if near.is_empty() {
        return plan_err!("file not found: '{path}'");
    }
    let near: Vec<String> =
        near.iter().map(|name| format!("'{}'", given.with_file_name(name).display())).collect();
    plan_err!("file not found: '{path}'; did you mean {}?", near.join(" or "))
}

/// At most three names in `folder` that resemble `name` and are allowed, the nearest first.
fn near_matches(name: &str, folder: &Path, allowed: &AllowPaths) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let name = name.to_lowercase();
    let mut near: Vec<(f64, String)> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .map(|other| (normalized_levenshtein(&name, &other.to_lowercase()), other))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let near = near.into_iter().map(|(_, name)| name);
    near.filter(|name| allowed.check(&folder.join(name)).is_ok()).take(3).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The ending of a file's name, in lower case and without the dot.
pub fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn names(folder: &tempfile::TempDir, path: &str) -> Vec<String> {
        let files = match find(&format!("{}/{path}", folder.path().display()), &AllowPaths::all()).unwrap() {
            Found::File(file) => vec![file],
            Found::Folder(Folder { files, .. }) | Found::Glob(files) => files,
        };
        files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
    }

    fn error(folder: &tempfile::TempDir, path: &str) -> String {
        let path = format!("{}/{path}", folder.path().display());
        let text = find(&path, &AllowPaths::all()).unwrap_err().to_string();
        text.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_name_that_looks_like_a_glob_is_a_file_first() {
        let folder = folder(&["a[1].csv", "a1.csv"]);
        assert_eq!(names(&folder, "a[1].csv"), ["a[1].csv"]);
    }

    #[test]
    fn a_folder_gives_its_files_and_those_of_its_partitions() {
        let folder = folder(&["t/1.csv", "t/_SUCCESS", "t/.crc", "t/year=2024/2.csv", "t/old/3.csv"]);
        assert_eq!(names(&folder, "t"), ["t/1.csv", "t/year=2024/2.csv"]);
    }

    #[test]
    fn what_is_not_there_is_explained() {
        let folder = folder(&["docs.parquet", "data/docs.csv"]);
        assert!(
            error(&folder, "doc.parquet")
                .contains("file not found: 'doc.parquet'; did you mean 'docs.parquet'?")
        );
        let missing = folder.path().join("doc.parquet").display().to_string();
        let only_this = missing.parse().unwrap();
        let error_of_one = find(&missing, &only_this).unwrap_err().to_string();
        assert!(error_of_one.ends_with(&format!("file not found: '{missing}'")), "{error_of_one}");
        assert!(error(&folder, "other.csv").ends_with("file not found: 'other.csv'"));
        assert!(error(&folder, "dat/docs.csv").ends_with("(there is no folder 'dat')"));
        assert!(error(&folder, "data/*.json").ends_with("no file matches 'data/*.json'"));
        assert!(error(&folder, "dat/*.json").contains("there is no folder"));
        assert!(error(&folder, "data/[.json").contains("is not a valid glob"));
    }
}
