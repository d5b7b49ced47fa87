//! Images from files to pixels to vectors, over the mock provider.
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Float64Type};

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
            "convert_image: unknown image mode 'CMYK': use 'L', 'LA', 'RGB' or 'RGBA'",
        ),
        ("resize(NULL, 0, 3)", "resize: width must be a whole number from 1 to 16384 like 224, found 0"),
        ("resize(NULL, 2.5, 3)", "resize: width must be a whole number, found Float64"),
        (
            "embed_image('a.png')",
            "embed_image: image must be a decoded image or the bytes of an image file, found Utf8",
        ),
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
