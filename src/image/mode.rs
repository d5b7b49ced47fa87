//! What the channels of a pixel mean, and how a channel is stored.
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, query_err};

/// How a channel is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Depth {
    /// A byte, 0 to 255.
    U8,
    /// 16 bits, 0 to 65,535.
    U16,
    /// A float, nominally 0 to 1.
    F32,
}

impl Depth {
    /// Bytes of a channel.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::F32 => 4,
        }
    }
}

/// What the channels of a pixel mean, and how they are stored.
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
    /// Luminance of 16 bits.
    L16,
    /// Luminance and alpha of 16 bits.
    La16,
    /// Red, green, blue of 16 bits.
    Rgb16,
    /// Red, green, blue, alpha of 16 bits.
    Rgba16,
    /// Red, green, blue as floats.
    Rgb32F,
    /// Red, green, blue, alpha as floats.
    Rgba32F,
}

impl Mode {
    /// Every mode, in the order in which errors list them.
    pub const ALL: [Self; 10] = [
        Self::L,
        Self::La,
        Self::Rgb,
        Self::Rgba,
        Self::L16,
        Self::La16,
        Self::Rgb16,
        Self::Rgba16,
        Self::Rgb32F,
        Self::Rgba32F,
    ];

    /// The names of all modes, as errors and documentation list them.
    pub const NAMES: &'static str =
        "'L', 'LA', 'RGB', 'RGBA', 'L16', 'LA16', 'RGB16', 'RGBA16', 'RGB32F' or 'RGBA32F'";

    /// Channels of a pixel.
    #[must_use]
    pub const fn channels(self) -> usize {
        match self {
            Self::L | Self::L16 => 1,
            Self::La | Self::La16 => 2,
            Self::Rgb | Self::Rgb16 | Self::Rgb32F => 3,
            Self::Rgba | Self::Rgba16 | Self::Rgba32F => 4,
        }
    }

    /// How each channel is stored.
    #[must_use]
    pub const fn depth(self) -> Depth {
        match self {
            Self::L | Self::La | Self::Rgb | Self::Rgba => Depth::U8,
            Self::L16 | Self::La16 | Self::Rgb16 | Self::Rgba16 => Depth::U16,
            Self::Rgb32F | Self::Rgba32F => Depth::F32,
        }
    }

    /// Bytes of a pixel.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.channels() * self.depth().bytes()
    }

    /// Whether the last channel is alpha.
    #[must_use]
    pub const fn has_alpha(self) -> bool {
        self.channels().is_multiple_of(2)
    }

    /// The mode as SQL writes it, such as `'RGB'`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L => "L",
            Self::La => "LA",
            Self::Rgb => "RGB",
            Self::Rgba => "RGBA",
            Self::L16 => "L16",
            Self::La16 => "LA16",
            Self::Rgb16 => "RGB16",
            Self::Rgba16 => "RGBA16",
            Self::Rgb32F => "RGB32F",
            Self::Rgba32F => "RGBA32F",
        }
    }

    /// The mode with this many channels of this depth; floats have no luminance modes.
    #[must_use]
    pub fn of(channels: usize, depth: Depth) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.channels() == channels && mode.depth() == depth)
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
            None => query_err!("unknown image mode '{name}': use {}", Self::NAMES),
        }
    }
}
