//! Downloads, decoding and a model in one query, beside each of them alone.
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::common::runtime::SpawnedTask;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use datafusion_semantic::session;
use image::{ImageFormat, Rgb, RgbImage};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{Result, listed, median, mock, set, timed};

const ROWS: usize = 400;
const ROUNDS: usize = 5;

/// How long the server takes to answer.
const LATENCY: Duration = Duration::from_millis(20);

/// The target: the time of all stages together, by that of the slowest one alone.
const MOST: f64 = 1.3;

/// What is measured: its name, and the query.
const STAGES: [(&str, &str); 4] = [
    ("download alone", "SELECT download(url) FROM urls"),
    ("decode_image alone", "SELECT decode_image(bytes) FROM files"),
    ("embed_image alone", "SELECT embed_image(image) FROM images"),
    ("all together", "SELECT embed_image(decode_image(download(url))) FROM urls"),
];

pub(crate) async fn measure() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let pictures = (0..ROWS).map(picture).collect::<Result<Vec<_>>>()?;
    let _server = SpawnedTask::spawn(serve(listener, pictures.into()));

    let ctx = mock::session().await?;
    let urls = (0..ROWS).map(|row| Some(format!("http://{address}/{row}"))).collect::<StringArray>();
    ctx.register_batch("urls", RecordBatch::try_from_iter([("url", Arc::new(urls) as ArrayRef)])?)?;
    keep(&ctx, "files", "SELECT download(url) AS bytes FROM urls").await?;
    keep(&ctx, "images", "SELECT decode_image(bytes) AS image FROM files").await?;
    // a model that takes 8 images in 20 ms leaves the downloads the slowest stage, one that takes 1 is as slow
    for model in ["mock-8", "mock-1"] {
        set(&ctx, &format!("image_model = '{model}'")).await?;
        compare(&ctx, model).await?;
    }
    Ok(())
}

async fn compare(ctx: &SessionContext, model: &str) -> Result<()> {
    let mut seconds = STAGES.map(|_| vec![]);
    for _ in 0..ROUNDS {
        for ((_, sql), seconds) in STAGES.iter().zip(&mut seconds) {
            seconds.push(timed(ctx, sql, ROWS).await?.as_secs_f64());
        }
    }
    println!("overlap, {ROWS} rows, model {model}, seconds, medians of {ROUNDS} rounds:");
    for ((name, _), seconds) in STAGES.iter().zip(&seconds) {
        println!("  {:.3} {name} ({})", median(seconds), listed(seconds));
    }
    let [alone @ .., together] = seconds;
    let slowest = alone.iter().map(|seconds| median(seconds)).fold(0.0, f64::max);
    let ratio = median(&together) / slowest;
    let verdict = if ratio <= MOST { "met" } else { "missed" };
    println!("  {ratio:.2} times the slowest stage alone; target of at most {MOST}: {verdict}");
    Ok(())
}

/// Registers the rows of a query as a table.
async fn keep(ctx: &SessionContext, table: &str, sql: &str) -> Result<()> {
    let frame = session::sql(ctx, sql).await?;
    let schema = Arc::clone(frame.schema().inner());
    let table_of_rows = MemTable::try_new(schema, frame.collect_partitioned().await?)?;
    ctx.register_table(table, Arc::new(table_of_rows))?;
    Ok(())
}

/// A small PNG, another one for each row.
fn picture(row: usize) -> Result<Vec<u8>> {
    let [low, high, ..] = row.to_le_bytes();
    let mut file = Cursor::new(vec![]);
    RgbImage::from_pixel(64, 64, Rgb([low, high, 128])).write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}

/// Answers requests for `/0`, `/1` and so on with these bodies, until it is dropped.
async fn serve(listener: TcpListener, bodies: Arc<[Vec<u8>]>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, Arc::clone(&bodies)));
    }
}

/// Answers the requests of one connection, which the client may keep. What goes wrong ends it, and the client tells.
async fn answer(stream: TcpStream, bodies: Arc<[Vec<u8>]>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if stream.read_line(&mut request).await? == 0 {
                return Ok(());
            }
        }
        tokio::time::sleep(LATENCY).await;
        let row = request.split([' ', '/']).nth(2).and_then(|row| row.parse::<usize>().ok());
        let Some(body) = row.and_then(|row| bodies.get(row)) else {
            return Ok(());
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
    }
}
