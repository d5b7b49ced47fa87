//! Image models: preprocessed pixels, one run of a batch.
use std::sync::Arc;

use async_trait::async_trait;
use ort::session::Session;

use super::config::{ImageSpace, image_space};
use super::cut::Cut;
use super::folder::{ModelFolder, Tower};
use super::graph::{Graph, GraphInput, Numbers, RunOptions};
use super::model_files::ModelFiles;
use super::opened::{Generation, Opened};
use super::preprocess::Preprocessor;
use super::queue::Input;
use super::scheduler::{Model, Scheduler};
use crate::error::{Result, query_err};
use crate::image::Image;
use crate::models::{Caller, Embeddings, ImageEmbedder};
use crate::types::embedding::EmbeddingSpace;

/// Bytes of the input tensor of one run, or one image: three of 224 x 224 pixels. More are no faster, and a run's
/// layers take several times that.
const RUN_BYTES: usize = 2 << 20;

/// The tokens of a text that has no say.
const TEXT_TOKENS: usize = 2;

/// Outputs that hold an image's vector.
const OUTPUTS: &[&str] = &["image_embeds", "pooler_output", "features"];

/// An image as the model sees it, in bytes: its floats are four times that, and are made for the run. Images of one
/// size are neighbours.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pixels {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Input for Pixels {
    fn size(&self) -> u64 {
        self.rgb.len() as u64
    }

    fn admits(&self, other: &Self, count: usize) -> bool {
        let bytes = (count + 1) * self.rgb.len() * size_of::<f32>();
        (self.width, self.height) == (other.width, other.height) && bytes <= RUN_BYTES
    }
}

/// From pixels to vectors.
#[derive(Debug)]
struct Encoder {
    name: String,
    space: ImageSpace,
    lengths: Option<Vec<usize>>,
    preprocessor: Preprocessor,
    graph: Graph,
}

impl Model for Encoder {
    type Input = Pixels;
    type Session = Session;

    fn dimensions(&self) -> usize {
        self.space.dimensions
    }

    fn open(&self) -> Result<Session> {
        self.graph.open()
    }

    fn most_runs(&self) -> usize {
        self.graph.most_runs()
    }

    fn run(&self, session: &mut Session, images: &[&Pixels]) -> Result<Vec<f32>> {
        let (rows, dimensions) = (images.len(), self.dimensions());
        let (width, height) = images.first().map_or((0, 0), |image| (image.width, image.height));
        let mut tensor = Vec::with_capacity(images.iter().map(|image| image.rgb.len()).sum());
        for image in images {
            self.preprocessor.append(&image.rgb, &mut tensor);
        }
        let shape = vec![rows, 3, height as usize, width as usize];
        let pixels = GraphInput { name: "pixel_values", shape, numbers: Numbers::F32(tensor) };
        // a graph of both towers is given a text too
        let text = |name| GraphInput { name, shape: vec![1, TEXT_TOKENS], numbers: Numbers::OnesI64 };
        let inputs = vec![pixels, text("input_ids"), text("attention_mask")];
        // images are of one size, of which no model makes many tokens
        self.graph.run(session, inputs, OUTPUTS, 0, |shape, output| {
            if shape != [rows, dimensions] {
                return query_err!(
                    "model '{}' returned an output of shape {shape:?}, expected {dimensions} numbers an image",
                    self.name
                );
            }
            Ok(output.to_vec())
        })
    }
}

/// An image model of the process.
#[derive(Debug)]
pub(super) struct LocalImageModel {
    scheduler: Scheduler<Encoder>,
}

impl LocalImageModel {
    /// Reads the model's configuration; weights are loaded by the first call.
    pub(super) fn open(folder: &ModelFolder, options: RunOptions) -> Result<Self> {
        let weights = folder.weights(Tower::Image)?;
        let files = Arc::new(ModelFiles::of(folder, &weights));
        let (space, lengths) = image_space(folder)?;
        let encoder = Encoder {
            name: folder.name().to_owned(),
            space,
            lengths,
            preprocessor: Preprocessor::read(folder)?,
            graph: Graph::new(weights, files, options),
        };
        Ok(Self { scheduler: Scheduler::new(encoder) })
    }

    /// That of its vectors: the one that its files name, else its own, in the words of a call.
    pub(super) fn space(&self, name: &str) -> EmbeddingSpace {
        self.scheduler.model().space.named(name)
    }

    /// The lengths at which its vectors may be cut, where its files say so.
    pub(super) fn lengths(&self) -> Option<&[usize]> {
        self.scheduler.model().lengths.as_deref()
    }
}

impl Opened for LocalImageModel {
    type Files = ModelFiles;

    fn files(&self) -> &Arc<ModelFiles> {
        self.scheduler.model().graph.files()
    }

    fn are_unchanged(files: &ModelFiles) -> bool {
        files.are_unchanged()
    }
}

/// An image model, and how many runs a call may have at a time.
#[derive(Debug)]
pub(super) struct LocalImageEmbedder {
    pub(super) model: Arc<LocalImageModel>,
    pub(super) generation: Generation,
    pub(super) cut: Cut,
    pub(super) threads: usize,
}

#[async_trait]
impl ImageEmbedder for LocalImageEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.cut.space
    }

    /// Few; calls meet again in the runs of the model.
    fn max_inputs(&self) -> usize {
        8
    }

    fn prepare<'a>(&self, image: Image<'a>) -> Result<Image<'a>> {
        self.model.scheduler.model().preprocessor.pixels(image)
    }

    async fn embed(&self, images: &[Image<'_>], caller: &dyn Caller) -> Result<Embeddings> {
        if !self.generation.admits(caller.query()) {
            return self.model.files().changed();
        }
        let pixels = |image: &Image<'_>| Pixels {
            width: image.width(),
            height: image.height(),
            rgb: image.pixels().to_vec(),
        };
        self.model.scheduler.prepare().await?;
        let vectors = self.model.scheduler.embed(images.iter().map(pixels).collect(), self.threads).await?;
        let (dimensions, vectors) = self.cut.apply(self.model.scheduler.model().dimensions(), vectors);
        Embeddings::new(images.len(), dimensions, vectors)
    }
}
