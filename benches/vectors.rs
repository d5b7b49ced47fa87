//! What distances cost: the kernels beside the plain reading of the same memory, and the functions in SQL.
//!
//! `cargo bench --bench vectors`; no model is needed. The throughput of one query is to be compared with that of
//! `read`, which is what memory gives; that of many queries is in multiplications and additions.
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion_semantic::session;
use datafusion_semantic::vector::{Item, Metric, Queries, Query, Rows};
use half::f16;

const DIMENSIONS: usize = 384;
/// More than any cache holds: 300 MB of f32.
const ROWS: usize = 200_000;
const METRICS: [Metric; 4] =
    [Metric::CosineDistance, Metric::InnerProduct, Metric::L2Distance, Metric::L1Distance];

/// Numbers in [-0.5, 0.5) that look random.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let [_, high, low, _] = state.to_be_bytes();
        f32::from(u16::from_be_bytes([high, low])) / 65536.0 - 0.5
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn read(vectors: &[f32]) -> f32 {
    let mut sums = [0.0; 64];
    for part in vectors.as_chunks::<64>().0 {
        for (sum, item) in sums.iter_mut().zip(part) {
            *sum += item;
        }
    }
    sums.iter().sum()
}

/// Runs `each` on the halves of rows and values in two threads.
fn halves<T: Item>(rows: &[T], values: &mut [Option<f64>], each: impl Fn(&[T], &mut [Option<f64>]) + Sync) {
    let half = values.len() / 2;
    let ((rows_a, rows_b), (values_a, values_b)) =
        (rows.split_at(half * DIMENSIONS), values.split_at_mut(half));
    std::thread::scope(|scope| {
        scope.spawn(|| each(rows_a, values_a));
        each(rows_b, values_b);
    });
}

fn one_query(c: &mut Criterion) {
    let (rows, mut values) = (numbers(ROWS * DIMENSIONS), vec![None; ROWS]);
    let query = rows[..DIMENSIONS].to_vec();
    let mut group = c.benchmark_group("one query, two threads");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(size_of_val(rows.as_slice()) as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| halves(&rows, &mut values, |rows, _| _ = black_box(read(rows))));
    });
    for metric in METRICS {
        let query = Query::new(metric, &query);
        group.bench_function(BenchmarkId::new("f32", format!("{metric:?}")), |bencher| {
            bencher.iter(|| halves(&rows, &mut values, |rows, values| query.values(rows, values)));
        });
    }
    let query = Query::new(Metric::CosineDistance, &query);
    let mut of_type = |name: &str, bench: &mut dyn FnMut(&mut [Option<f64>]), size: usize| {
        group.throughput(Throughput::Bytes((ROWS * DIMENSIONS * size) as u64));
        group.bench_function(BenchmarkId::new(name, "CosineDistance"), |bencher| {
            bencher.iter(|| bench(&mut values));
        });
    };
    let halved: Vec<f16> = rows.iter().map(|&item| f16::from_f32(item)).collect();
    of_type("f16", &mut |values| halves(&halved, values, |rows, values| query.values(rows, values)), 2);
    #[expect(clippy::cast_possible_truncation, reason = "from -127 to 127")]
    let bytes: Vec<i8> = rows.iter().map(|&item| (item * 254.0) as i8).collect();
    of_type("i8", &mut |values| halves(&bytes, values, |rows, values| query.values(rows, values)), 1);
    let doubles: Vec<f64> = rows.iter().map(|&item| f64::from(item)).collect();
    of_type("f64", &mut |values| halves(&doubles, values, |rows, values| query.values(rows, values)), 8);
}

fn many_queries(c: &mut Criterion) {
    const BLOCK: usize = 1024;
    let rows = numbers(BLOCK * DIMENSIONS);
    let mut group = c.benchmark_group("bounds of 1,024 rows, one thread");
    for count in [1, 4, 16, 100, 1000] {
        let queries = numbers(count * DIMENSIONS);
        let mut bounds = vec![0.0; count * BLOCK];
        group.throughput(Throughput::Elements((2 * count * BLOCK * DIMENSIONS) as u64));
        for metric in [Metric::CosineDistance, Metric::L2Distance] {
            let queries = Queries::new(metric, &queries, DIMENSIONS);
            group.bench_function(BenchmarkId::new(format!("{metric:?}"), count), |bencher| {
                bencher.iter(|| {
                    queries.lower_bounds(&Rows::new(black_box(&rows), DIMENSIONS, false), &mut bounds);
                });
            });
        }
    }
}

#[expect(clippy::expect_used, reason = "there is nothing to measure without them")]
fn functions(c: &mut Criterion) {
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let items = Arc::new(Float32Array::from(numbers(ROWS * DIMENSIONS)));
    let fixed: ArrayRef =
        Arc::new(FixedSizeListArray::try_new(item, 384, items, None).expect("384 items each"));
    let item = Arc::new(Field::new_list_field(DataType::Float16, true));
    let list = cast(&fixed, &DataType::List(item)).expect("floats");
    let batch = RecordBatch::try_from_iter([("f32", fixed), ("f16", list)]).expect("columns");
    let parts: Vec<_> = (0..ROWS / 8000).map(|part| batch.slice(part * 8000, 8000)).collect();
    let table = datafusion::datasource::MemTable::try_new(batch.schema(), vec![parts]).expect("a table");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let ctx = session::new().expect("a session");
    ctx.register_table("vectors", Arc::new(table)).expect("a name of its own");
    let run = |sql: String| {
        let ctx = ctx.clone();
        async move { session::sql(&ctx, &sql).await?.collect().await }
    };
    let mut group = c.benchmark_group("in SQL");
    group.sample_size(10);
    group.throughput(Throughput::Elements(ROWS as u64));
    for call in [
        "cosine_distance(f32, q)",
        "cosine_distance(f32, f32)",
        "cosine_distance(f16, q)",
        "inner_product(f32, q)",
        "l2_distance(f32, q)",
        "l1_distance(f32, q)",
        "vector_norm(f32)",
        "normalize(f32)[1]",
        "avg_vector(f32)[1]",
    ] {
        // the first of the vectors, as a constant
        let constant = "(SELECT f32 FROM vectors LIMIT 1)";
        let call = call.replace("q)", &format!("{constant})"));
        let sql = match call.starts_with("avg") {
            true => format!("SELECT {call} FROM vectors"),
            false => format!("SELECT max({call}) FROM vectors"),
        };
        runtime.block_on(run(sql.clone())).expect("a query that runs");
        group.bench_function(call.replace(constant, "q"), |bencher| {
            bencher.to_async(&runtime).iter(|| run(sql.clone()));
        });
    }
}

criterion_group!(benches, one_query, many_queries, functions);
criterion_main!(benches);
