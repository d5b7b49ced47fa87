//! Image models: preprocessing, one run a request batch.
use async_trait::async_trait;

use super::config::image_space;
use super::folder::ModelFolder;
use super::graph::{Graph, Input, Numbers};
use super::preprocess::Preprocessor;
use crate::blocking::compute;
use crate::error::{Result, query_err};
use crate::image::Image;
use crate::models::{Embeddings, ImageEmbedder};
use crate::types::embedding::EmbeddingSpace;

/// Outputs that hold an image's vector.
const OUTPUTS: &[&str] = &["image_embeds", "pooler_output", "features"];

/// An image model of the process.
#[derive(Debug)]
pub(super) struct LocalImageModel {
    name: String,
    space: EmbeddingSpace,
    preprocessor: Preprocessor,
    graph: Graph,
}

impl LocalImageModel {
    /// Reads the model's configuration; weights are loaded by the first call.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that all models are opened with")]
    pub(super) fn open(folder: ModelFolder) -> Result<Self> {
        Ok(Self {
            name: folder.name().to_owned(),
            space: image_space(&folder)?,
            preprocessor: Preprocessor::read(&folder)?,
            graph: Graph::new(folder.graph().to_owned()),
        })
    }
}

impl LocalImageModel {
    /// The input of the graph for some images, and their common width and height.
    fn tensor(&self, images: &[Image<'_>]) -> Result<(Vec<f32>, (u32, u32))> {
        let (mut tensor, mut size) = (Vec::new(), None);
        for image in images {
            let of_image = self.preprocessor.append(image.borrowed(), &mut tensor)?;
            if *size.get_or_insert(of_image) != of_image {
                return query_err!(
                    "model '{}' does not bring images to one size: its preprocessor_config.json has neither an exact \
                     size nor a crop_size; resize the images to one size first",
                    self.name
                );
            }
        }
        Ok((tensor, size.unwrap_or_default()))
    }
}

#[async_trait]
impl ImageEmbedder for LocalImageModel {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    /// Few: a tensor of 224 x 224 pixels takes 600 kB, and the layers of the graph several times that.
    fn max_inputs(&self) -> usize {
        8
    }

    async fn embed(&self, images: &[Image<'_>]) -> Result<Embeddings> {
        let (tensor, (width, height)) = compute(|| self.tensor(images))?;
        let shape = vec![images.len(), 3, height as usize, width as usize];
        let input = Input { name: "pixel_values", shape, numbers: Numbers::F32(tensor) };
        let (name, rows, dimensions) = (self.name.clone(), images.len(), self.space.dimensions());
        let read = move |shape: &[usize], output: &[f32]| {
            if shape != [rows, dimensions] {
                return query_err!(
                    "model '{name}' returned an output of shape {shape:?}, expected {dimensions} numbers an image"
                );
            }
            Embeddings::new(rows, dimensions, output.to_vec())
        };
        self.graph.run(vec![input], OUTPUTS, read).await
    }
}
