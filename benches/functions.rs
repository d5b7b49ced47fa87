//! What a function costs: the kernels of images, and the whole way of a call through SQL.
//!
//! `cargo bench`; the models of `make setup` are needed.
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion_semantic::image::{DecodeOptions, Filter, Image, Mode, decode, resize};
use datafusion_semantic::session;

fn images(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode_image");
    for name in ["cat.png", "coffee.jpg", "rocket.tiff", "palace.webp"] {
        let path = format!("{}/sql/data/photos/{name}", env!("CARGO_MANIFEST_DIR"));
        let Ok(bytes) = std::fs::read(&path) else { continue };
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(black_box(&bytes), Some(Mode::Rgb), &DecodeOptions::default()));
        });
    }
    group.finish();
    c.bench_function("resize/1024x768 to 224x224", |bencher| {
        let Ok(image) = Image::new(1024, 768, Mode::Rgb, vec![128; 1024 * 768 * 3]) else {
            return;
        };
        bencher.iter_batched(
            || image.clone(),
            |image| resize(image, 224, 224, Filter::Bilinear).map(|image| image.pixels().len()),
            BatchSize::LargeInput,
        );
    });
}

#[expect(clippy::expect_used, reason = "there is nothing to measure without the models")]
fn embed_text(c: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return;
    };
    let Ok(ctx) = session::new() else { return };
    let run = |sql: String| {
        let ctx = ctx.clone();
        async move { session::sql(&ctx, &sql).await?.collect().await }
    };
    let mut group = c.benchmark_group("embed_text");
    group.sample_size(10);
    for rows in [1_u64, 256] {
        let sql = format!(
            "SELECT embed_text(concat('Document number ', i, ' is about the weather of this week.')) \
             FROM generate_series(1, {rows}) AS t(i)"
        );
        runtime
            .block_on(run(sql.clone()))
            .expect("the benchmark needs the default models: run `make setup` first");
        group.throughput(Throughput::Elements(rows));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.to_async(&runtime).iter(|| run(sql.clone()));
        });
    }
}

criterion_group!(benches, images, embed_text);
criterion_main!(benches);
