//! A provider whose vectors are easy to compute by hand, and which counts what reaches it.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::common::Result as DataFusionResult;
use datafusion::prelude::SessionContext;
use datafusion_semantic::image::{Image, Mode, convert};
use datafusion_semantic::models::{
    Caller, Embeddings, ImageEmbedder, ModelRequest, Provider, Registry, TextEmbedder,
};
use datafusion_semantic::types::embedding::EmbeddingSpace;
use datafusion_semantic::{Error, Result, session};

/// Inputs and calls that reached the mock models of a session.
#[derive(Debug, Default)]
pub struct Counts {
    inputs: AtomicUsize,
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl Counts {
    /// Inputs since the last question.
    pub fn take_inputs(&self) -> usize {
        self.inputs.swap(0, Ordering::Relaxed)
    }

    /// The most calls of a slow model that were in flight at the same time.
    pub fn take_most_in_flight(&self) -> usize {
        self.most_in_flight.swap(0, Ordering::Relaxed)
    }

    /// Calls since the last question.
    pub fn take_calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

/// Models `mock` (3 dimensions), `mock-wide` (4 dimensions, of another space) and, for text and images, `mock-other`
/// (3 dimensions, of another space), `mock-slow` (20 ms a call).
#[derive(Debug)]
struct MockProvider(Arc<Counts>);

/// A text is one token and gives (bytes, vowels, 1), an image its mean (red, green, blue); 'poison' cannot be embedded.
#[derive(Debug)]
struct MockModel {
    space: EmbeddingSpace,
    counts: Arc<Counts>,
}

impl MockProvider {
    fn model(&self, request: &ModelRequest) -> Result<Arc<MockModel>> {
        let (name, dimensions) = match request.model.as_str() {
            "mock" => ("mock", 3),
            "mock-wide" => ("mock-wide", 4),
            "mock-other" => ("mock-other", 3),
            "mock-slow" => ("mock-slow", 3),
            other => {
                return Err(Error::Query(format!("unknown model '{other}': there are 'mock', 'mock-wide'")));
            }
        };
        let space = EmbeddingSpace::new(name, request.dimensions.unwrap_or(dimensions), false);
        Ok(Arc::new(MockModel { space, counts: Arc::clone(&self.0) }))
    }
}

impl Provider for MockProvider {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn text_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn TextEmbedder>> {
        Ok(self.model(request)?)
    }

    fn image_embedder(&self, request: &ModelRequest) -> Result<Arc<dyn ImageEmbedder>> {
        Ok(self.model(request)?)
    }
}

impl MockModel {
    fn embeddings(&self, vectors: impl ExactSizeIterator<Item = [f32; 3]>) -> Result<Embeddings> {
        let (rows, dimensions) = (vectors.len(), self.space.dimensions().unwrap());
        self.counts.inputs.fetch_add(rows, Ordering::Relaxed);
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        let values = vectors
            .flat_map(|vector| (0..dimensions).map(move |item| vector.get(item).copied().unwrap_or(0.5)));
        Embeddings::new(rows, dimensions, values.collect())
    }
}

#[async_trait]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
impl TextEmbedder for MockModel {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn max_inputs(&self) -> usize {
        16
    }

    async fn embed(&self, texts: &[&str], _: &dyn Caller) -> Result<Embeddings> {
        if self.space.name() == "mock-slow" {
            let in_flight = self.counts.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            self.counts.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        if texts.contains(&"poison") {
            return Err(Error::Data("the text is poisoned".to_owned()));
        }
        self.embeddings(texts.iter().map(|text| {
            let vowels = text.bytes().filter(|byte| b"aeiou".contains(byte)).count();
            [text.len() as f32, vowels as f32, 1.0]
        }))
        .map(|embeddings| embeddings.with_tokens(texts.len()))
    }
}

#[async_trait]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
impl ImageEmbedder for MockModel {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn max_inputs(&self) -> usize {
        4
    }

    async fn embed(&self, images: &[Image<'_>], _: &dyn Caller) -> Result<Embeddings> {
        self.embeddings(images.iter().map(|image| {
            let image = convert(image.clone(), Mode::Rgb);
            let pixels = image.pixels().as_chunks::<3>().0;
            [0, 1, 2].map(|channel| {
                let sum: f32 = pixels.iter().map(|pixel| f32::from(pixel[channel])).sum();
                sum / pixels.len() as f32
            })
        }))
    }
}

/// The provider of these models, which counts their calls.
pub fn provider(counts: Arc<Counts>) -> impl Provider {
    MockProvider(counts)
}

/// A session whose default models are the mock's, and the counts of its calls.
pub async fn session() -> DataFusionResult<(SessionContext, Arc<Counts>)> {
    let counts = Arc::new(Counts::default());
    let ctx = session::new()?;
    let registry = Registry::default().with_provider(Arc::new(MockProvider(Arc::clone(&counts))));
    datafusion_semantic::register_with(&ctx, registry)?;
    for set in ["provider = 'mock'", "text_model = 'mock'", "image_model = 'mock'"] {
        session::sql(&ctx, &format!("SET semantic.{set}")).await?.collect().await?;
    }
    Ok((ctx, counts))
}
