//! Image files through the decoder: what is good comes back, what is bad is an error and nothing worse.
use std::time::{Duration, Instant};

use datafusion_semantic::Error;
use datafusion_semantic::image::{
    DecodeOptions, Encoding, Filter, Fit, Format, Image, ImageFile, Limits, Mode, Resizing, convert, decode,
    encode,
};

use crate::corpus;

fn options() -> DecodeOptions {
    DecodeOptions::default()
}

/// The mean over all channels, of 255.
fn difference(a: &Image<'_>, b: &Image<'_>) -> f64 {
    let (a, b) = (convert(a.borrowed(), Mode::Rgba), convert(b.borrowed(), Mode::Rgba));
    let sum: f64 = a.pixels().iter().zip(b.pixels()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / f64::from(u32::try_from(a.pixels().len()).unwrap())
}

#[test]
fn every_format_and_mode_comes_back() {
    for (name, bytes, image, lossless) in corpus::good() {
        let found = decode(&bytes, None, &options()).unwrap();
        let header = *ImageFile::open(&bytes, &options()).unwrap().header();
        assert_eq!((header.width, header.height, header.mode), (found.width(), found.height(), found.mode()));
        assert_eq!((found.width(), found.height()), (image.width(), image.height()), "{name}");
        assert_eq!(found.mode(), image.mode(), "{name}");
        let difference = difference(&found, &image);
        assert!(difference < 12.0, "{name} differs by {difference}");
        assert!(!lossless || found == image, "{name}");
    }
}

#[test]
fn bad_files_are_errors_at_once() {
    let files = corpus::bad();
    assert!(files.len() >= 40);
    for (name, bytes) in files {
        // the best of three: others use the machine
        let took = (0..3).map(|_| {
            let started = Instant::now();
            let found = decode(&bytes, None, &options());
            assert!(matches!(found, Err(Error::Data(_))), "{name}: {found:?}");
            started.elapsed()
        });
        assert!(took.min() < Some(Duration::from_millis(50)), "{name}");
    }
}

#[test]
fn a_flipped_byte_anywhere_does_not_panic() {
    for (_, mut bytes, ..) in corpus::good() {
        for at in (0..bytes.len()).step_by((bytes.len() / 50).max(1)) {
            bytes[at] ^= 0x55;
            // some such files are images all the same
            let _ = decode(&bytes, None, &options());
            bytes[at] ^= 0x55;
        }
    }
}

#[test]
fn the_header_is_held_against_each_limit() {
    let png = encode(corpus::picture(40, 30, Mode::Rgb), Encoding::new("png", None).unwrap()).unwrap();
    for (limits, expected) in [
        (
            Limits { side: 39, ..Limits::default() },
            "at most 39 pixels a side are decoded (semantic.image_max_side)",
        ),
        (
            Limits { pixels: 1199, ..Limits::default() },
            "at most 1199 pixels are decoded (semantic.image_max_pixels)",
        ),
        (
            Limits { bytes: 3599, ..Limits::default() },
            "at most 3599 bytes of pixels are decoded (semantic.image_max_bytes)",
        ),
    ] {
        let error = decode(&png, None, &DecodeOptions { limits, ..options() }).unwrap_err().to_string();
        assert!(
            error.contains("an image of 40x30 in mode RGB is too large") && error.contains(expected),
            "{error}"
        );
    }
    let exact = Limits { side: 40, pixels: 1200, bytes: 3600 };
    assert!(decode(&png, None, &DecodeOptions { limits: exact, ..options() }).is_ok());
}

#[test]
fn text_in_a_png_is_not_unpacked() {
    let png = corpus::png_with_long_text();
    for bytes in [corpus::ico(&png), png] {
        assert!(bytes.len() < 200_000);
        let started = Instant::now();
        let image = decode(&bytes, None, &options()).unwrap();
        assert_eq!(image, corpus::picture(64, 64, Mode::L));
        assert!(started.elapsed() < Duration::from_millis(50));
    }
}

#[test]
fn the_orientation_is_applied_or_kept() {
    let jpeg = encode(corpus::picture(64, 48, Mode::Rgb), Encoding::new("jpeg", Some(95)).unwrap()).unwrap();
    // where the corner with the least red and green, the upper left one, goes
    let corners = [
        (1, (0, 0)),
        (2, (1, 0)),
        (3, (1, 1)),
        (4, (0, 1)),
        (5, (0, 0)),
        (6, (1, 0)),
        (7, (1, 1)),
        (8, (0, 1)),
    ];
    for (orientation, corner) in corners {
        let bytes = corpus::with_exif(&jpeg, &corpus::orientation(orientation));
        let image = decode(&bytes, None, &options()).unwrap();
        let size = if orientation < 5 { (64, 48) } else { (48, 64) };
        assert_eq!((image.width(), image.height()), size, "{orientation}");
        let header = *ImageFile::open(&bytes, &options()).unwrap().header();
        assert_eq!((header.orientation, header.width, header.height), (orientation, size.0, size.1));
        let dark = [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().min_by_key(|(x, y)| {
            let (x, y) = (x * (image.width() - 1), y * (image.height() - 1));
            let at = ((y * image.width() + x) * 3) as usize;
            u32::from(image.pixels()[at]) + u32::from(image.pixels()[at + 1])
        });
        assert_eq!(dark, Some(corner), "{orientation}");
        let raw = DecodeOptions { apply_orientation: false, ..options() };
        assert_eq!(decode(&bytes, None, &raw).unwrap(), decode(&jpeg, None, &raw).unwrap());
    }
    // a directory that points at itself is no orientation
    let looped =
        corpus::with_exif(&jpeg, b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0");
    assert_eq!(decode(&looped, None, &options()).unwrap(), decode(&jpeg, None, &options()).unwrap());
}

#[test]
fn a_jpeg_is_decoded_at_a_fraction_of_its_size_and_gives_the_same() {
    // sides that no fraction divides
    let whole =
        encode(corpus::picture(1603, 1201, Mode::Rgb), Encoding::new("jpeg", Some(90)).unwrap()).unwrap();
    let mut memory = vec![];
    for (orientation, fit) in
        (1..=8).flat_map(|o| [Fit::Stretch, Fit::Contain, Fit::Pad, Fit::ScaleDown].map(|fit| (o, fit)))
    {
        let jpeg = corpus::with_exif(&whole, &corpus::orientation(orientation));
        for side in [400, 199, 97, 30] {
            let resizing = Resizing { width: side, height: side, filter: Filter::Bicubic, fit };
            let file = || ImageFile::open(&jpeg, &options()).unwrap();
            let small = file().scaled_for(&resizing);
            memory.push(file().memory(None) / small.memory(None));
            let small = small.decode_resized([], &resizing).unwrap();
            let expected = resizing.apply(file().decode(None).unwrap()).unwrap();
            assert_eq!((small.width(), small.height()), (expected.width(), expected.height()));
            let difference = difference(&small, &expected);
            assert!(difference <= 1.0, "{fit:?} {orientation} {side}: {difference}");
        }
    }
    assert_eq!((memory.iter().min(), memory.iter().max()), (Some(&1), Some(&63)));
    let of_filter = |filter, fit| {
        let resizing = Resizing { width: 30, height: 30, filter, fit };
        ImageFile::open(&whole, &options()).unwrap().scaled_for(&resizing).memory(None)
    };
    let unscaled = of_filter(Filter::Box, Fit::Stretch);
    assert_eq!(unscaled, ImageFile::open(&whole, &options()).unwrap().memory(None));
    assert_eq!(unscaled, of_filter(Filter::Nearest, Fit::Stretch));
    assert_eq!(unscaled, of_filter(Filter::Bilinear, Fit::Cover));
}

#[test]
fn what_the_jpeg_decoder_says_is_passed_on() {
    let refused = |bytes: &[u8]| decode(bytes, None, &options()).unwrap_err().to_string();
    assert_eq!(
        refused(&corpus::jpeg_of_scans(300)),
        "JPEG image of 300 scans is too expensive: at most 200 are decoded"
    );
    assert_eq!(
        refused(&corpus::jpeg_of_scans(1)),
        "corrupt JPEG image: Quantization table 0x00 was not defined"
    );
    let lossless = corpus::jpeg_of_scans(1)
        .iter()
        .map(|&byte| if byte == 0xc2 { 0xc3 } else { byte })
        .collect::<Vec<_>>();
    assert_eq!(refused(&lossless), "corrupt JPEG image: Unsupported JPEG process: SOF type 0xc3");
}

#[test]
fn formats_are_told_by_content() {
    for (name, bytes, ..) in corpus::good() {
        let (_, extension) = name.split_once('.').unwrap();
        assert_eq!(Format::of(&bytes).map(Format::name), Some(extension));
    }
    assert_eq!(decode(b"", None, &options()).unwrap_err().to_string(), "0 bytes are no image");
    let error = decode(b"hello, world", None, &options()).unwrap_err().to_string();
    assert!(error.contains("first bytes are 68656c6c6f2c2077"), "{error}");
}

#[test]
fn what_fuzzing_begins_with_is_no_finding() {
    let good = corpus::good().into_iter().map(|(_, bytes, ..)| bytes);
    for bytes in good.chain(corpus::bad().into_iter().map(|(_, bytes)| bytes)) {
        if let Some(format) = Format::of(&bytes) {
            crate::fuzz::decode(format, &bytes);
        }
    }
}

/// `IMAGE_CORPUS=FOLDER cargo test --test integration image_files` writes the files, to begin fuzzing with.
#[test]
fn the_corpus_is_written_where_it_is_asked_for() {
    let Some(folder) = std::env::var_os("IMAGE_CORPUS").map(std::path::PathBuf::from) else { return };
    let good = corpus::good().into_iter().map(|(name, bytes, ..)| (name, bytes));
    for (number, (name, bytes)) in good.chain(corpus::bad()).enumerate() {
        let kind = Format::of(&bytes).map_or("other", Format::name);
        std::fs::create_dir_all(folder.join(kind)).unwrap();
        let name = name.replace([' ', '%', '/'], "_");
        std::fs::write(folder.join(kind).join(format!("{number:03}_{name}")), bytes).unwrap();
    }
}
