//! To another size.
use fast_image_resize::images::{Image as Buffer, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::convert::samples;
use super::{Depth, Image, Mode};
use crate::error::{Error, Result, query_err};

/// How a pixel is computed from its neighbours. All but [`Nearest`](Self::Nearest) are antialiased when they shrink, as
/// Pillow's are: the kernel grows with the scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Linear interpolation.
    Bilinear,
    /// Cubic interpolation with a = -0.5 (Catmull-Rom).
    Bicubic,
    /// A windowed sinc of three lobes.
    Lanczos3,
    /// The mean of the pixels under the new one.
    Box,
}

impl std::str::FromStr for Filter {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "nearest" => Ok(Self::Nearest),
            "bilinear" => Ok(Self::Bilinear),
            "bicubic" => Ok(Self::Bicubic),
            "lanczos3" => Ok(Self::Lanczos3),
            "box" => Ok(Self::Box),
            _ => query_err!(
                "unknown filter '{name}': use 'nearest', 'bilinear', 'bicubic', 'lanczos3' or 'box'"
            ),
        }
    }
}

/// The image at exactly `width` x `height` pixels; its aspect ratio is not kept. Colours are weighted by alpha.
/// An image that already has the size is returned as it is.
pub fn resize(image: Image<'_>, width: u32, height: u32, filter: Filter) -> Result<Image<'_>> {
    let all = Part::all(&image);
    resize_part(image, all, width, height, filter)
}

/// A rectangle of an image, in pixels and fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Part {
    pub(super) fn all(image: &Image<'_>) -> Self {
        Self { left: 0.0, top: 0.0, width: f64::from(image.width), height: f64::from(image.height) }
    }
}

/// A part of the image, resized.
pub(super) fn resize_part(
    image: Image<'_>,
    part: Part,
    width: u32,
    height: u32,
    filter: Filter,
) -> Result<Image<'_>> {
    if (image.width, image.height) == (width, height) && part == Part::all(&image) {
        return Ok(image);
    }
    let target = Target { part, width, height, filter };
    // the kernels read wider channels at even addresses, which a column does not promise
    let pixels = match image.mode.depth() {
        Depth::U8 => resize_samples(image.pixels(), &image, target),
        Depth::U16 => resize_samples(bytemuck::cast_slice(&samples::<u16>(&image)), &image, target),
        Depth::F32 => resize_samples(bytemuck::cast_slice(&samples::<f32>(&image)), &image, target),
    };
    Image::new(width, height, image.mode, pixels?)
}

/// Which part of an image becomes how large, and how.
#[derive(Clone, Copy)]
struct Target {
    part: Part,
    width: u32,
    height: u32,
    filter: Filter,
}

fn resize_samples(pixels: &[u8], image: &Image<'_>, target: Target) -> Result<Vec<u8>> {
    let Target { part, width, height, filter } = target;
    let pixel_type = match image.mode {
        Mode::L => PixelType::U8,
        Mode::La => PixelType::U8x2,
        Mode::Rgb => PixelType::U8x3,
        Mode::Rgba => PixelType::U8x4,
        Mode::L16 => PixelType::U16,
        Mode::La16 => PixelType::U16x2,
        Mode::Rgb16 => PixelType::U16x3,
        Mode::Rgba16 => PixelType::U16x4,
        Mode::Rgb32F => PixelType::F32x3,
        Mode::Rgba32F => PixelType::F32x4,
    };
    let failed = |error: &dyn std::fmt::Display| {
        Error::Data(format!("cannot resize {}x{} to {width}x{height}: {error}", image.width, image.height))
    };
    let source = ImageRef::new(image.width, image.height, pixels, pixel_type).map_err(|e| failed(&e))?;
    let mut target = Buffer::new(width, height, pixel_type);
    let algorithm = match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos3 => ResizeAlg::Convolution(FilterType::Lanczos3),
        Filter::Box => ResizeAlg::Convolution(FilterType::Box),
    };
    let options =
        ResizeOptions::new().resize_alg(algorithm).crop(part.left, part.top, part.width, part.height);
    Resizer::new().resize(&source, &mut target, &options).map_err(|e| failed(&e))?;
    Ok(target.into_vec())
}

#[cfg(test)]
mod tests {
    use super::super::convert;
    use super::*;

    #[test]
    fn shrinking_averages() {
        let image = Image::new(4, 2, Mode::L, vec![0, 0, 100, 100, 0, 0, 100, 100]).unwrap();
        let small = resize(image, 2, 1, Filter::Box).unwrap();
        assert_eq!((small.width(), small.height(), small.pixels()), (2, 1, &[0, 100][..]));
    }

    #[test]
    fn a_constant_image_stays_constant_in_every_filter_and_mode() {
        for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3, Filter::Box] {
            for mode in Mode::ALL {
                let image = Image::new(5, 3, Mode::L, vec![200; 15]).unwrap();
                let large = convert(resize(convert(image, mode), 11, 7, filter).unwrap(), Mode::L);
                assert!(large.pixels().iter().all(|&byte| byte.abs_diff(200) <= 1), "{filter:?} {mode}");
            }
        }
    }
}
