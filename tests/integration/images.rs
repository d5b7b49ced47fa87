//! Images from files to pixels to vectors, over the mock provider.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryPool, MemoryReservation, UnboundedMemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{collect, execute_stream};
use datafusion_semantic::image::{DecodeOptions, Image, decode};
use futures::StreamExt;

use crate::mock;

/// Values of the first column as text.
async fn column(sql: &str) -> Result<Vec<String>, String> {
    let (ctx, _) = mock::session().await.unwrap();
    let frame = datafusion_semantic::session::sql(&ctx, sql).await.map_err(|error| error.to_string())?;
    let batches = frame.collect().await.map_err(|error| error.to_string())?;
    let mut values = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value =
                datafusion::arrow::util::display::array_value_to_string(batch.column(0), row).unwrap();
            values.push(if batch.column(0).is_null(row) { "NULL".to_owned() } else { value });
        }
    }
    Ok(values)
}

#[tokio::test]
async fn the_four_photos_decode_with_their_sizes_and_modes() {
    let sizes = column(
        "SELECT concat(image['width'], 'x', image['height'], ' ', image['mode'], ' ', image['channels']) \
         FROM (SELECT path, decode_image(download(path)) AS image FROM glob('sql/data/photos/*')) ORDER BY path",
    );
    assert_eq!(sizes.await.unwrap(), ["320x213 RGB 3", "480x320 RGB 3", "480x320 RGB 3", "400x267 RGB 3"]);
}

#[tokio::test]
async fn resize_to_constants_is_a_tensor_and_to_columns_an_image() {
    let (ctx, _) = mock::session().await.unwrap();
    let plan = |sql: &'static str| datafusion_semantic::session::sql(&ctx, sql);
    let frame =
        plan("SELECT resize(decode_image(download('sql/data/photos/cat.png'), 'RGB'), 6, 4) AS image")
            .await
            .unwrap();
    let field = frame.schema().field(0);
    assert!(
        matches!(field.data_type(), DataType::FixedSizeList(item, 72) if item.data_type() == &DataType::UInt8)
    );
    assert_eq!(field.metadata()["ARROW:extension:name"], "arrow.fixed_shape_tensor");
    assert!(field.metadata()["ARROW:extension:metadata"].contains("\"shape\":[4,6,3]"));
    assert_eq!(frame.collect().await.unwrap()[0].column(0).as_fixed_size_list().value_length(), 72);

    // the mode is not known at plan time
    let frame = plan("SELECT resize(decode_image(download('sql/data/photos/cat.png')), 6, 4) AS image")
        .await
        .unwrap();
    assert_eq!(frame.schema().field(0).metadata()["ARROW:extension:name"], "semantic.image");
    let sizes = column(
        "SELECT concat(image['width'], 'x', image['height']) FROM (SELECT side, \
         resize(decode_image(download('sql/data/photos/cat.png'), 'L'), side, side * 2) AS image \
         FROM (VALUES (1), (7), (NULL)) AS t(side)) ORDER BY side",
    );
    assert_eq!(sizes.await.unwrap()[..2], ["1x2", "7x14"]);
}

#[tokio::test]
async fn bytes_decoded_images_and_tensors_embed_alike() {
    let (ctx, counts) = mock::session().await.unwrap();
    let sql = "SELECT cosine_distance(embed_image(file), embed_image(decode_image(file))) + \
               cosine_distance(embed_image(decode_image(file)), embed_image(resize(decode_image(file, 'RGB'), 320, 213))) \
               FROM (SELECT download('sql/data/photos/cat.png') AS file)";
    let batches = datafusion_semantic::session::sql(&ctx, sql).await.unwrap().collect().await.unwrap();
    assert!(batches[0].column(0).as_primitive::<Float64Type>().value(0) < 1e-6);
    assert_eq!(counts.take_inputs(), 3);
}

#[tokio::test]
async fn a_corrupt_image_is_an_error_or_null() {
    let corrupt = "FROM (VALUES (1, x'89504e470d0a1a0a'), (2, arrow_cast('no image', 'Binary')), (3, NULL)) AS t(id, bytes)";
    let error = column(&format!("SELECT decode_image(bytes) {corrupt} WHERE id = 1")).await.unwrap_err();
    assert!(error.contains("decode_image: corrupt PNG image"), "{error}");
    let error = column(&format!("SELECT decode_image(bytes) {corrupt} WHERE id = 2")).await.unwrap_err();
    assert!(
        error.contains("decode_image: unknown image format, the first bytes are 6e6f20696d616765"),
        "{error}"
    );
    let nulls = format!("SELECT decode_image(bytes, on_error => 'null') IS NULL {corrupt} ORDER BY id");
    assert_eq!(column(&nulls).await.unwrap(), ["true"; 3]);
    let nulls = format!("SELECT embed_image(bytes, on_error => 'null') IS NULL {corrupt} ORDER BY id");
    assert_eq!(column(&nulls).await.unwrap(), ["true"; 3]);
}

#[tokio::test]
async fn wrong_types_name_the_cure() {
    for (call, expected) in [
        (
            "decode_image('a.png')",
            "decode_image: bytes must be binary, found Utf8; read a path with decode_image(download(path))",
        ),
        ("resize(1, 2, 3)", "resize: image must be a decoded image, found Int64: use decode_image"),
        (
            "convert_image(NULL, 'CMYK')",
            "convert_image: unknown image mode 'CMYK': use 'L', 'LA', 'RGB', 'RGBA', 'L16'",
        ),
        ("resize(NULL, 0, 3)", "resize: width must be a whole number from 1 to 16384 like 224, found 0"),
        ("resize(NULL, 2.5, 3)", "resize: width must be a whole number, found Float64"),
        (
            "embed_image('a.png')",
            "embed_image: image must be a decoded image or the bytes of an image file, found Utf8",
        ),
        (
            "resize(NULL, 2, 3, 'cubic')",
            "resize: unknown filter 'cubic': use 'nearest', 'bilinear', 'bicubic'",
        ),
        (
            "resize(NULL, 2, 3, 'box', 'fill')",
            "resize: unknown fit 'fill': use 'stretch', 'contain', 'cover' or 'pad'",
        ),
        ("crop(NULL, 0.5, 0, 1, 1)", "crop: x must be a whole number, found Float64"),
        (
            "encode_image(NULL, 'ico')",
            "encode_image: unknown format 'ico': use 'png', 'jpeg', 'webp', 'tiff'",
        ),
        ("encode_image(NULL, 'png', 90)", "encode_image: 'png' has no quality: it is for 'jpeg' and 'webp'"),
        (
            "encode_image(convert_image(NULL, 'RGBA'), 'jpeg')",
            "encode_image: JPEG holds no image in mode RGBA, only L, RGB: convert it first",
        ),
        ("image_to_tensor(NULL)", "image_to_tensor: the mode of the images is not known at plan time"),
        ("image_width('a.png')", "image_width: image must be a decoded image, found Utf8: use decode_image"),
        ("image_info('a.png')", "image_info: bytes must be binary, found Utf8"),
        ("glob(1)", "glob"),
    ] {
        let error = column(&format!("SELECT {call}")).await.unwrap_err();
        assert!(error.contains(expected), "{call}: {error}");
    }
}

#[tokio::test]
async fn images_come_back_from_files() {
    let (ctx, counts) = mock::session().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for format in ["parquet", "arrow"] {
        let file = folder.path().join(format!("images.{format}")).display().to_string();
        let copy = format!(
            "COPY (SELECT decode_image(download(path)) AS image, resize(decode_image(download(path), 'RGB'), 2, 2) AS small \
             FROM glob('sql/data/photos/*')) TO '{file}'"
        );
        ctx.sql(&copy).await.unwrap().collect().await.unwrap();
        let sql = format!("SELECT embed_image(image) FROM '{file}'");
        let batches = ctx.sql(&sql).await.unwrap().collect().await.unwrap();
        assert_eq!(
            batches.iter().map(|batch| batch.num_rows() - batch.column(0).null_count()).sum::<usize>(),
            4
        );
        assert_eq!(counts.take_inputs(), 4, "{format}");
        // what it is made of says that it is an image, so that it still is one
        let sql = format!("SELECT embed_image(small) FROM '{file}'");
        ctx.sql(&sql).await.unwrap().collect().await.unwrap();
        assert_eq!(counts.take_inputs(), 4, "{format}");
    }
}

#[tokio::test]
async fn an_embedding_keeps_its_space_in_files() {
    let (ctx, _) = mock::session().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for format in ["parquet", "arrow"] {
        let file = folder.path().join(format!("vectors.{format}")).display().to_string();
        let copy = format!("COPY (SELECT embed_text('a', 'mock-other') AS e) TO '{file}'");
        ctx.sql(&copy).await.unwrap().collect().await.unwrap();
        let sql = format!("SELECT cosine_distance(e, embed_text('a')) FROM '{file}'");
        let error = ctx.sql(&sql).await.unwrap_err().to_string();
        assert!(error.contains("different spaces, 'mock-other' and 'mock'"), "{format}: {error}");
    }
}

const CAT: &str = "download('sql/data/photos/cat.png')";

#[tokio::test]
async fn every_function_of_images() {
    let decoded = format!("decode_image({CAT})");
    for (call, expected) in [
        (format!("image_width({decoded})"), "320"),
        (format!("image_height({decoded})"), "213"),
        (format!("image_channels({decoded})"), "3"),
        (format!("image_mode(convert_image({decoded}, 'rgba16'))"), "RGBA16"),
        (format!("image_format({CAT})"), "png"),
        ("image_format(X'00')".to_owned(), "NULL"),
        (format!("image_info({CAT})['mode']"), "RGB"),
        (format!("image_info({CAT})['orientation']"), "1"),
        ("image_info(X'00', on_error => 'null') IS NULL".to_owned(), "true"),
        (format!("image_width(thumbnail({decoded}, 32))"), "32"),
        (format!("image_height(thumbnail({decoded}, 32))"), "21"),
        (format!("image_height(resize({decoded}, 64, 64, 'lanczos3', 'contain'))"), "43"),
        (format!("image_height(resize({decoded}, 64, 64, 'lanczos3', 'pad'))"), "64"),
        (format!("image_width(resize({decoded}, 64, 80, fit => 'cover'))"), "64"),
        (format!("image_width(crop({decoded}, 300, 200, 20, 13))"), "20"),
        (format!("crop({decoded}, 0, 0, NULL, 13) IS NULL"), "true"),
        (format!("image_info(encode_image({decoded}, 'webp', 50))['format']"), "webp"),
        (format!("image_info(encode_image({decoded}, 'jpeg'))['width']"), "320"),
        (
            format!("image_mode(decode_image(encode_image(convert_image({decoded}, 'RGB32F'), 'tiff')))"),
            "RGB32F",
        ),
        (format!("decode_image(encode_image({decoded}, 'bmp')) = {decoded}"), "true"),
        (format!("image_to_tensor(decode_image({CAT}, 'L'))['shape'][1]"), "213"),
        (format!("cardinality(image_to_tensor(decode_image({CAT}, 'L'))['data'])"), "68160"),
        // as the Python library ImageHash has it
        (format!("array_to_string(image_hash({decoded}), ' ')"), "177 95 230 70 81 33 23 94"),
        (
            format!("array_to_string(image_hash(convert_image({decoded}, 'RGBA16'), 'dhash'), ' ')"),
            "84 20 88 154 171 111 167 133",
        ),
        (format!("array_length(image_hash({decoded}, hash_size => 16))"), "32"),
        (format!("image_hash(CASE WHEN image_width({decoded}) < 9 THEN {decoded} END) IS NULL"), "true"),
        ("image_hash(NULL) IS NULL".to_owned(), "true"),
        (format!("array_length(image_to_tensor(resize(decode_image({CAT}, 'L'), 3, 2)))"), "6"),
    ] {
        let sql = format!("SELECT arrow_cast({call}, 'Utf8')");
        assert_eq!(
            column(&sql).await.map_err(|error| format!("{call}: {error}")).unwrap(),
            [expected],
            "{call}"
        );
    }
    let error = column(&format!("SELECT crop({decoded}, 300, 200, 21, 13)")).await.unwrap_err();
    assert!(
        error.contains("crop: 21x13 pixels at (300, 200) are not all inside an image of 320x213"),
        "{error}"
    );
}

#[tokio::test]
async fn copies_of_a_photo_have_nearly_its_hash() {
    // each photo beside a smaller one of its own in another format
    let pairs = "WITH photos AS (SELECT path, decode_image(download(path), 'RGB') AS image FROM glob('sql/data/photos/*')),
         hashes AS (SELECT path, image_hash(image) AS hash FROM photos),
         copies AS (SELECT path, image_hash(decode_image(encode_image(thumbnail(image, 100), 'jpeg', 60))) AS hash FROM photos)
         SELECT a.path = b.path FROM hashes a CROSS JOIN copies b WHERE hamming_distance(a.hash, b.hash) <= 8";
    assert_eq!(column(pairs).await.unwrap(), ["true"; 4]);

    let image = format!("decode_image({CAT})");
    for (call, expected) in [
        (
            format!("image_hash({CAT})"),
            "image_hash: image must be a decoded image, found LargeBinary: use decode_image",
        ),
        (
            format!("image_hash({image}, 'xhash')"),
            "image_hash: unknown method 'xhash': use 'phash', 'dhash' or 'ahash'",
        ),
        (
            format!("image_hash({image}, hash_size => 6)"),
            "image_hash: hash_size must be a multiple of 4 from 4 to 64, found 6",
        ),
    ] {
        let error = column(&format!("SELECT {call}")).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_column_of_mixed_modes_and_sizes() {
    let modes = column(
        "SELECT image_mode(image) FROM (SELECT convert_image(decode_image(download('sql/data/photos/cat.png')), 'L16') AS image
         UNION ALL SELECT decode_image(download('sql/data/photos/coffee.jpg'))
         UNION ALL SELECT convert_image(decode_image(download('sql/data/photos/palace.webp')), 'RGBA32F')) ORDER BY 1",
    );
    assert_eq!(modes.await.unwrap(), ["L16", "RGB", "RGBA32F"]);
}

#[tokio::test]
async fn limits_are_options() {
    let (ctx, _) = mock::session().await.unwrap();
    let run = async |sql: &str| {
        let frame = datafusion_semantic::session::sql(&ctx, sql).await.map_err(|error| error.to_string())?;
        frame.collect().await.map_err(|error| error.to_string())
    };
    run("SET semantic.image_max_side = 300").await.unwrap();
    let error = run(&format!("SELECT decode_image({CAT})")).await.unwrap_err();
    assert!(
        error.contains(
            "decode_image: an image of 320x213 in mode RGB is too large: at most 300 pixels a side are decoded \
             (semantic.image_max_side); on_error => 'null' makes such rows NULL"
        ),
        "{error}"
    );
    // the header alone is read
    assert!(run(&format!("SELECT image_info({CAT})")).await.is_ok());
    let error = run("SET semantic.image_max_bytes = 'many'").await.unwrap_err();
    assert!(error.contains("semantic.image_max_bytes must be a number of bytes"), "{error}");
}

#[tokio::test]
async fn an_image_larger_than_the_memory_limit_is_an_error_before_it_is_decoded() {
    let (ctx, _) = mock::session().await.unwrap();
    let run = async |sql: &str| {
        let frame = datafusion_semantic::session::sql(&ctx, sql).await.map_err(|error| error.to_string())?;
        frame.collect().await.map_err(|error| error.to_string())
    };
    run("SET datafusion.runtime.memory_limit = '300K'").await.unwrap();
    let error = run(&format!("SELECT resize(decode_image({CAT}), 8, 8)")).await.unwrap_err();
    assert!(error.contains("an image takes 408960 bytes while it is decoded"), "{error}");
    assert!(error.contains("raise datafusion.runtime.memory_limit"), "{error}");
}

#[tokio::test]
async fn what_is_decoded_only_to_be_resized_is_resized_at_once() {
    let (ctx, _) = mock::session().await.unwrap();
    let plan = async |call: &str| {
        let sql =
            format!("EXPLAIN SELECT {call} FROM (SELECT download(path) AS f FROM glob('sql/data/photos/*'))");
        let batches = datafusion_semantic::session::sql(&ctx, &sql).await.unwrap().collect().await.unwrap();
        arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
    };
    let scaled = "decode_image for 32x24 of";
    for (call, expected) in [
        ("resize(decode_image(f), 32, 24)", true),
        ("resize(convert_image(decode_image(f, 'RGB'), 'L'), 32, 24, 'lanczos3', 'cover')", true),
        ("embed_image(resize(convert_image(decode_image(f), 'RGB'), 32, 24))", true),
        ("resize(decode_image(f), 32, 24, 'nearest', NULL)", true),
        ("resize(decode_image(f), 32, CAST(length(f) AS INT) % 9 + 1)", false),
        ("resize(crop(decode_image(f), 0, 0, 9, 9), 32, 24)", false),
        ("embed_image(decode_image(f))", false),
    ] {
        let found = plan(call).await;
        assert_eq!(found.contains(scaled), expected, "{call}: {found}");
    }
    assert!(plan("thumbnail(decode_image(f), 32)").await.contains("decode_image for 32x32 of"));
}

/// The images of the photos, which `chain` makes of what stands for IMAGE, in the order of their paths.
async fn photos(chain: &str, image: &str, source: &str) -> Vec<Image<'static>> {
    let (ctx, _) = mock::session().await.unwrap();
    let run = async |sql: String| {
        let frame = datafusion_semantic::session::sql(&ctx, &sql).await.unwrap();
        frame.collect().await.unwrap()
    };
    run(format!("CREATE TABLE photos AS SELECT path, {source} FROM glob('sql/data/photos/*')")).await;
    let chain = chain.replace("IMAGE", image);
    let batches = run(format!("SELECT encode_image({chain}, 'tiff') FROM photos ORDER BY path")).await;
    let files = batches.iter().flat_map(|batch| batch.column(0).as_binary::<i64>().iter().flatten());
    files.map(|file| decode(file, None, &DecodeOptions::default()).unwrap()).collect()
}

#[tokio::test]
async fn at_once_and_in_steps_give_the_same_images() {
    for (decoding, chain, exact) in [
        ("decode_image(f)", "resize(IMAGE, 100, 70)", false),
        (
            "decode_image(f, 'RGBA')",
            "resize(convert_image(convert_image(IMAGE, 'L'), 'RGB16'), 90, 70)",
            true,
        ),
        ("decode_image(f, 'RGBA')", "resize(convert_image(IMAGE, 'L'), 64, 64, 'bicubic', 'contain')", false),
        ("decode_image(f, 'L')", "convert_image(resize(IMAGE, 64, 64, 'box', 'pad'), 'RGB')", true),
        ("decode_image(f)", "resize(IMAGE, 64, 100, 'nearest', 'cover')", true),
        ("decode_image(f)", "resize(resize(IMAGE, 150, 90), 40, 20)", false),
        ("decode_image(f)", "thumbnail(convert_image(IMAGE, 'L'), 50)", false),
        ("decode_image(f)", "thumbnail(IMAGE, 1000)", true),
    ] {
        let at_once = photos(chain, decoding, "download(path) AS f").await;
        let in_steps =
            photos(chain, "image", &format!("{} AS image", decoding.replace("(f", "(download(path)"))).await;
        assert_eq!(at_once.len(), 4);
        for (left, right) in at_once.iter().zip(&in_steps) {
            assert_eq!(
                (left.width(), left.height(), left.mode()),
                (right.width(), right.height(), right.mode())
            );
            let sum: f64 =
                left.pixels().iter().zip(right.pixels()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
            let mean = sum / f64::from(u32::try_from(left.pixels().len()).unwrap());
            assert!(if exact { mean == 0.0 } else { mean < 1.0 }, "{chain}: {mean}");
        }
    }
}

/// Passes everything on, and keeps the most that was reserved.
#[derive(Debug, Default)]
struct PeakPool {
    inner: UnboundedMemoryPool,
    peak: AtomicUsize,
}

impl std::fmt::Display for PeakPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl MemoryPool for PeakPool {
    fn name(&self) -> &'static str {
        "peak"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
        self.peak.fetch_max(self.inner.reserved(), Ordering::SeqCst);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> datafusion::common::Result<()> {
        self.grow(reservation, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_many_photos_as_cores_are_decoded_at_a_time() {
    let (ctx, _) = mock::session().await.unwrap();
    let sql = async |sql: &str| datafusion_semantic::session::sql(&ctx, sql).await.unwrap();
    sql("SET datafusion.execution.target_partitions = 4").await;
    sql("SET semantic.cache_bytes = 0").await;
    sql("SET semantic.scaled_decoding = false").await;
    let photo = format!("encode_image(resize(decode_image({CAT}), 1000, 1000), 'jpeg', 20)");
    sql(&format!(
        "CREATE TABLE photos AS SELECT f FROM (SELECT {photo} AS f) CROSS JOIN generate_series(1, 64)"
    ))
    .await
    .collect()
    .await
    .unwrap();
    // pixels while they are decoded and the image that is made; the files and results of 64 rows
    let cores = std::thread::available_parallelism().unwrap().get();
    let decoded = 6_000_000;
    let of_cores = cores * 9_000_000 + 64 * 100_000;
    // this model sees photos in full size
    let of_all = of_cores + 64 * 3_000_000;
    for (call, bound) in [("resize(decode_image(f), 8, 8)", of_cores), ("embed_image(f)", of_all)] {
        let pool = Arc::new(PeakPool::default());
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::clone(&pool) as _).build_arc().unwrap();
        let plan = sql(&format!("SELECT {call} FROM photos")).await.create_physical_plan().await.unwrap();
        let context = || Arc::new(TaskContext::from(&ctx.state()).with_runtime(Arc::clone(&runtime)));
        let batches = collect(Arc::clone(&plan), context()).await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 64);
        let peak = pool.peak.swap(0, Ordering::SeqCst);
        assert!((decoded..=bound).contains(&peak), "{call}: {peak} bytes, at most {bound} expected");
        drop(batches);
        // a stream that is dropped while photos are decoded gives everything back
        let mut rows = execute_stream(plan, context()).unwrap();
        while pool.peak.load(Ordering::SeqCst) < decoded {
            let _ = tokio::time::timeout(Duration::from_millis(1), rows.next()).await;
        }
        drop(rows);
        for _ in 0..500 {
            if pool.reserved() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(pool.reserved(), 0, "{call}");
    }
}

#[tokio::test]
async fn a_runtime_of_one_thread_is_enough_for_pixels() {
    let (ctx, _) = mock::session().await.unwrap();
    let sql = "SELECT embed_image(resize(decode_image(f), 8, 8)), embed_image(f), decode_image(f)
               FROM (SELECT download(path) AS f FROM glob('sql/data/photos/*'))";
    let batches = datafusion_semantic::session::sql(&ctx, sql).await.unwrap().collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
}
