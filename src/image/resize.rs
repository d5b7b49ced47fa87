//! To another size.
use fast_image_resize::images::{Image as Buffer, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{Image, Mode};
use crate::error::{Error, Result};

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

/// The image at exactly `width` x `height` pixels; its aspect ratio is not kept. Colours are weighted by alpha.
/// An image that already has the size is returned as it is.
pub fn resize(image: Image<'_>, width: u32, height: u32, filter: Filter) -> Result<Image<'_>> {
    if (image.width, image.height) == (width, height) {
        return Ok(image);
    }
    let pixel_type = match image.mode {
        Mode::L => PixelType::U8,
        Mode::La => PixelType::U8x2,
        Mode::Rgb => PixelType::U8x3,
        Mode::Rgba => PixelType::U8x4,
    };
    let failed = |error: &dyn std::fmt::Display| {
        Error::Data(format!("cannot resize {}x{} to {width}x{height}: {error}", image.width, image.height))
    };
    let source =
        ImageRef::new(image.width, image.height, image.pixels(), pixel_type).map_err(|e| failed(&e))?;
    let mut target = Buffer::new(width, height, pixel_type);
    let algorithm = match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos3 => ResizeAlg::Convolution(FilterType::Lanczos3),
        Filter::Box => ResizeAlg::Convolution(FilterType::Box),
    };
    Resizer::new()
        .resize(&source, &mut target, &ResizeOptions::new().resize_alg(algorithm))
        .map_err(|e| failed(&e))?;
    Image::new(width, height, image.mode, target.into_vec())
}

/// The `width` x `height` pixels in the middle; where the image is smaller, black is added around it.
pub fn crop_center(image: &Image<'_>, width: u32, height: u32) -> Result<Image<'static>> {
    let channels = image.mode.channels();
    let mut pixels = vec![0; width as usize * height as usize * channels];
    let (from_x, to_x, columns) = overlap(image.width, width);
    let (from_y, to_y, rows) = overlap(image.height, height);
    for row in 0..rows {
        let source = ((from_y + row) * image.width as usize + from_x) * channels;
        let target = ((to_y + row) * width as usize + to_x) * channels;
        pixels[target..target + columns * channels]
            .copy_from_slice(&image.pixels()[source..source + columns * channels]);
    }
    Image::new(width, height, image.mode, pixels)
}

/// Where the middle `target` of `source` pixels starts in both, and how many both have.
fn overlap(source: u32, target: u32) -> (usize, usize, usize) {
    let (source, target) = (source as usize, target as usize);
    (source.saturating_sub(target) / 2, target.saturating_sub(source) / 2, source.min(target))
}

#[cfg(test)]
mod tests {
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
                let image = Image::new(5, 3, mode, vec![200; 15 * mode.channels()]).unwrap();
                let large = resize(image, 11, 7, filter).unwrap();
                assert!(large.pixels().iter().all(|&byte| byte.abs_diff(200) <= 1), "{filter:?} {mode}");
            }
        }
    }

    #[test]
    fn crop_takes_the_middle_and_pads() {
        let image = Image::new(3, 1, Mode::L, vec![1, 2, 3]).unwrap();
        assert_eq!(crop_center(&image, 1, 1).unwrap().pixels(), [2]);
        assert_eq!(
            crop_center(&image, 5, 3).unwrap().pixels(),
            [0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0]
        );
    }
}
