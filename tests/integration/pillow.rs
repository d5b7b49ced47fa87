//! What Pillow makes of the same files, where it is installed: `PYTHON` or `python3` is asked for it.
use std::path::Path;
use std::process::Command;

use datafusion_semantic::image::{DecodeOptions, Image, Mode, decode, resize};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    files: Vec<Decoding>,
    resizes: Vec<Resize>,
}

#[derive(Deserialize)]
struct Decoding {
    file: String,
    exact: bool,
    #[serde(flatten)]
    expected: Pixels,
}

#[derive(Deserialize)]
struct Pixels {
    raw: String,
    mode: String,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Resize {
    #[serde(flatten)]
    source: Pixels,
    filter: String,
    to: (u32, u32),
    result: String,
}

impl Pixels {
    fn image(&self, folder: &Path) -> Image<'static> {
        let mode: Mode = self.mode.parse().unwrap();
        Image::new(self.width, self.height, mode, std::fs::read(folder.join(&self.raw)).unwrap()).unwrap()
    }
}

/// The mean and the largest difference between channels of a byte.
fn difference(a: &[u8], b: &[u8]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = differences.clone().map(f64::from).sum();
    (sum / f64::from(u32::try_from(a.len()).unwrap()), differences.max().unwrap_or(0))
}

#[test]
fn files_and_resizes_agree_with_pillow() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pillow.py");
    let installed = Command::new(&python).args(["-c", "import PIL"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} has no Pillow; set PYTHON to one that has");
        return;
    }
    assert!(Command::new(&python).arg(script).arg(folder).status().unwrap().success());
    let cases: Cases = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    assert!(cases.files.len() > 60 && cases.resizes.len() == 120);
    let mut wrong = vec![];
    for case in &cases.files {
        let expected = case.expected.image(folder);
        let bytes = std::fs::read(folder.join(&case.file)).unwrap();
        let found = match decode(&bytes, None, &DecodeOptions::default()) {
            Ok(found) => found,
            Err(error) => {
                wrong.push(format!("{}: {error}", case.file));
                continue;
            }
        };
        let described = |image: &Image<'_>| format!("{}x{} {}", image.width(), image.height(), image.mode());
        if described(&found) != described(&expected) {
            wrong.push(format!("{}: {} for {}", case.file, described(&found), described(&expected)));
            continue;
        }
        let (mean, largest) = difference(found.pixels(), expected.pixels());
        println!("{}: mean {mean:.4}, largest {largest}", case.file);
        if largest > u8::from(!case.exact) {
            wrong.push(format!("{}: mean {mean:.4}, largest {largest}", case.file));
        }
    }
    for case in &cases.resizes {
        let source = case.source.image(folder);
        let (width, height) = case.to;
        let found = resize(source, width, height, case.filter.parse().unwrap()).unwrap();
        let (mean, largest) = difference(found.pixels(), &std::fs::read(folder.join(&case.result)).unwrap());
        println!("{}: mean {mean:.4}, largest {largest}", case.result);
        if mean > 1.0 {
            wrong.push(format!("{}: mean {mean:.4}, largest {largest}", case.result));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
