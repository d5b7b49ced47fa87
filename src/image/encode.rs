//! From pixels to the bytes of a file.
use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};

use super::{Format, Image, Mode};
use crate::error::{Error, Result, query_err};

/// The quality of lossy files where none is given, Pillow's defaults.
const JPEG_QUALITY: u8 = 75;
const WEBP_QUALITY: u8 = 80;

/// The format and the quality of files that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding {
    format: Format,
    quality: Option<u8>,
}

impl Encoding {
    /// A format by its name, and a quality from 1 to 100 for JPEG and `WebP`, which are lossy.
    pub fn new(format: &str, quality: Option<u8>) -> Result<Self> {
        let writable = |format: &Format| *format != Format::Ico;
        let Some(format) = Format::ALL.into_iter().filter(writable).find(|known| known.name() == format)
        else {
            return query_err!(
                "unknown format '{format}': use 'png', 'jpeg', 'webp', 'tiff', 'bmp' or 'gif'"
            );
        };
        if quality.is_some() && !matches!(format, Format::Jpeg | Format::WebP) {
            return query_err!("'{}' has no quality: it is for 'jpeg' and 'webp'", format.name());
        }
        Ok(Self { format, quality })
    }

    /// An error that names the cure where the format cannot hold the mode.
    pub fn check(self, mode: Mode) -> Result<()> {
        let modes: &[Mode] = match self.format {
            Format::Png => {
                &[Mode::L, Mode::La, Mode::Rgb, Mode::Rgba, Mode::L16, Mode::La16, Mode::Rgb16, Mode::Rgba16]
            }
            Format::Jpeg => &[Mode::L, Mode::Rgb],
            Format::Tiff => &[
                Mode::L,
                Mode::Rgb,
                Mode::Rgba,
                Mode::L16,
                Mode::Rgb16,
                Mode::Rgba16,
                Mode::Rgb32F,
                Mode::Rgba32F,
            ],
            Format::WebP | Format::Gif => &[Mode::Rgb, Mode::Rgba],
            Format::Bmp | Format::Ico => &[Mode::L, Mode::Rgb, Mode::Rgba],
        };
        if modes.contains(&mode) {
            return Ok(());
        }
        let names: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
        query_err!(
            "{} holds no image in mode {mode}, only {}: convert it first, with convert_image(image, 'RGB')",
            self.format,
            names.join(", ")
        )
    }
}

/// The bytes of a file; an error where the format cannot hold the mode.
pub fn encode(image: Image<'_>, encoding: Encoding) -> Result<Vec<u8>> {
    encoding.check(image.mode)?;
    let (width, height, format) = (image.width, image.height, encoding.format);
    let failed = |error: &dyn std::fmt::Display| {
        Error::Data(format!("cannot encode {width}x{height} as {format}: {error}"))
    };
    if format == Format::WebP {
        let pixels = image.pixels();
        let encoder = match image.mode.has_alpha() {
            true => webpx::Encoder::new_rgba(pixels, width, height),
            false => webpx::Encoder::new_rgb(pixels, width, height),
        };
        let quality = f32::from(encoding.quality.unwrap_or(WEBP_QUALITY));
        return encoder.quality(quality).encode(webpx::Unstoppable).map_err(|error| failed(&error));
    }
    let mut bytes = Cursor::new(Vec::new());
    let written = match format {
        Format::Jpeg => {
            let color = if image.mode == Mode::L { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
            JpegEncoder::new_with_quality(&mut bytes, encoding.quality.unwrap_or(JPEG_QUALITY)).encode(
                image.pixels(),
                width,
                height,
                color,
            )
        }
        Format::Png => image.into_dynamic()?.write_to(&mut bytes, ImageFormat::Png),
        Format::Tiff => image.into_dynamic()?.write_to(&mut bytes, ImageFormat::Tiff),
        Format::Gif => image.into_dynamic()?.write_to(&mut bytes, ImageFormat::Gif),
        _ => image.into_dynamic()?.write_to(&mut bytes, ImageFormat::Bmp),
    };
    written.map_err(|error| failed(&error))?;
    Ok(bytes.into_inner())
}
