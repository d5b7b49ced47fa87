//! Images as rows of 8-bit pixels: decode, convert, resize. Pure: no Arrow, no `DataFusion`.
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, query_err};

mod convert;
mod decode;
mod resize;

pub use convert::convert;
pub use decode::{MAX_PIXELS, MAX_SIDE, decode};
pub use resize::{Filter, crop_center, resize};

/// What the channels of a pixel mean, 8 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Luminance.
    L,
    /// Luminance and alpha.
    La,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
}

impl Mode {
    /// Every mode, in the order in which errors list them.
    pub const ALL: [Self; 4] = [Self::L, Self::La, Self::Rgb, Self::Rgba];

    /// Bytes of one pixel.
    #[must_use]
    pub const fn channels(self) -> usize {
        match self {
            Self::L => 1,
            Self::La => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    /// The mode as SQL writes it: `'L'`, `'LA'`, `'RGB'`, `'RGBA'`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L => "L",
            Self::La => "LA",
            Self::Rgb => "RGB",
            Self::Rgba => "RGBA",
        }
    }

    /// The mode of an image with this many 8-bit channels.
    #[must_use]
    pub fn from_channels(channels: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.channels() == channels)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = Error;

    /// Accepts any letter case.
    fn from_str(name: &str) -> Result<Self, Error> {
        match Self::ALL.into_iter().find(|mode| mode.name().eq_ignore_ascii_case(name)) {
            Some(mode) => Ok(mode),
            None => query_err!("unknown image mode '{name}': use 'L', 'LA', 'RGB' or 'RGBA'"),
        }
    }
}

/// An image: `height` rows of `width` pixels of [`Mode::channels`] bytes, without padding. The pixels are owned, or
/// borrowed from a column.
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
        let expected = u64::from(width) * u64::from(height) * mode.channels() as u64;
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
}
