//! The most memory of a query over large photos, each time in a process of its own.
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::{Result, mock, set, timed};

/// 12 megapixels.
const WIDTH: u32 = 4000;
const HEIGHT: u32 = 3000;
/// Different contents; the files that have the same one differ in a comment.
const PICTURES: u64 = 8;

/// The targets: MiB, and what four times the rows may take beside it.
const MOST_MIB: f64 = 600.0;
const MOST_GROWTH: f64 = 1.2;

/// Variables of the environment: how many files, and what a process that was started for one query is to do.
const FILES: &str = "STREAMING_FILES";
const FOLDER: &str = "STREAMING_FOLDER";
const ROWS: &str = "STREAMING_ROWS";
const OPTION: &str = "STREAMING_OPTION";

pub(crate) fn measure() -> Result<()> {
    let files = std::env::var(FILES).map_or(Ok(500), |files| files.parse())?;
    let folder = tempfile::tempdir()?;
    let (once, four_times) = (folder.path().join("once"), folder.path().join("four_times"));
    let start = Instant::now();
    let bytes = make_files(files, &once)?;
    fs::create_dir(&four_times)?;
    for entry in fs::read_dir(&once)? {
        let entry = entry?;
        for copy in 0..4 {
            let name = format!("{copy}-{}", entry.file_name().display());
            fs::hard_link(entry.path(), four_times.join(name))?;
        }
    }
    println!(
        "memory, {files} JPEG files of {WIDTH}x{HEIGHT} pixels, {:.1} MB each, made in {:.1} s:",
        bytes as f64 / 1e6 / files as f64,
        start.elapsed().as_secs_f64()
    );
    let default = "slice_rows = 1024";
    let reference = peak("each file once", &once, files, default)?;
    let repeated = peak("four paths each", &four_times, 4 * files, default)?;
    let decoded = peak("four paths each, each decoded", &four_times, 4 * files, "cache_bytes = 0")?;
    let largest = reference.max(repeated).max(decoded);
    let verdict = if largest < MOST_MIB { "met" } else { "missed" };
    println!("  target of less than {MOST_MIB} MiB: {verdict}");
    let growth = repeated.max(decoded) / reference;
    let verdict = if growth <= MOST_GROWTH { "met" } else { "missed" };
    println!(
        "  {growth:.2} times the memory for four times the rows; target of at most {MOST_GROWTH}: {verdict}"
    );
    Ok(())
}

/// The peak of a process that runs the query over the files in `folder`, in MiB.
fn peak(name: &str, folder: &Path, rows: usize, option: &str) -> Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .env(FOLDER, folder)
        .env(ROWS, rows.to_string())
        .env(OPTION, option)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    let numbers = printed.split_whitespace().map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
    let (true, [before, peak, seconds]) = (output.status.success(), numbers.as_slice()) else {
        return Err(format!("the process of '{name}' ended with {}", output.status).into());
    };
    println!("  {peak:.0} MiB at most, {before:.0} before the query, {seconds:.1} s, {rows} rows: {name}");
    Ok(*peak)
}

/// The query that this process was started for.
pub(crate) struct Query {
    folder: PathBuf,
    rows: usize,
    option: String,
}

impl Query {
    /// None in the process that a person started.
    pub(crate) fn of_this_process() -> Option<Self> {
        Some(Self {
            folder: std::env::var_os(FOLDER)?.into(),
            rows: std::env::var(ROWS).ok()?.parse().ok()?,
            option: std::env::var(OPTION).ok()?,
        })
    }

    /// Prints the most memory before the query and after it, in MiB, and the seconds it took.
    pub(crate) async fn run(self) -> Result<()> {
        let ctx = mock::session().await?;
        set(&ctx, &self.option).await?;
        let before = peak_mib()?;
        let sql = format!(
            "SELECT embed_image(resize(convert_image(decode_image(download(path)), 'RGB'), 224, 224)) \
             FROM glob('{}/*')",
            self.folder.display()
        );
        let time = timed(&ctx, &sql, self.rows).await?;
        println!("{before} {} {}", peak_mib()?, time.as_secs_f64());
        Ok(())
    }
}

/// The most memory that this process has had, as Linux counts it.
fn peak_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(kib.ok_or("no VmHWM in /proc/self/status")?.trim().parse::<f64>()? / 1024.0)
}

/// Makes files of different bytes, on two threads, and returns how many bytes they have in all.
fn make_files(files: usize, folder: &Path) -> Result<usize> {
    fs::create_dir(folder)?;
    let pictures = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                (0..PICTURES)
                    .filter(|seed| seed % 2 == half)
                    .map(|seed| picture(seed).map_err(|error| error.to_string()))
                    .collect::<Result<Vec<_>, String>>()
            })
        });
        let halves = halves.map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        halves.into_iter().collect::<Result<Vec<_>, String>>()
    })?
    .concat();
    let mut bytes = 0;
    for file in 0..files {
        let picture = &pictures[file % pictures.len()];
        let (start, rest) = picture.split_at(2);
        // a comment segment behind the start of the image: its length, which counts itself, and its text
        let comment = [&[0xFF, 0xFE, 0, 10][..], format!("{file:08}").as_bytes()].concat();
        let path = folder.join(format!("{file:06}.jpg"));
        fs::write(path, [start, &comment, rest].concat())?;
        bytes += picture.len() + comment.len();
    }
    Ok(bytes)
}

/// A JPEG of slow gradients with noise.
fn picture(seed: u64) -> Result<Vec<u8>> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut pixels = Vec::with_capacity(WIDTH as usize * HEIGHT as usize * 3);
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            // xorshift (Marsaglia 2003)
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [.., noise] = (state >> 3).to_le_bytes();
            // at most 199 and 31
            let slow = [column / 20, row / 15, (row + column) / 35].map(|value| value.to_le_bytes()[0]);
            pixels.extend(slow.map(|value| value + noise));
        }
    }
    let mut file = Cursor::new(vec![]);
    JpegEncoder::new_with_quality(&mut file, 85).write_image(
        &pixels,
        WIDTH,
        HEIGHT,
        ExtendedColorType::Rgb8,
    )?;
    Ok(file.into_inner())
}
