//! Image models: preprocessed pixels, one run of a batch.
use std::sync::Arc;

use async_trait::async_trait;
use ort::session::Session;

use super::config::image_space;
use super::folder::{ModelFolder, Tower};
use super::graph::{Graph, GraphInput, Numbers};
use super::preprocess::Preprocessor;
use super::queue::Input;
use super::scheduler::{Model, Scheduler};
use crate::blocking::compute;
use crate::error::{Result, query_err};
use crate::image::Image;
use crate::models::{Caller, Embeddings, ImageEmbedder};
use crate::types::embedding::EmbeddingSpace;

/// Bytes of the input tensor of one run, or one image: three of 224 x 224 pixels. More are no faster, and a run's
/// layers take several times that.
const RUN_BYTES: usize = 2 << 20;

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
    space: EmbeddingSpace,
    preprocessor: Preprocessor,
    graph: Graph,
}

impl Model for Encoder {
    type Input = Pixels;
    type Session = Session;

    fn dimensions(&self) -> usize {
        // they are in every model's files
        self.space.dimensions().unwrap_or_default()
    }

    fn open(&self) -> Result<Session> {
        self.graph.open()
    }

    fn run(&self, session: &mut Session, images: &[&Pixels]) -> Result<Vec<f32>> {
        let (rows, dimensions) = (images.len(), self.dimensions());
        let (width, height) = images.first().map_or((0, 0), |image| (image.width, image.height));
        let mut tensor = Vec::with_capacity(images.iter().map(|image| image.rgb.len()).sum());
        for image in images {
            self.preprocessor.append(&image.rgb, &mut tensor);
        }
        let shape = vec![rows, 3, height as usize, width as usize];
        let input = GraphInput { name: "pixel_values", shape, numbers: Numbers::F32(tensor) };
        self.graph.run(session, vec![input], OUTPUTS, |shape, output| {
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
    pub(super) fn open(folder: &ModelFolder, memory_arena: bool) -> Result<Self> {
        let encoder = Encoder {
            name: folder.name().to_owned(),
            space: image_space(folder)?,
            preprocessor: Preprocessor::read(folder)?,
            graph: Graph::new(folder.weights(Tower::Image), memory_arena),
        };
        Ok(Self { scheduler: Scheduler::new(encoder) })
    }

    pub(super) fn space(&self) -> &EmbeddingSpace {
        &self.scheduler.model().space
    }

    fn pixels(&self, images: &[Image<'_>]) -> Result<Vec<Pixels>> {
        let preprocess = |image: &Image<'_>| {
            let image = self.scheduler.model().preprocessor.pixels(image.borrowed())?;
            Ok(Pixels { width: image.width(), height: image.height(), rgb: image.into_pixels() })
        };
        images.iter().map(preprocess).collect()
    }
}

/// An image model, and how many runs a call may have at a time.
#[derive(Debug)]
pub(super) struct LocalImageEmbedder {
    pub(super) model: Arc<LocalImageModel>,
    pub(super) threads: usize,
}

#[async_trait]
impl ImageEmbedder for LocalImageEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        self.model.space()
    }

    /// Few, as all of them are there in full size; calls meet again in the runs of the model.
    fn max_inputs(&self) -> usize {
        8
    }

    async fn embed(&self, images: &[Image<'_>], _: &dyn Caller) -> Result<Embeddings> {
        // begun first: weights are loaded while pixels are computed here
        let ((), inputs) = tokio::try_join!(self.model.scheduler.prepare(), async {
            compute(|| self.model.pixels(images))
        })?;
        let vectors = self.model.scheduler.embed(inputs, self.threads).await?;
        Embeddings::new(images.len(), self.model.scheduler.model().dimensions(), vectors)
    }
}
