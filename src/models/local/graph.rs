//! An ONNX graph, run by ONNX Runtime.
use std::path::PathBuf;
use std::sync::Arc;

use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, Tensor};
use tokio::sync::{Mutex, OnceCell};

use super::runtime;
use crate::blocking::blocking;
use crate::error::{Error, Result, query_err};

/// A graph that is loaded when it is first run, and then stays.
#[derive(Debug)]
pub(super) struct Graph {
    path: PathBuf,
    /// Runs of one graph follow each other: each uses all cores.
    session: OnceCell<Arc<Mutex<Session>>>,
}

/// An input of the graph. `ort` panics if a tensor is made before the library is loaded, so none is made outside.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Numbers,
}

/// The numbers of a tensor, row by row.
#[derive(Debug)]
pub(super) enum Numbers {
    I64(Vec<i64>),
    F32(Vec<f32>),
}

impl Input {
    fn into_tensor(self) -> ort::Result<SessionInputValue<'static>> {
        Ok(match self.numbers {
            Numbers::I64(numbers) => Tensor::from_array((self.shape, numbers))?.into(),
            Numbers::F32(numbers) => Tensor::from_array((self.shape, numbers))?.into(),
        })
    }
}

impl Graph {
    /// The graph in a file, which is not read yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, session: OnceCell::new() }
    }

    /// Runs the graph with those of `inputs` that it asks for, and hands the shape and the numbers of the first of
    /// `outputs` that it has, or else of its first output, to `read`.
    ///
    /// All of it is done off the async workers. When the future is dropped, a run that has begun is not awaited, and
    /// one that has not begun never begins.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        inputs: Vec<Input>,
        outputs: &'static [&'static str],
        read: impl FnOnce(&[usize], &[f32]) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let session = self.session.get_or_try_init(|| self.load()).await?;
        let mut session = Arc::clone(session).lock_owned().await;
        let path = self.path.clone();
        blocking(move || {
            let failed = |error: &dyn std::fmt::Display| {
                Error::Data(format!("cannot run {}: {error}", path.display()))
            };
            let asked: Vec<&str> = session.inputs().iter().map(Outlet::name).collect();
            if let Some(unknown) = asked.iter().find(|asked| inputs.iter().all(|input| input.name != **asked))
            {
                return query_err!("{} asks for an unknown input '{unknown}'", path.display());
            }
            let inputs = inputs.into_iter().filter(|input| asked.contains(&input.name));
            let inputs: ort::Result<Vec<_>> =
                inputs.map(|input| Ok((input.name, input.into_tensor()?))).collect();
            let names: Vec<&str> = session.outputs().iter().map(Outlet::name).collect();
            let Some(name) = outputs.iter().find(|name| names.contains(name)).or(names.first()) else {
                return query_err!("{} has no output", path.display());
            };
            let name = (*name).to_owned();
            let results = session.run(inputs.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
            let (shape, values) = results[name.as_str()].try_extract_tensor::<f32>().map_err(|error| {
                Error::Query(format!("{} does not return 32-bit floats: {error}", path.display()))
            })?;
            let shape: Vec<usize> =
                shape.iter().map(|&side| usize::try_from(side).unwrap_or_default()).collect();
            read(&shape, values)
        })
        .await
    }

    async fn load(&self) -> Result<Arc<Mutex<Session>>> {
        let path = self.path.clone();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        blocking(move || {
            let failed = |error: &dyn std::fmt::Display| {
                Error::Query(format!("cannot load the model {}: {error}", path.display()))
            };
            let environment = runtime::environment()?;
            let session = Session::builder(&environment)
                .map_err(|e| failed(&e))?
                .with_intra_threads(threads)
                .map_err(|e| failed(&e))?
                .commit_from_file(&path)
                .map_err(|e| failed(&e))?;
            Ok(Arc::new(Mutex::new(session)))
        })
        .await
    }
}
