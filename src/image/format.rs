//! The formats of image files.
use std::fmt;

use image::ImageFormat;

/// The format of an image file that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG: baseline, extended and progressive.
    Jpeg,
    /// Tagged Image File Format.
    Tiff,
    /// `WebP`, lossy and lossless.
    WebP,
    /// Graphics Interchange Format; its first frame is decoded.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// Windows icon; its largest image is decoded.
    Ico,
}

impl Format {
    /// Every format, in the order in which errors list them.
    pub const ALL: [Self; 7] =
        [Self::Png, Self::Jpeg, Self::Tiff, Self::WebP, Self::Gif, Self::Bmp, Self::Ico];

    /// The format of a file by its first bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match image::guess_format(bytes).ok()? {
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::Jpeg => Some(Self::Jpeg),
            ImageFormat::Tiff => Some(Self::Tiff),
            ImageFormat::WebP => Some(Self::WebP),
            ImageFormat::Gif => Some(Self::Gif),
            ImageFormat::Bmp => Some(Self::Bmp),
            ImageFormat::Ico => Some(Self::Ico),
            _ => None,
        }
    }

    /// The format as SQL writes it: `'png'`, `'jpeg'`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Tiff => "tiff",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Ico => "ico",
        }
    }
}

/// As people write it: `PNG`.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().to_uppercase())
    }
}
