//! Image files, good and bad, made here.
use std::io::Cursor;

use datafusion_semantic::image::{Encoding, Image, Mode, convert, encode};
use image::ImageFormat;

/// A picture of this size: red grows to the right, green downwards, blue in stripes, alpha along the diagonal.
pub fn picture(width: u32, height: u32, mode: Mode) -> Image<'static> {
    let byte = |value: u32, of: u32| u8::try_from(value * 255 / of.max(1)).unwrap();
    let pixels = (0..height).flat_map(|y| {
        (0..width).flat_map(move |x| {
            let blue = if (x / 8) % 2 == 0 { 40 } else { 200 };
            [byte(x, width), byte(y, height), blue, byte(x + y, width + height)]
        })
    });
    let image = Image::new(width, height, Mode::Rgba, pixels.collect::<Vec<_>>()).unwrap();
    let image = convert(image, mode);
    Image::new(width, height, mode, image.pixels().to_vec()).unwrap()
}

/// A file of every format and of the modes that it holds, with the picture in it and whether it is exactly that.
pub fn good() -> Vec<(String, Vec<u8>, Image<'static>, bool)> {
    let formats: [(&str, &[Mode], bool); 6] = [
        (
            "png",
            &[Mode::L, Mode::La, Mode::Rgb, Mode::Rgba, Mode::L16, Mode::La16, Mode::Rgb16, Mode::Rgba16],
            true,
        ),
        ("jpeg", &[Mode::L, Mode::Rgb], false),
        (
            "tiff",
            &[
                Mode::L,
                Mode::Rgb,
                Mode::Rgba,
                Mode::L16,
                Mode::Rgb16,
                Mode::Rgba16,
                Mode::Rgb32F,
                Mode::Rgba32F,
            ],
            true,
        ),
        ("webp", &[Mode::Rgb, Mode::Rgba], false),
        ("bmp", &[Mode::Rgb, Mode::Rgba], true),
        ("gif", &[Mode::Rgba], false),
    ];
    let mut files = vec![];
    for (format, modes, lossless) in formats {
        for mode in modes {
            // a pixel of a GIF is opaque or not there
            let image = match format {
                "gif" => convert(picture(64, 48, Mode::Rgb), *mode),
                _ => picture(64, 48, *mode),
            };
            let bytes = encode(image.borrowed(), Encoding::new(format, None).unwrap()).unwrap();
            files.push((format!("{mode}.{format}"), bytes, image, lossless));
        }
    }
    let icon = picture(32, 32, Mode::Rgba);
    let pixels = image::RgbaImage::from_raw(32, 32, icon.pixels().to_vec()).unwrap();
    let mut bytes = Cursor::new(vec![]);
    image::DynamicImage::ImageRgba8(pixels).write_to(&mut bytes, ImageFormat::Ico).unwrap();
    files.push(("RGBA.ico".to_owned(), bytes.into_inner(), icon, true));
    files
}

/// Files that no image is in: cut at every tenth, with headers that lie, or of something else.
pub fn bad() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![];
    for (name, bytes, ..) in good() {
        for tenth in 0..10 {
            files.push((format!("{name} at {tenth}0 %"), bytes[..bytes.len() * tenth / 10].to_vec()));
        }
    }
    let mut add = |name: &str, bytes: Vec<u8>| files.push((name.to_owned(), bytes));
    add("text", b"hello, world".to_vec());
    add("zip", [b"PK\x03\x04".to_vec(), vec![0; 60]].concat());
    add("jpeg and zip", [b"\xff\xd8\xffPK\x03\x04".to_vec(), vec![0; 60]].concat());
    for (width, height) in [(100_000, 100_000), (16_384, 6_000), (0, 5), (u32::MAX, u32::MAX)] {
        add(&format!("png of {width}x{height}"), png_header(width, height));
    }
    add(
        "png of garbage",
        [png_header(64, 64), png_chunk(*b"IDAT", &[7; 500]), png_chunk(*b"IEND", &[])].concat(),
    );
    add("png of a false checksum", {
        let mut bytes = png_header(64, 64);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    });
    for (width, height) in [(20_000, 20_000), (16_000, -6_000), (0, 0), (i32::MAX, i32::MIN), (-5, 5)] {
        add(&format!("bmp of {width}x{height}"), bmp_header(width, height));
    }
    add("gif of 65535x65535", b"GIF89a\xff\xff\xff\xff\x00\x00\x00;".to_vec());
    add("gif of no frame", b"GIF89a\x10\x00\x10\x00\x00\x00\x00;".to_vec());
    add("webp of a huge canvas", webp(*b"VP8X", &[0, 0, 0, 0, 0xfe, 0x3f, 0, 0xfe, 0x3f, 0]));
    add("lossless webp of a huge size", webp(*b"VP8L", &[0x2f, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0]));
    add("webp of garbage", webp(*b"VP8 ", &[7; 400]));
    for (width, height) in [(u16::MAX, u16::MAX), (16_000, 6_000), (0, 0)] {
        add(&format!("jpeg of {width}x{height}"), jpeg_header(width, height));
    }
    add("jpeg of 300 scans", jpeg_of_scans(300));
    add("jpeg of two markers", b"\xff\xd8\xff\xd9".to_vec());
    add("tiff of a loop of directories", tiff(&[(256, 4, 1, 64), (257, 4, 1, 64)], 8));
    add("tiff of 4294967295 columns", tiff(&[(256, 4, 1, u32::MAX), (257, 4, 1, u32::MAX)], 0));
    add("tiff of a million strips", tiff(&[(256, 4, 1, 64), (257, 4, 1, 64), (273, 4, 1_000_000_000, 8)], 0));
    add(
        "tiff of strips behind its end",
        tiff(
            &[
                (256, 4, 1, 64),
                (257, 4, 1, 64),
                (258, 3, 1, 8),
                (259, 3, 1, 1),
                (262, 3, 1, 1),
                (273, 4, 1, 1_000_000),
                (278, 4, 1, 64),
                (279, 4, 1, 4096),
            ],
            0,
        ),
    );
    add(
        "ico whose image is behind its end",
        [b"\x00\x00\x01\x00\x01\x00".to_vec(), vec![32, 32, 0, 0, 1, 0, 32, 0, 0, 16, 0, 0, 0, 0, 16, 0]]
            .concat(),
    );
    files
}

/// A PNG of 64 x 64 grey pixels with compressed texts and a colour profile of 64 MiB each, which are nobody's business.
pub fn png_with_long_text() -> Vec<u8> {
    let text = vec![b'a'; 64 << 20];
    let mut zlib = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::best());
    std::io::Write::write_all(&mut zlib, &text).unwrap();
    let packed = zlib.finish().unwrap();
    let ztxt = png_chunk(*b"zTXt", &[b"Comment\0\0".to_vec(), packed.clone()].concat());
    let itxt = png_chunk(*b"iTXt", &[b"XML:com.adobe.xmp\0\x01\0\0\0".to_vec(), packed.clone()].concat());
    let whole = encode(picture(64, 64, Mode::L), Encoding::new("png", None).unwrap()).unwrap();
    // behind the signature and the header
    let iccp = png_chunk(*b"iCCP", &[b"profile\0\0".to_vec(), packed].concat());
    [&whole[..33], &iccp, &ztxt, &itxt, &whole[33..]].concat()
}

/// An ICO of this PNG alone.
pub fn ico(png: &[u8]) -> Vec<u8> {
    let length = u32::try_from(png.len()).unwrap().to_le_bytes();
    let directory =
        [b"\x00\x00\x01\x00\x01\x00\x40\x40\x00\x00\x01\x00\x08\x00", &length[..], &22_u32.to_le_bytes()];
    [&directory.concat(), png].concat()
}

/// The JPEG with this EXIF orientation, or with any bytes as EXIF.
pub fn with_exif(jpeg: &[u8], exif: &[u8]) -> Vec<u8> {
    let length = u16::try_from(exif.len() + 8).unwrap().to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, b"Exif\0\0", exif, &jpeg[2..]].concat()
}

/// An EXIF directory of one entry, the orientation.
pub fn orientation(value: u8) -> Vec<u8> {
    [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec(), vec![value, 0, 0, 0, 0, 0, 0, 0]].concat()
}

fn png_chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checked = kind.to_vec();
    checked.extend_from_slice(data);
    let mut crc = flate2::Crc::new();
    crc.update(&checked);
    [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], &checked, &crc.sum().to_be_bytes()].concat()
}

fn png_header(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), png_chunk(*b"IHDR", &header)].concat()
}

fn bmp_header(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..2].copy_from_slice(b"BM");
    bytes[10] = 54;
    bytes[14] = 40;
    bytes[18..22].copy_from_slice(&width.to_le_bytes());
    bytes[22..26].copy_from_slice(&height.to_le_bytes());
    bytes[26] = 1;
    bytes[28] = 24;
    bytes
}

fn webp(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    let all = (length + 12).to_le_bytes();
    [b"RIFF", &all[..], b"WEBP", &kind, &length.to_le_bytes(), data].concat()
}

fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
    let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
    [
        b"\xff\xd8\xff\xc0\x00\x0b\x08",
        &height[..],
        &width,
        b"\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00\x00\xff\xd9",
    ]
    .concat()
}

/// A progressive JPEG of 16 x 16 grey pixels and so many scans, which have no data.
pub fn jpeg_of_scans(scans: usize) -> Vec<u8> {
    let header = b"\xff\xd8\xff\xc2\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00";
    let scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00";
    [&header[..], &scan.repeat(scans), b"\xff\xd9"].concat()
}

/// A directory of entries (tag, type, number of values, value).
fn tiff(entries: &[(u16, u16, u32, u32)], next: u32) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
    for (tag, kind, count, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(next.to_le_bytes());
    bytes
}
