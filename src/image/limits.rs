//! What is refused before a pixel is decoded.
use super::Mode;
use crate::error::{Result, data_err};

/// The longest side that is decoded where nothing else is asked for, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// The most pixels that are decoded where nothing else is asked for: 100 megapixels.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The most bytes that the pixels may take where nothing else is asked for: 512 MiB.
const MAX_BYTES: u64 = 512 << 20;

/// The largest image that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Pixels of the longer side.
    pub side: u32,
    /// Pixels in all.
    pub pixels: u64,
    /// Bytes of the pixels, in the mode of the file.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { side: MAX_SIDE, pixels: MAX_PIXELS, bytes: MAX_BYTES }
    }
}

impl Limits {
    /// An error that names the limit that an image of this size and mode exceeds, and the option that sets it.
    pub fn check(&self, width: u32, height: u32, mode: Mode) -> Result<()> {
        let side = width.max(height);
        let pixels = u64::from(width) * u64::from(height);
        let bytes = pixels.saturating_mul(mode.bytes() as u64);
        let (what, limit, option) = if side > self.side {
            ("pixels a side", u64::from(self.side), "image_max_side")
        } else if pixels > self.pixels {
            ("pixels", self.pixels, "image_max_pixels")
        } else if bytes > self.bytes {
            ("bytes of pixels", self.bytes, "image_max_bytes")
        } else {
            return Ok(());
        };
        data_err!(
            "an image of {width}x{height} in mode {mode} is too large: at most {limit} {what} are decoded \
             (semantic.{option})"
        )
    }
}

/// How files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecodeOptions {
    /// The largest image.
    pub limits: Limits,
    /// Whether pixels are turned and mirrored as the EXIF orientation says.
    pub apply_orientation: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), apply_orientation: true }
    }
}
