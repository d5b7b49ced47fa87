//! Graphs as ONNX Runtime makes them for this machine, kept in the cache folder.
//!
//! Loading a graph costs its optimisation and the arrangement of its weights for this processor's kernels. Both are
//! done once: the result is written beside a file of weights, which later sessions map into memory, so that they load
//! in a fraction of the time, touch only what they read, and share it with each other and with other processes.
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::folder::Tower;
use super::graph::Original;
use super::home;
use super::model_files::Stamp;

const GRAPH: &str = "model.onnx";
const WEIGHTS: &str = "model.weights";

/// Beside the optimised forms of a graph: the path of the graph.
const SOURCE: &str = "source";
/// What the name of a folder begins with in which an optimised form is being made.
const UNFINISHED: &str = "unfinished-";
/// What is unfinished for longer than this was given up.
const MAKING_TAKES: Duration = Duration::from_hours(1);

/// Changes whenever the layout of the cache does.
const LAYOUT: u32 = 1;

/// Held by the one that makes an optimised form: two of a process would write over each other.
static MAKING: Mutex<()> = Mutex::new(());

/// A session over the optimised form of a graph, which is made where it is not there. `None` where that
/// does not work, for example as the cache folder cannot be written: then the graph itself can still be loaded.
///
/// `builder` makes the builders of sessions. Disk, for each of its graphs: about the size of the model, once more; twice
/// that where its weights are 16-bit floats, of which matrices are kept as the 32-bit floats that they are computed with.
pub(super) fn open(
    original: &Original,
    builder: impl Fn() -> ort::Result<SessionBuilder>,
) -> Option<Session> {
    let folder = folder(&home::home(), original).ok()?;
    let load = || {
        let optimized = builder()?.with_optimization_level(GraphOptimizationLevel::Disable)?;
        { optimized }.commit_from_file(folder.join(GRAPH))
    };
    let load_if_made = || folder.join(GRAPH).is_file().then(load)?.ok();
    if let Some(session) = load_if_made() {
        return Some(session);
    }
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    // made meanwhile
    if let Some(session) = load_if_made() {
        return Some(session);
    }
    if folder.join(GRAPH).is_file() {
        // broken: nothing could be put into its place
        let _ = fs::remove_dir_all(&folder);
    }
    make(original, &folder, &builder).ok()?;
    load().ok()
}

/// Deletes the optimised form of a graph in a file, or of those built for a folder of weights.
pub(super) fn forget(path: &Path) {
    if let Ok(path) = fs::canonicalize(path) {
        for tower in [None, Some(Tower::Text), Some(Tower::Image)] {
            let _ = fs::remove_dir_all(of_graph(&home::home(), &path, tower));
        }
    }
}

/// Where the optimised form of a graph is: one folder for the graph, in it one for its contents, the version of ONNX
/// Runtime and the processor.
fn folder(home: &Path, original: &Original) -> io::Result<PathBuf> {
    let mut contents = DefaultHasher::new();
    let path = fs::canonicalize(original.path())?;
    let (tower, files) = match original {
        Original::Files(files) => (None, files),
        Original::Built { tower, files, built, .. } => {
            // it depends on the configuration, on what the files of weights say of themselves, and on how it is built
            built.onnx.hash(&mut contents);
            (Some(*tower), files)
        }
    };
    LAYOUT.hash(&mut contents);
    ort::info().hash(&mut contents);
    processor().hash(&mut contents);
    for file in files {
        (file, Stamp::of(file)?).hash(&mut contents);
    }
    Ok(of_graph(home, &path, tower).join(format!("{:016x}", contents.finish())))
}

/// Without a tower for a graph in a file.
fn of_graph(home: &Path, path: &Path, tower: Option<Tower>) -> PathBuf {
    let mut graph = DefaultHasher::new();
    path.hash(&mut graph);
    if let Some(tower) = tower {
        tower.hash(&mut graph);
    }
    home.join("optimized").join(format!("{:016x}", graph.finish()))
}

/// The instructions that kernels, and with them the arrangement of weights, are chosen by.
fn processor() -> Vec<&'static str> {
    let mut found = vec![std::env::consts::ARCH];
    macro_rules! features {
        ($detected:ident: $($feature:tt),*) => {
            $(if std::arch::$detected!($feature) {
                found.push($feature);
            })*
        };
    }
    #[cfg(target_arch = "x86_64")]
    features!(is_x86_feature_detected: "avx", "avx2", "fma", "avxvnni", "avx512f", "avx512bw", "avx512vnni", "avx512bf16");
    #[cfg(target_arch = "aarch64")]
    features!(is_aarch64_feature_detected: "dotprod", "fp16", "bf16", "i8mm", "sve");
    found
}

/// Writes the optimised form of a graph, completely or not at all. Of one graph only the newest form is kept, and none of
/// graphs that are gone.
fn make(
    original: &Original,
    folder: &Path,
    builder: &impl Fn() -> ort::Result<SessionBuilder>,
) -> Result<(), Box<dyn std::error::Error>> {
    let parent = folder.parent().ok_or("no folder for the optimised graph")?;
    fs::create_dir_all(parent)?;
    let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent)?;
    let made = unfinished.path().join("made");
    fs::create_dir(&made)?;
    write(original, &made, builder)?;
    fs::write(parent.join(SOURCE), fs::canonicalize(original.path())?.as_os_str().as_encoded_bytes())?;
    install(&made, folder)?;
    if let Some(all) = parent.parent() {
        forget_gone(all);
    }
    Ok(())
}

/// Puts what was made into its place, where another process may have put the same meanwhile, and removes what was there
/// before.
fn install(made: &Path, folder: &Path) -> io::Result<()> {
    if let Err(error) = fs::rename(made, folder)
        && !folder.join(GRAPH).is_file()
    {
        return Err(error);
    }
    for entry in fs::read_dir(folder.parent().unwrap_or(folder))?.flatten() {
        // another process may be making it
        let is_young = || {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age < MAKING_TAKES))
        };
        let is_unfinished = entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
        let stays = entry.path() == folder || entry.file_name() == SOURCE || (is_unfinished && is_young());
        if !stays {
            // and another one may be faster here too
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Removes the optimised forms of graphs that are not there any more.
fn forget_gone(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let source = fs::read_to_string(entry.path().join(SOURCE));
        if source.is_ok_and(|source| Path::new(&source).try_exists().is_ok_and(|exists| !exists)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn write(
    original: &Original,
    folder: &Path,
    builder: &impl Fn() -> ort::Result<SessionBuilder>,
) -> Result<(), Box<dyn std::error::Error>> {
    let builder = builder()?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_optimized_model_path(folder.join(GRAPH))?
        .with_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)?
        .with_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")?
        .with_config_entry("session.save_external_prepacked_constant_initializers", "1")?;
    drop(original.commit(builder)?);
    // a graph without large weights has no file of them
    for file in [GRAPH, WEIGHTS].map(|name| folder.join(name)).into_iter().filter(|file| file.is_file()) {
        File::open(file)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_make_the_same_form_both_have_it() {
        let home = tempfile::tempdir().unwrap();
        let graph = home.path().join("graph");
        let make = |name: &str| {
            let made = graph.join(format!("{UNFINISHED}{name}/made"));
            fs::create_dir_all(&made).unwrap();
            fs::write(made.join(GRAPH), name).unwrap();
            made
        };
        let (one, two, other) = (make("one"), make("two"), make("other"));
        fs::write(graph.join(SOURCE), "/a/model.onnx").unwrap();
        let folder = graph.join("form");
        install(&one, &folder).unwrap();
        assert!(two.is_dir() && other.is_dir(), "what others make stays");
        install(&two, &folder).unwrap();
        assert_eq!(fs::read_to_string(folder.join(GRAPH)).unwrap(), "one");
        install(&other, &graph.join("other form")).unwrap();
        assert!(!folder.exists(), "only the newest form is kept");
        assert!(graph.join(SOURCE).is_file());
        assert!(install(&graph.join("nowhere"), &folder).is_err());
    }

    #[test]
    fn what_is_unfinished_for_long_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let (made, abandoned) = (home.path().join("unfinished-1/made"), home.path().join("unfinished-2"));
        fs::create_dir_all(&made).unwrap();
        fs::create_dir(&abandoned).unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * MAKING_TAKES;
        File::open(&abandoned).unwrap().set_modified(long_ago).unwrap();
        install(&made, &home.path().join("form")).unwrap();
        assert!(home.path().join("unfinished-1").exists() && !abandoned.exists());
    }

    #[test]
    fn forms_of_graphs_that_are_gone_are_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let graph = home.path().join("model.onnx");
        fs::write(&graph, "graph").unwrap();
        for (name, source) in [("here", graph.as_path()), ("gone", Path::new("/nowhere/model.onnx"))] {
            fs::create_dir_all(home.path().join("optimized").join(name)).unwrap();
            fs::write(home.path().join("optimized").join(name).join(SOURCE), source.to_str().unwrap())
                .unwrap();
        }
        forget_gone(&home.path().join("optimized"));
        let exists = |name: &str| home.path().join("optimized").join(name).exists();
        assert!(exists("here") && !exists("gone"));
    }
}
