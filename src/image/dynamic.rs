//! To and from the images of the `image` crate, whose codecs and transformations are used.
use image::{DynamicImage, ImageBuffer};

use super::{Image, Mode};
use crate::error::{Error, Result};

impl Image<'_> {
    /// The same image; pixels of one byte a channel that the image owns are not copied.
    pub(super) fn into_dynamic(self) -> Result<DynamicImage> {
        let (width, height, mode) = (self.width, self.height, self.mode);
        let (bytes, u16s, f32s) = (
            |image: Self| image.into_pixels(),
            |image: Self| bytemuck::pod_collect_to_vec::<u8, u16>(image.pixels()),
            |image: Self| bytemuck::pod_collect_to_vec::<u8, f32>(image.pixels()),
        );
        let image = match mode {
            Mode::L => ImageBuffer::from_raw(width, height, bytes(self)).map(DynamicImage::ImageLuma8),
            Mode::La => ImageBuffer::from_raw(width, height, bytes(self)).map(DynamicImage::ImageLumaA8),
            Mode::Rgb => ImageBuffer::from_raw(width, height, bytes(self)).map(DynamicImage::ImageRgb8),
            Mode::Rgba => ImageBuffer::from_raw(width, height, bytes(self)).map(DynamicImage::ImageRgba8),
            Mode::L16 => ImageBuffer::from_raw(width, height, u16s(self)).map(DynamicImage::ImageLuma16),
            Mode::La16 => ImageBuffer::from_raw(width, height, u16s(self)).map(DynamicImage::ImageLumaA16),
            Mode::Rgb16 => ImageBuffer::from_raw(width, height, u16s(self)).map(DynamicImage::ImageRgb16),
            Mode::Rgba16 => ImageBuffer::from_raw(width, height, u16s(self)).map(DynamicImage::ImageRgba16),
            Mode::Rgb32F => ImageBuffer::from_raw(width, height, f32s(self)).map(DynamicImage::ImageRgb32F),
            Mode::Rgba32F => ImageBuffer::from_raw(width, height, f32s(self)).map(DynamicImage::ImageRgba32F),
        };
        image
            .ok_or_else(|| Error::Data(format!("the pixels are too few for {width}x{height} in mode {mode}")))
    }
}

impl Image<'static> {
    /// The same image, in the mode of the same name.
    pub(super) fn from_dynamic(image: DynamicImage) -> Result<Self> {
        let (width, height) = (image.width(), image.height());
        let mode = mode(image.color())
            .ok_or_else(|| Error::Data(format!("an image of {:?} has no mode of ours", image.color())))?;
        let pixels = match image {
            DynamicImage::ImageLuma8(image) => image.into_raw(),
            DynamicImage::ImageLumaA8(image) => image.into_raw(),
            DynamicImage::ImageRgb8(image) => image.into_raw(),
            DynamicImage::ImageRgba8(image) => image.into_raw(),
            image => image.into_bytes(),
        };
        Self::new(width, height, mode, pixels)
    }
}

/// The mode of a colour type of the `image` crate.
pub(super) fn mode(color: image::ColorType) -> Option<Mode> {
    use image::ColorType;
    match color {
        ColorType::L8 => Some(Mode::L),
        ColorType::La8 => Some(Mode::La),
        ColorType::Rgb8 => Some(Mode::Rgb),
        ColorType::Rgba8 => Some(Mode::Rgba),
        ColorType::L16 => Some(Mode::L16),
        ColorType::La16 => Some(Mode::La16),
        ColorType::Rgb16 => Some(Mode::Rgb16),
        ColorType::Rgba16 => Some(Mode::Rgba16),
        ColorType::Rgb32F => Some(Mode::Rgb32F),
        ColorType::Rgba32F => Some(Mode::Rgba32F),
        _ => None,
    }
}
