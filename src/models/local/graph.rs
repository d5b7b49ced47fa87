//! An ONNX graph, run by ONNX Runtime.
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::ep;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions as RuntimeOptions, Session, SessionInputValue};
use ort::value::{Outlet, Tensor};

use super::architectures::{self, Built};
use super::folder::{Tower, Weights};
use super::model_files::{ModelFiles, of_graph};
use super::{optimized, room, runtime};
use crate::error::{Error, Result, query_err};
use crate::models::{Device, LocalOptions};

/// Memory of a run in units of the scores of its attention: scores and shares are there at a time.
const RUN_PER_SCORES: usize = 3;
/// Runs of more bytes are not many at a time, and their memory is not kept.
const LARGE_RUN: usize = 64 << 20;

/// A graph as it is before ONNX Runtime optimises it.
#[derive(Debug)]
pub(super) enum Original {
    /// The first file is the graph, the others have weights of it.
    Files(Vec<PathBuf>),
    Built {
        folder: PathBuf,
        tower: Tower,
        files: Vec<PathBuf>,
        built: Built,
    },
}

impl Original {
    /// For weights without a graph this builds one. An error unless all files of a graph are there.
    fn of(weights: &Weights) -> Result<Self> {
        match weights {
            Weights::Onnx(path) => {
                let files = of_graph(path)?;
                if let Some(missing) = files.iter().find(|file| !file.is_file()) {
                    let folder = path.parent().unwrap_or(path);
                    return query_err!(
                        "cannot load the model {}: it keeps weights in '{}', which is not beside it",
                        path.display(),
                        missing.strip_prefix(folder).unwrap_or(missing).display()
                    );
                }
                Ok(Self::Files(files))
            }
            Weights::Safetensors(folder, tower) => Ok(Self::Built {
                folder: folder.clone(),
                tower: *tower,
                files: architectures::files(folder)?,
                built: architectures::build(folder, *tower)?,
            }),
        }
    }

    /// What it is called in errors and on the disk: the file of the graph, or the folder that it was built from.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Files(files) => files.first().map_or(Path::new(""), PathBuf::as_path),
            Self::Built { folder, .. } => folder,
        }
    }

    /// A session over it.
    pub(super) fn commit(&self, mut builder: SessionBuilder) -> ort::Result<Session> {
        match self {
            Self::Files(_) => builder.commit_from_file(self.path()),
            Self::Built { built, .. } => {
                let folder = built.folder.to_string_lossy();
                builder
                    .with_config_entry("session.model_external_initializers_file_folder_path", folder)?
                    .commit_from_memory(&built.onnx)
            }
        }
    }
}

/// A graph, of which nothing is read before a session is opened.
#[derive(Debug)]
pub(super) struct Graph {
    weights: Weights,
    options: RunOptions,
    /// What all sessions are opened from.
    files: Arc<ModelFiles>,
    /// Read or built for the first session.
    original: Mutex<Option<Arc<Original>>>,
    /// Known with the first session.
    on_gpu: OnceLock<bool>,
}

/// How the sessions of a graph run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RunOptions {
    /// Whether a session keeps the memory of its runs for later runs, instead of giving it back.
    memory_arena: bool,
    device: Device,
}

impl From<&LocalOptions> for RunOptions {
    fn from(options: &LocalOptions) -> Self {
        Self { memory_arena: options.memory_arena, device: options.device }
    }
}

/// An input of the graph. `ort` panics if a tensor is made before the library is loaded, so none is made outside.
#[derive(Debug)]
pub(super) struct GraphInput {
    pub(super) name: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Numbers,
}

/// The numbers of a tensor, row by row.
#[derive(Debug)]
pub(super) enum Numbers {
    I64(Vec<i64>),
    F32(Vec<f32>),
    /// For an input that has no say in the output: memory is taken where a graph asks for it.
    ZerosF32,
    OnesI64,
}

impl GraphInput {
    fn into_tensor(self) -> ort::Result<SessionInputValue<'static>> {
        let count = self.shape.iter().product();
        Ok(match self.numbers {
            Numbers::ZerosF32 => Tensor::from_array((self.shape, vec![0.0_f32; count]))?.into(),
            Numbers::OnesI64 => Tensor::from_array((self.shape, vec![1_i64; count]))?.into(),
            Numbers::I64(numbers) => Tensor::from_array((self.shape, numbers))?.into(),
            Numbers::F32(numbers) => Tensor::from_array((self.shape, numbers))?.into(),
        })
    }
}

impl Graph {
    /// `files` are those of the model, looked at before anything of them was read.
    pub(super) fn new(weights: Weights, files: Arc<ModelFiles>, options: RunOptions) -> Self {
        Self { weights, options, files, original: Mutex::default(), on_gpu: OnceLock::new() }
    }

    /// The files of the model.
    pub(super) fn files(&self) -> &Arc<ModelFiles> {
        &self.files
    }

    /// The most runs at a time: a GPU does one after the other, and its memory has room for few sessions.
    pub(super) fn most_runs(&self) -> usize {
        if self.on_gpu.get() == Some(&true) { 1 } else { usize::MAX }
    }

    /// What to name in errors.
    fn path(&self) -> &Path {
        match &self.weights {
            Weights::Onnx(path) | Weights::Safetensors(path, _) => path,
        }
    }

    /// Another session. On the processor it has one thread, and sessions share the weights' memory where the optimised
    /// graph can be cached. An error where the files of the model are not those any more that it was opened with.
    pub(super) fn open(&self) -> Result<Session> {
        self.files.check()?;
        let session = self.open_unchecked()?;
        // they may have changed while they were read
        self.files.check()?;
        Ok(session)
    }

    fn original(&self) -> Result<Arc<Original>> {
        let mut original = self.original.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(original) = &*original {
            return Ok(Arc::clone(original));
        }
        Ok(Arc::clone(original.insert(Arc::new(Original::of(&self.weights)?))))
    }

    fn open_unchecked(&self) -> Result<Session> {
        let original = self.original()?;
        let environment = runtime::environment()?;
        if runtime::may_use_cuda(self.options.device)? {
            match self.open_on_gpu(&original, &environment) {
                Ok(session) => {
                    let _ = self.on_gpu.set(true);
                    return Ok(session);
                }
                Err(error) if self.options.device == Device::Cuda => return Err(error),
                // a GPU was only preferred
                Err(_) => {}
            }
        }
        let _ = self.on_gpu.set(false);
        let builder = || {
            let builder = Session::builder(&environment)?
                .with_intra_threads(1)?
                // batches differ in shape: a plan of the memory would be made for each, and kept
                .with_memory_pattern(false)?
                .with_execution_providers([ep::CPU::default()
                    .with_arena_allocator(self.options.memory_arena)
                    .build()])?;
            Ok::<SessionBuilder, ort::Error>(builder)
        };
        if let Some(session) = optimized::open(&original, builder) {
            return Ok(session);
        }
        let plain = || original.commit(builder()?.with_optimization_level(GraphOptimizationLevel::All)?);
        plain().map_err(|error: ort::Error| {
            Error::Query(format!("cannot load the model {}: {error}", self.path().display()))
        })
    }

    fn open_on_gpu(&self, original: &Original, environment: &Environment) -> Result<Session> {
        let open = || {
            // numbers as the processor's: not those of 19 bits that tensor cores are fastest with
            let gpu = ep::CUDA::default().with_tf32(false).build().error_on_failure();
            let builder = Session::builder(environment)?
                .with_memory_pattern(false)?
                .with_execution_providers([gpu])?
                .with_optimization_level(GraphOptimizationLevel::All)?;
            original.commit(builder)
        };
        open().map_err(|error: ort::Error| {
            Error::Query(format!(
                "cannot load the model {} on a GPU: {error}; SET semantic.device = 'cpu' does without",
                self.path().display()
            ))
        })
    }

    /// Runs the graph with those of `inputs` that it asks for, and hands the shape and the numbers of the first of
    /// `outputs` that it has, or else of its first output, to `read`.
    ///
    /// `scores` are the bytes of the scores of its attention. Where they are many, the run waits until there is room for it
    /// beside others, and its memory is given back.
    pub(super) fn run<T>(
        &self,
        session: &mut Session,
        inputs: Vec<GraphInput>,
        outputs: &[&str],
        scores: usize,
        read: impl FnOnce(&[usize], &[f32]) -> Result<T>,
    ) -> Result<T> {
        let path = self.path().display();
        let failed = |error: &dyn Display| Error::Data(format!("cannot run {path}: {error}"));
        let asked: Vec<&str> = session.inputs().iter().map(Outlet::name).collect();
        if let Some(unknown) = asked.iter().find(|asked| inputs.iter().all(|input| input.name != **asked)) {
            return query_err!("{path} asks for an unknown input '{unknown}'");
        }
        let inputs = inputs.into_iter().filter(|input| asked.contains(&input.name));
        let inputs: ort::Result<Vec<_>> =
            inputs.map(|input| Ok((input.name, input.into_tensor()?))).collect();
        let names: Vec<&str> = session.outputs().iter().map(Outlet::name).collect();
        let Some(name) = outputs.iter().find(|name| names.contains(name)).or(names.first()) else {
            return query_err!("{path} has no output");
        };
        let name = (*name).to_owned();
        let inputs = inputs.map_err(|error| failed(&error))?;
        let memory = scores.saturating_mul(RUN_PER_SCORES);
        let _room = (memory > LARGE_RUN).then(|| room::wait_for(memory));
        let mut options = RuntimeOptions::new().map_err(|error| failed(&error))?;
        if memory > LARGE_RUN && self.options.memory_arena && self.on_gpu.get() == Some(&false) {
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0").map_err(|error| failed(&error))?;
        }
        let results = session.run_with_options(inputs, &options).map_err(|error| failed(&error))?;
        let (shape, values) = results[name.as_str()]
            .try_extract_tensor::<f32>()
            .map_err(|error| Error::Query(format!("{path} does not return 32-bit floats: {error}")))?;
        let shape: Vec<usize> = shape.iter().map(|&side| usize::try_from(side).unwrap_or_default()).collect();
        read(&shape, values)
    }
}
