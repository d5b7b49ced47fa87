//! Image models that take nothing but time.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::prelude::SessionContext;
use datafusion_semantic::image::Image;
use datafusion_semantic::models::{
    Caller, Embeddings, ImageEmbedder, ModelRequest, Provider, Registry, TextEmbedder,
};
use datafusion_semantic::types::embedding::EmbeddingSpace;
use datafusion_semantic::{Error, session};

/// How long a call of a model takes, whatever it is given.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

const DIMENSIONS: u8 = 8;

/// The model `mock-8` takes 8 images a call, `mock-1` one.
#[derive(Debug)]
struct MockProvider;

/// The vector of an image is its first bytes.
#[derive(Debug)]
struct MockModel {
    space: EmbeddingSpace,
    max_inputs: usize,
}

impl Provider for MockProvider {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn text_embedder(&self, request: &ModelRequest) -> datafusion_semantic::Result<Arc<dyn TextEmbedder>> {
        Err(Error::Query(format!("unknown text model '{}': there are image models only", request.model)))
    }

    fn image_embedder(&self, request: &ModelRequest) -> datafusion_semantic::Result<Arc<dyn ImageEmbedder>> {
        let Some(max_inputs) = request.model.strip_prefix("mock-").and_then(|inputs| inputs.parse().ok())
        else {
            return Err(Error::Query(format!("unknown model '{}': there are 'mock-N'", request.model)));
        };
        let space = EmbeddingSpace::new("mock", DIMENSIONS.into(), false);
        Ok(Arc::new(MockModel { space, max_inputs }))
    }
}

#[async_trait]
impl ImageEmbedder for MockModel {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn max_inputs(&self) -> usize {
        self.max_inputs
    }

    async fn embed(&self, images: &[Image<'_>], _: &dyn Caller) -> datafusion_semantic::Result<Embeddings> {
        tokio::time::sleep(LATENCY).await;
        let values = images.iter().flat_map(|image| {
            (0..DIMENSIONS).map(|at| image.pixels().get(usize::from(at)).copied().map_or(0.0, f32::from))
        });
        Embeddings::new(images.len(), DIMENSIONS.into(), values.collect())
    }
}

/// A session as the command has it, with the mock's image models in place of those of this machine.
pub(crate) async fn session() -> crate::Result<SessionContext> {
    let ctx = session::new()?;
    datafusion_semantic::register_with(&ctx, Registry::default().with_provider(Arc::new(MockProvider)))?;
    for option in ["provider = 'mock'", "image_model = 'mock-8'"] {
        crate::set(&ctx, option).await?;
    }
    Ok(ctx)
}
