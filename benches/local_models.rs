//! What the stages of a local text model cost, one thread each, and end to end.
//!
//! `cargo bench --bench local_models`; the models of `make setup` are needed.
#![expect(clippy::expect_used, reason = "there is nothing to measure without the models")]
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use datafusion_semantic::image::{Image, Mode};
use datafusion_semantic::models::local::LocalProvider;
use datafusion_semantic::models::local::stages::Stages;
use datafusion_semantic::models::{Caller, LocalOptions, ModelRequest, Provider, RemoteOptions};

const TEXTS: u64 = 128;
const SETUP: &str = "the benchmark needs the default models: run `make setup` first";

/// Calls are made by no query.
#[derive(Debug)]
struct NoQuery;

impl Caller for NoQuery {
    fn shared(&self) -> Arc<dyn Caller> {
        Arc::new(Self)
    }

    fn query(&self) -> u64 {
        0
    }

    fn max_concurrency(&self) -> usize {
        1
    }

    fn begin_request(&self, _: usize, _: bool) -> datafusion_semantic::Result<()> {
        Ok(())
    }

    fn end_request(&self, _: usize, _: usize) {}
}

/// Seven of ten texts are short, of 4 to 24 words, the others long, of 80 to 170. No two are equal.
fn texts() -> Vec<String> {
    let words =
        ["the", "weather", "of", "this", "week", "is", "a", "document", "about", "ships", "and", "trees"];
    let text = |i: usize| {
        let length = if i % 10 < 7 { 4 + i * 7 % 21 } else { 80 + i * 13 % 91 };
        let words = (0..length).map(|word| words[(i + word * (word + i)) % words.len()]);
        words.chain([i.to_string().as_str()]).collect::<Vec<_>>().join(" ")
    };
    (0..TEXTS).map(|i| text(usize::try_from(i).unwrap_or_default())).collect()
}

fn stages(c: &mut Criterion) {
    for model in ["all-MiniLM-L6-v2", "all-MiniLM-L6-v2@int8"] {
        let mut stages = Stages::open(model).expect(SETUP);
        let mut group = c.benchmark_group(model);
        group.sample_size(10).throughput(Throughput::Elements(TEXTS));
        group.bench_function("tokenize", |bencher| {
            bencher.iter_batched(texts, |texts| stages.tokenize(&texts), BatchSize::LargeInput);
        });
        let tokenized = stages.tokenize(&texts()).expect(SETUP);
        group.bench_function("batch", |bencher| {
            bencher.iter_batched(|| tokenized.clone(), |texts| stages.batches(texts), BatchSize::LargeInput);
        });
        let batches = stages.batches(tokenized.clone());
        group.bench_function("run", |bencher| bencher.iter(|| stages.run(black_box(&batches))));
        let outputs = stages.run(&batches).expect(SETUP);
        group.bench_function("pool", |bencher| bencher.iter(|| stages.pool(&batches, black_box(&outputs))));
        group.finish();
    }
}

fn end_to_end(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let request = |model: &str| ModelRequest {
        model: model.to_owned(),
        dimensions: None,
        input_type: None,
        local: LocalOptions::default(),
        remote: RemoteOptions::default(),
        files: Arc::default(),
    };
    let mut group = c.benchmark_group("end to end");
    group.sample_size(10).throughput(Throughput::Elements(TEXTS));
    for model in ["all-MiniLM-L6-v2", "all-MiniLM-L6-v2@int8"] {
        let embedder = LocalProvider::new().text_embedder(&request(model)).expect(SETUP);
        group.bench_function(model, |bencher| {
            bencher.to_async(&runtime).iter(|| embedder.embed(black_box(&texts), &NoQuery));
        });
    }
    let embedder = LocalProvider::new().image_embedder(&request("conse-efficientnet-lite0")).expect(SETUP);
    let image = |seed: u8| {
        let pixels: Vec<u8> = (0..640 * 480 * 3).map(|at: u32| at.to_le_bytes()[1] ^ seed).collect();
        Image::new(640, 480, Mode::Rgb, pixels).expect("pixels of that size")
    };
    let images: Vec<Image<'static>> = (0..8).map(image).collect();
    group.throughput(Throughput::Elements(8));
    group.bench_function("conse-efficientnet-lite0", |bencher| {
        bencher.to_async(&runtime).iter(|| embedder.embed(black_box(&images), &NoQuery));
    });
}

criterion_group!(benches, stages, end_to_end);
criterion_main!(benches);
