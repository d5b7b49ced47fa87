//! JPEG, decoded by libjpeg-turbo: the decoder of Pillow and browsers, so that pixels are the same to the bit.
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use mozjpeg::{ColorSpace, Decompress, Marker};

use super::colors::rgb_of_cmyk;
use super::{Image, Mode};
use crate::error::{Result, data_err};

/// More scans than any encoder makes: each takes the time of the whole image, however few bytes it has.
const MAX_SCANS: usize = 200;

/// A JPEG file whose header was read.
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    decoder: Decompress<&'a [u8]>,
    /// The colours that the decoder is asked for: grey, RGB, or CMYK.
    colors: ColorSpace,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) mode: Mode,
    pub(super) orientation: Orientation,
}

impl<'a> Jpeg<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self> {
        let exif = [Marker::APP(1)];
        let decoder = unwound(|| Decompress::builder().with_markers(&exif).from_mem(bytes))?;
        let (colors, mode) = match decoder.color_space() {
            ColorSpace::JCS_GRAYSCALE => (ColorSpace::JCS_GRAYSCALE, Mode::L),
            ColorSpace::JCS_RGB | ColorSpace::JCS_YCbCr => (ColorSpace::JCS_RGB, Mode::Rgb),
            ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => (ColorSpace::JCS_CMYK, Mode::Rgb),
            _ => {
                let channels = decoder.components().len();
                return data_err!(
                    "JPEG image that cannot be decoded: {channels} channels, expected 1, 3 or 4"
                );
            }
        };
        let exif = decoder.markers().find_map(|segment| segment.data.strip_prefix(b"Exif\0\0"));
        let orientation = exif.and_then(Orientation::from_exif_chunk);
        let side = |side| u32::try_from(side).unwrap_or(u32::MAX);
        Ok(Self {
            bytes,
            colors,
            width: side(decoder.width()),
            height: side(decoder.height()),
            mode,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
            decoder,
        })
    }

    /// The bytes a pixel that the decoder keeps beside those of the image: the coefficients of a progressive one, and
    /// the inks of which colours are made.
    pub(super) fn kept(&self) -> usize {
        let channels = self.decoder.components().len();
        let coefficients = if is_progressive(self.bytes) { size_of::<i16>() * channels } else { 0 };
        coefficients + if self.colors == ColorSpace::JCS_CMYK { channels } else { 0 }
    }

    /// By how much the sides can be divided if the image is to have `width` x `height` pixels or more: 1, 2, 4 or 8.
    pub(super) fn scale(&self, width: u32, height: u32) -> u32 {
        let fits = |scale: &u32| self.width / scale >= width && self.height / scale >= height;
        [8, 4, 2].into_iter().find(fits).unwrap_or(1)
    }

    /// The image, its sides divided by `scale` (1, 2, 4 or 8) and rounded up.
    pub(super) fn decode(self, scale: u32) -> Result<Image<'static>> {
        let Self { bytes, mut decoder, colors, mode, .. } = self;
        if !is_whole(bytes) {
            return data_err!("corrupt JPEG image: truncated after {} bytes", bytes.len());
        }
        let scans = markers(bytes).filter(|marker| *marker == START_OF_SCAN).count();
        if scans > MAX_SCANS {
            return data_err!(
                "JPEG image of {scans} scans is too expensive: at most {MAX_SCANS} are decoded"
            );
        }
        let (pixels, width, height) = unwound(|| {
            decoder.scale(u8::try_from(8 / scale.clamp(1, 8)).unwrap_or(8));
            let mut started = decoder.to_colorspace(colors)?;
            let size = (started.width(), started.height());
            let pixels = started.read_scanlines::<u8>()?;
            started.finish()?;
            Ok((pixels, size.0, size.1))
        })?;
        // Adobe's programs write them inverted
        let pixels = if colors == ColorSpace::JCS_CMYK { rgb_of_cmyk::<u8, 0xFF>(pixels) } else { pixels };
        let side = |side| u32::try_from(side).unwrap_or(u32::MAX);
        Image::new(side(width), side(height), mode, pixels)
    }
}

/// The result of `work`, or an error where the decoder gives up: it unwinds, without a word on the standard error.
fn unwound<T>(work: impl FnOnce() -> std::io::Result<T>) -> Result<T> {
    let reason = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(unwound) => match unwound.downcast::<String>() {
            Ok(message) => message.trim_start_matches("libjpeg fatal error: ").to_owned(),
            Err(_) => "its decoder failed".to_owned(),
        },
    };
    data_err!("corrupt JPEG image: {reason}")
}

const START_OF_SCAN: u8 = 0xDA;

/// True if a JPEG stream runs to its end-of-image marker. The decoders fill what is missing with grey.
fn is_whole(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    markers(bytes).any(|marker| marker == END_OF_IMAGE)
}

/// True if the kind of the frame is one of the progressive ones (ITU-T T.81, table B.1).
fn is_progressive(bytes: &[u8]) -> bool {
    let mut kinds = markers(bytes)
        .filter(|marker| matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC));
    matches!(kinds.next(), Some(0xC2 | 0xC6 | 0xCA | 0xCE))
}

/// The markers of segments and the end-of-image marker, until the stream is cut off.
///
/// Skips entropy-coded data to the next marker (ITU-T T.81, B.1.1): in it a byte 0xFF is followed by 0x00 or by a restart
/// marker.
fn markers(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 2;
    std::iter::from_fn(move || {
        loop {
            at += memchr::memchr(0xFF, bytes.get(at..)?)?;
            match *bytes.get(at + 1)? {
                0x00 | 0x01 | 0xD0..=0xD8 => at += 2,
                // a fill byte
                0xFF => at += 1,
                // the end has no length
                marker @ 0xD9 => {
                    at += 2;
                    return Some(marker);
                }
                marker => {
                    let &[high, low] = bytes.get(at + 2..at + 4)? else { return None };
                    at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
                    return Some(marker);
                }
            }
        }
    })
}
