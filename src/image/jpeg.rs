//! JPEG: decoded by `zune-jpeg`; at a fraction of its size by `jpeg-decoder`, which has the scaled transforms.
use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{Image, Mode};
use crate::error::{Error, Result, data_err};

/// How many times larger than the size asked for a scaled image is at least: Pillow's thumbnails have the same. Of photos
/// of 0.3 to 12 megapixels the mean difference to the whole image, resized, is 0.3 to 0.9 of 255, the worst 2.7: chroma has
/// half the resolution already.
const SCALED_MARGIN: u32 = 2;

/// A JPEG file whose header was read.
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) mode: Mode,
    pub(super) orientation: Orientation,
}

impl<'a> Jpeg<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self> {
        let largest = usize::from(u16::MAX);
        // what is odd and can be decoded is decoded; what is cut off is found by `is_whole`
        let options =
            DecoderOptions::new_fast().set_strict_mode(false).set_max_width(largest).set_max_height(largest);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(corrupt)?;
        let (Some((width, height)), Some(color)) = (decoder.dimensions(), decoder.input_colorspace()) else {
            return data_err!("corrupt JPEG image: no size in its header");
        };
        let (color, mode) = match color {
            ColorSpace::Luma => (ColorSpace::Luma, Mode::L),
            _ => (ColorSpace::RGB, Mode::Rgb),
        };
        decoder.set_options(options.jpeg_set_out_colorspace(color));
        let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
        let side = |side| u32::try_from(side).unwrap_or(u32::MAX);
        Ok(Self {
            bytes,
            decoder,
            width: side(width),
            height: side(height),
            mode,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
        })
    }

    /// The bytes a pixel that the decoder keeps beside those of the image: the coefficients of a progressive one.
    pub(super) fn kept(&self) -> usize {
        if is_progressive(self.bytes) { size_of::<i16>() * self.mode.channels() } else { 0 }
    }

    /// By how much the sides can be divided if the image is to be resized to `width` x `height`: 1, 2, 4 or 8.
    pub(super) fn scale(&self, width: u32, height: u32) -> u32 {
        let fits = |scale: &u32| {
            self.width / scale >= width.saturating_mul(SCALED_MARGIN)
                && self.height / scale >= height.saturating_mul(SCALED_MARGIN)
        };
        [8, 4, 2].into_iter().find(fits).unwrap_or(1)
    }

    /// The image, its sides divided by `scale` and rounded up.
    pub(super) fn decode(mut self, scale: u32) -> Result<Image<'static>> {
        if !is_whole(self.bytes) {
            return data_err!("corrupt JPEG image: truncated after {} bytes", self.bytes.len());
        }
        if scale > 1
            && let Some(image) = self.decode_scaled(scale)?
        {
            return Ok(image);
        }
        let mut pixels = vec![0; self.width as usize * self.height as usize * self.mode.bytes()];
        self.decoder.decode_into(&mut pixels).map_err(corrupt)?;
        Image::new(self.width, self.height, self.mode, pixels)
    }

    /// None for colours that the decoder does not convert: it decodes CMYK as such.
    fn decode_scaled(&self, scale: u32) -> Result<Option<Image<'static>>> {
        let corrupt = |error| Error::Data(format!("corrupt JPEG image: {error}"));
        let mut decoder = jpeg_decoder::Decoder::new(self.bytes);
        decoder.read_info().map_err(corrupt)?;
        let mode = match decoder.info().map(|info| info.pixel_format) {
            Some(jpeg_decoder::PixelFormat::L8) => Mode::L,
            Some(jpeg_decoder::PixelFormat::RGB24) => Mode::Rgb,
            _ => return Ok(None),
        };
        let side = |side: u32| u16::try_from(side.div_ceil(scale)).unwrap_or(u16::MAX);
        let (width, height) = decoder.scale(side(self.width), side(self.height)).map_err(corrupt)?;
        let pixels = decoder.decode().map_err(corrupt)?;
        Image::new(u32::from(width), u32::from(height), mode, pixels).map(Some)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the parameter of map_err")]
fn corrupt(error: zune_jpeg::errors::DecodeErrors) -> Error {
    Error::Data(format!("corrupt JPEG image: {error}"))
}

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
