//! Images as rows of pixels: decode, convert, resize, crop, hash, encode. Pure: no Arrow, no `DataFusion`.
use std::borrow::Cow;

use crate::error::Error;

mod colors;
mod convert;
mod crop;
mod decode;
mod dynamic;
mod encode;
mod fit;
mod format;
mod hash;
mod ico;
mod jpeg;
mod limits;
mod mode;
mod orientation;
mod resize;
mod tiff;
mod webp;

pub use convert::convert;
pub use crop::{crop, crop_center};
pub use decode::{Header, ImageFile, decode};
pub use encode::{Encoding, encode};
pub use fit::{Fit, Resizing};
pub use format::Format;
pub use hash::{HashMethod, Hashing, MAX_HASH_SIZE, hash};
pub use limits::{DecodeOptions, Limits, MAX_PIXELS, MAX_SIDE};
pub use mode::{Depth, Mode};
pub use resize::{Filter, resize};

/// An image: `height` rows of `width` pixels of [`Mode::bytes`] bytes, without padding, channels in the byte order of
/// the machine. The pixels are owned, or borrowed from a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image<'a> {
    width: u32,
    height: u32,
    mode: Mode,
    pixels: Cow<'a, [u8]>,
}

impl<'a> Image<'a> {
    /// An image over `pixels`; an error if their number does not fit width, height and mode, or if a side is 0.
    pub fn new(width: u32, height: u32, mode: Mode, pixels: impl Into<Cow<'a, [u8]>>) -> Result<Self, Error> {
        let pixels = pixels.into();
        let expected = u64::from(width) * u64::from(height) * mode.bytes() as u64;
        if expected == 0 || pixels.len() as u64 != expected {
            return Err(Error::Data(format!(
                "an image of {width}x{height} in mode {mode} has {expected} bytes, found {}",
                pixels.len()
            )));
        }
        Ok(Self { width, height, mode, pixels })
    }

    /// The same image, its pixels borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> Image<'_> {
        Image { pixels: Cow::Borrowed(&self.pixels), ..*self }
    }

    /// The same image, with pixels of its own.
    #[must_use]
    pub fn into_owned(self) -> Image<'static> {
        let (width, height, mode) = (self.width, self.height, self.mode);
        Image { width, height, mode, pixels: Cow::Owned(self.pixels.into_owned()) }
    }

    /// Pixels from left to right.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels from top to bottom.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// What the channels mean.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The bytes, row by row from the top.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, without a copy if the image owns them.
    #[must_use]
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels.into_owned()
    }

    /// The bytes as they are held: owned or borrowed.
    #[must_use]
    pub fn into_cow(self) -> Cow<'a, [u8]> {
        self.pixels
    }
}
