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
use std::time::UNIX_EPOCH;

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::folder::Tower;
use super::graph::Original;
use super::home;

const GRAPH: &str = "model.onnx";
const WEIGHTS: &str = "model.weights";

/// Changes whenever the layout of the cache does.
const LAYOUT: u32 = 1;

/// Held by the one that makes an optimised form: two of a process would write over each other.
static MAKING: Mutex<()> = Mutex::new(());

/// A session over the optimised form of a graph, which is made where it is not there. `None` where that
/// does not work, for example as the cache folder cannot be written: then the graph itself can still be loaded.
///
/// `builder` makes the builders of sessions. Disk: about the size of the model, once more, for each of its graphs.
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
    let (path, tower, files) = match original {
        Original::File(path) => {
            let path = fs::canonicalize(path)?;
            let files = files(&path)?;
            (path, None, files)
        }
        Original::Built { folder, tower, files, built } => {
            // it depends on the configuration, on what the files of weights say of themselves, and on how it is built
            built.onnx.hash(&mut contents);
            (fs::canonicalize(folder)?, Some(*tower), files.clone())
        }
    };
    LAYOUT.hash(&mut contents);
    ort::info().hash(&mut contents);
    processor().hash(&mut contents);
    for file in files {
        let metadata = fs::metadata(&file)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        (file, metadata.len(), modified).hash(&mut contents);
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

/// The file of a graph, and those of its weights where they are outside of it: their names begin with the graph's.
fn files(graph: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (graph.parent(), graph.file_name()) else {
        return Ok(vec![graph.to_owned()]);
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(name.as_encoded_bytes()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
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

/// Writes the optimised form of a graph, completely or not at all. Of one graph only the newest form is kept.
fn make(
    original: &Original,
    folder: &Path,
    builder: &impl Fn() -> ort::Result<SessionBuilder>,
) -> Result<(), Box<dyn std::error::Error>> {
    let parent = folder.parent().ok_or("no folder for the optimised graph")?;
    let unfinished = parent.join(format!("unfinished-{}", std::process::id()));
    // of a process of the same number that was interrupted
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    let written = write(original, &unfinished, builder).and_then(|()| {
        for entry in fs::read_dir(parent)?.flatten() {
            if entry.path() != unfinished {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(fs::rename(&unfinished, folder)?)
    });
    if written.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    written
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
