//! From the bytes of a file to pixels.
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::ico::IcoDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError};

use super::jpeg::Jpeg;
use super::resize::Part;
use super::tiff::Tiff;
use super::webp::WebP;
use super::{DecodeOptions, Format, Image, Mode, Resizing, convert, dynamic, ico, orientation};
use crate::error::{Error, Result, data_err};

/// An image file whose header was read, within the limits.
///
/// The format is told by content, not by name. Codecs are of other makers: a panic in one is an error of the data here.
pub struct ImageFile<'a> {
    header: Header,
    orientation: Orientation,
    codec: Codec<'a>,
    /// By how much the sides are divided.
    scale: u32,
}

/// What the header of an image file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Told by the first bytes.
    pub format: Format,
    /// Pixels from left to right, as decoding gives them.
    pub width: u32,
    /// Pixels from top to bottom, as decoding gives them.
    pub height: u32,
    /// The mode in which the file is decoded.
    pub mode: Mode,
    /// The EXIF orientation, 1 to 8; 1 where the file has none.
    pub orientation: u8,
}

enum Codec<'a> {
    Jpeg(Box<Jpeg<'a>>),
    WebP(WebP<'a>),
    Tiff(Box<Tiff<'a>>),
    Other(Box<dyn ImageDecoder + 'a>),
}

impl<'a> ImageFile<'a> {
    /// Reads the header; an error where it is corrupt, or the image larger than the limits.
    pub fn open(bytes: &'a [u8], options: &DecodeOptions) -> Result<Self> {
        if bytes.is_empty() {
            return data_err!("0 bytes are no image");
        }
        let Some(format) = Format::of(bytes) else {
            return data_err!(
                "unknown image format, the first bytes are {}: PNG, JPEG, TIFF, WEBP, GIF, BMP and ICO can be decoded",
                first_bytes(bytes)
            );
        };
        guarded(format, || Self::open_as(format, bytes, options))
    }

    fn open_as(format: Format, bytes: &'a [u8], options: &DecodeOptions) -> Result<Self> {
        let (codec, width, height, mode, oriented) = match format {
            Format::Jpeg => {
                let jpeg = Jpeg::open(bytes)?;
                let (width, height, mode, oriented) = (jpeg.width, jpeg.height, jpeg.mode, jpeg.orientation);
                (Codec::Jpeg(Box::new(jpeg)), width, height, mode, oriented)
            }
            Format::WebP => {
                let webp = WebP::open(bytes)?;
                let (width, height, mode, oriented) = (webp.width, webp.height, webp.mode, webp.orientation);
                (Codec::WebP(webp), width, height, mode, oriented)
            }
            Format::Tiff => {
                let tiff = Tiff::open(bytes, codec_memory(options))?;
                let (width, height, mode, oriented) = (tiff.width, tiff.height, tiff.mode, tiff.orientation);
                (Codec::Tiff(Box::new(tiff)), width, height, mode, oriented)
            }
            _ => {
                let mut decoder = open_other(format, bytes, options)?;
                let (width, height) = decoder.dimensions();
                let Some(mode) = dynamic::mode(decoder.color_type()) else {
                    return data_err!("{format} image of unknown channels: {:?}", decoder.color_type());
                };
                let oriented = decoder.orientation().unwrap_or(Orientation::NoTransforms);
                (Codec::Other(decoder), width, height, mode, oriented)
            }
        };
        options.limits.check(width, height, mode)?;
        let applied = if options.apply_orientation { oriented } else { Orientation::NoTransforms };
        let swapped = orientation::swaps_sides(applied);
        let (width, height) = if swapped { (height, width) } else { (width, height) };
        let header = Header { format, width, height, mode, orientation: oriented.to_exif() };
        Ok(Self { header, orientation: applied, codec, scale: 1 })
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The same file, decoded no larger than it needs to be for [`Self::decode_resized`]: a much larger JPEG at 1/2, 1/4 or
    /// 1/8 of its size, which takes less time and memory.
    #[must_use]
    pub fn scaled_for(mut self, resizing: &Resizing) -> Self {
        let least = resizing.least_size(self.header.width, self.header.height);
        if let (Codec::Jpeg(jpeg), Some((width, height))) = (&self.codec, least) {
            self.scale = match orientation::swaps_sides(self.orientation) {
                true => jpeg.scale(height, width),
                false => jpeg.scale(width, height),
            };
        }
        self
    }

    /// About the most bytes that decoding takes: the pixels, in the mode of the file and in the one asked for, and what
    /// the codec keeps.
    #[must_use]
    pub fn memory(&self, mode: Option<Mode>) -> usize {
        let side = |side: u32| side.div_ceil(self.scale) as usize;
        let pixels = side(self.header.width) * side(self.header.height);
        let converted = mode.filter(|mode| *mode != self.header.mode).map_or(0, Mode::bytes);
        let kept = match &self.codec {
            Codec::Jpeg(jpeg) => jpeg.kept(),
            Codec::WebP(webp) => webp.kept(),
            Codec::Tiff(_) | Codec::Other(_) => 0,
        };
        // at whatever scale
        let kept = kept.saturating_mul(self.header.width as usize * self.header.height as usize);
        pixels.saturating_mul(2 * self.header.mode.bytes() + converted).saturating_add(kept)
    }

    /// The pixels, turned as the options say, in `mode` or in that of the file. A truncated file is an error.
    pub fn decode(self, mode: Option<Mode>) -> Result<Image<'static>> {
        let Self { header, orientation, codec, scale } = self;
        let image = guarded(header.format, || match codec {
            Codec::Jpeg(jpeg) => jpeg.decode(scale),
            Codec::WebP(webp) => webp.decode(),
            Codec::Tiff(tiff) => tiff.decode(),
            Codec::Other(decoder) => DynamicImage::from_decoder(decoder)
                .map_err(|error| corrupt(header.format, error))
                .and_then(Image::from_dynamic),
        })?;
        let image = orientation::apply(image, orientation)?;
        Ok(match mode {
            Some(mode) => convert(image, mode),
            None => image,
        })
    }

    /// The image, brought to one of the modes after the other, then resized.
    pub fn decode_resized(
        self,
        modes: impl IntoIterator<Item = Option<Mode>>,
        resizing: &Resizing,
    ) -> Result<Image<'static>> {
        let (size, scale) =
            ((f64::from(self.header.width), f64::from(self.header.height)), f64::from(self.scale));
        let (from_right, from_below) = orientation::reverses(self.orientation);
        let image = modes.into_iter().flatten().fold(self.decode(None)?, convert);
        // the last pixels, of which the image takes a part where its sides were rounded up, may have come first
        let (width, height) = (size.0 / scale, size.1 / scale);
        let left = if from_right { f64::from(image.width) - width } else { 0.0 };
        let top = if from_below { f64::from(image.height) - height } else { 0.0 };
        resizing.apply_to_scaled(image, size, Part { left, top, width, height })
    }
}

/// The image in the bytes of a file, see [`ImageFile`].
pub fn decode(bytes: &[u8], mode: Option<Mode>, options: &DecodeOptions) -> Result<Image<'static>> {
    ImageFile::open(bytes, options)?.decode(mode)
}

/// So many bytes may the metadata of a PNG file have, more than the file.
const PNG_METADATA: u64 = 8 << 20;

/// The codecs of the `image` crate.
fn open_other<'a>(
    format: Format,
    bytes: &'a [u8],
    options: &DecodeOptions,
) -> Result<Box<dyn ImageDecoder + 'a>> {
    let reader = Cursor::new(bytes);
    let decoder = match format {
        Format::Png => open_png(bytes).map(|decoder| Box::new(decoder) as Box<dyn ImageDecoder>),
        Format::Gif => GifDecoder::new(reader).map(|decoder| Box::new(decoder) as _),
        Format::Bmp => BmpDecoder::new(reader).map(|decoder| Box::new(decoder) as _),
        _ => match ico::png(bytes) {
            Some(png) => open_png(png).map(|decoder| Box::new(decoder) as _),
            None => IcoDecoder::new(reader).map(|decoder| Box::new(decoder) as _),
        },
    };
    let mut decoder = decoder.map_err(|error| corrupt(format, error))?;
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(codec_memory(options));
    decoder.set_limits(limits).map_err(|error| corrupt(format, error))?;
    Ok(decoder)
}

/// The most bytes that a codec may take, pixels included.
fn codec_memory(options: &DecodeOptions) -> u64 {
    options.limits.bytes.saturating_mul(2)
}

/// Reads the header of a PNG file, with which a colour profile is unpacked.
fn open_png(bytes: &[u8]) -> Result<PngDecoder<Cursor<&[u8]>>, ImageError> {
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(bytes.len() as u64 + PNG_METADATA);
    PngDecoder::with_limits(Cursor::new(bytes), limits)
}

/// The result of `work`, or an error where it panics.
fn guarded<T>(format: Format, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| data_err!("corrupt {format} image: its decoder failed"))
}

fn corrupt(format: Format, error: ImageError) -> Error {
    match error {
        ImageError::Unsupported(error) => {
            Error::Data(format!("{format} image that cannot be decoded: {error}"))
        }
        error => Error::Data(format!("corrupt {format} image: {error}")),
    }
}

fn first_bytes(bytes: &[u8]) -> String {
    bytes.iter().take(8).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
