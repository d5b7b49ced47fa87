//! `WebP`, decoded by libwebp.
use image::metadata::Orientation;
use webpx::{AnimationDecoder, ColorMode, DecoderConfig, ImageInfo};

use super::{Image, Mode};
use crate::error::{Error, Result, data_err};

/// A `WebP` file whose header was read.
pub(super) struct WebP<'a> {
    bytes: &'a [u8],
    is_animation: bool,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) mode: Mode,
    pub(super) orientation: Orientation,
}

impl<'a> WebP<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self> {
        let info = ImageInfo::from_webp(bytes).map_err(corrupt)?;
        let exif = chunk(bytes, *b"EXIF").map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
        let orientation = exif.and_then(Orientation::from_exif_chunk);
        Ok(Self {
            bytes,
            is_animation: info.has_animation,
            width: info.width,
            height: info.height,
            mode: if info.has_alpha || info.has_animation { Mode::Rgba } else { Mode::Rgb },
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
        })
    }

    /// The bytes a pixel that the decoder keeps beside those of the image: two canvases of an animation.
    pub(super) fn kept(&self) -> usize {
        if self.is_animation { 2 * Mode::Rgba.bytes() } else { 0 }
    }

    /// The image, or the first one of an animation; the size of its header was held against the limits by the caller.
    pub(super) fn decode(&self) -> Result<Image<'static>> {
        if self.is_animation {
            return self.first_frame();
        }
        let decoder = webpx::Decoder::new(self.bytes).map_err(corrupt)?;
        let decoder = decoder.config(DecoderConfig::new().limits(webpx::Limits::none()));
        let found = if self.mode.has_alpha() { decoder.decode_rgba_raw() } else { decoder.decode_rgb_raw() };
        let (pixels, width, height) = found.map_err(corrupt)?;
        Image::new(width, height, self.mode, pixels)
    }

    fn first_frame(&self) -> Result<Image<'static>> {
        let limits = webpx::Limits::none();
        let frames = AnimationDecoder::with_options_limits(self.bytes, ColorMode::Rgba, false, &limits);
        let mut frames = frames.map_err(corrupt)?;
        match frames.next_frame().map_err(corrupt)? {
            Some(frame) => Image::new(frame.width, frame.height, self.mode, frame.data),
            None => data_err!("corrupt WEBP image: an animation without a frame"),
        }
    }
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::Data(format!("corrupt WEBP image: {error}"))
}

/// The data of the first chunk of this kind in a RIFF file: behind its 12 bytes of header, each chunk has its kind, its
/// length and its data, padded to an even length.
fn chunk(bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    let mut rest = bytes.get(12..)?;
    loop {
        let (found, behind) = rest.split_first_chunk::<4>()?;
        let (length, behind) = behind.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if *found == kind {
            return behind.get(..length);
        }
        rest = behind.get(length.checked_next_multiple_of(2)?..)?;
    }
}
