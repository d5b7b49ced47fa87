//! To another size, with the aspect ratio kept.
use super::{Filter, Image, crop_center, resize};
use crate::error::{Error, Result, query_err};

/// What becomes of the aspect ratio when an image is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fit {
    /// It is not kept: the result has exactly the size.
    Stretch,
    /// The largest image of the ratio inside the size.
    Contain,
    /// The smallest image of the ratio around the size; what is over at two sides is cut off.
    Cover,
    /// As `Contain`, in the middle of black of exactly the size, transparent where there is alpha.
    Pad,
}

impl Fit {
    /// Whether the result always has exactly the size asked for.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        !matches!(self, Self::Contain)
    }
}

impl std::str::FromStr for Fit {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "stretch" => Ok(Self::Stretch),
            "contain" => Ok(Self::Contain),
            "cover" => Ok(Self::Cover),
            "pad" => Ok(Self::Pad),
            _ => query_err!("unknown fit '{name}': use 'stretch', 'contain', 'cover' or 'pad'"),
        }
    }
}

/// The image at `width` x `height` pixels, or inside them with [`Fit::Contain`].
pub fn resize_to_fit(
    image: Image<'_>,
    width: u32,
    height: u32,
    filter: Filter,
    fit: Fit,
) -> Result<Image<'_>> {
    let (of_width, of_height) = (f64::from(image.width), f64::from(image.height));
    let (scale_x, scale_y) = (f64::from(width) / of_width, f64::from(height) / of_height);
    let scale = match fit {
        Fit::Stretch => return resize(image, width, height, filter),
        Fit::Contain | Fit::Pad => scale_x.min(scale_y),
        Fit::Cover => scale_x.max(scale_y),
    };
    if fit == Fit::Cover {
        // a thin image would become a rope before it is cut
        return cover(image, width, height, scale, filter);
    }
    let resized = resize(image, scaled(of_width, scale), scaled(of_height, scale), filter)?;
    match fit {
        Fit::Pad if (resized.width, resized.height) != (width, height) => {
            crop_center(&resized, width, height)
        }
        _ => Ok(resized),
    }
}

/// Cuts the part that will be seen out of the image, then resizes it.
fn cover(image: Image<'_>, width: u32, height: u32, scale: f64, filter: Filter) -> Result<Image<'_>> {
    let part_width = scaled(f64::from(width), scale.recip()).min(image.width);
    let part_height = scaled(f64::from(height), scale.recip()).min(image.height);
    if (part_width, part_height) == (image.width, image.height) {
        return resize(image, width, height, filter);
    }
    resize(crop_center(&image, part_width, part_height)?, width, height, filter)
}

/// The image with its longer side at most `max_side` pixels, its ratio kept; a smaller one as it is.
pub fn thumbnail(image: Image<'_>, max_side: u32) -> Result<Image<'_>> {
    if image.width.max(image.height) <= max_side {
        return Ok(image);
    }
    resize_to_fit(image, max_side, max_side, Filter::Bicubic, Fit::Contain)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a side between 1 and what was asked for"
)]
fn scaled(side: f64, scale: f64) -> u32 {
    (side * scale).round().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    fn fitted(fit: Fit) -> (u32, u32, Vec<u8>) {
        let image = Image::new(4, 2, Mode::L, vec![9, 100, 100, 9, 9, 100, 100, 9]).unwrap();
        let image = resize_to_fit(image, 2, 2, Filter::Box, fit).unwrap();
        (image.width(), image.height(), image.into_pixels())
    }

    #[test]
    fn each_fit() {
        assert_eq!(fitted(Fit::Stretch), (2, 2, vec![55, 55, 55, 55]));
        assert_eq!(fitted(Fit::Contain), (2, 1, vec![55, 55]));
        assert_eq!(fitted(Fit::Cover), (2, 2, vec![100; 4]));
        assert_eq!(fitted(Fit::Pad), (2, 2, vec![55, 55, 0, 0]));
    }

    #[test]
    fn a_thin_image_is_covered_without_a_rope() {
        let image = Image::new(1, 16_384, Mode::L, vec![7; 16_384]).unwrap();
        let image = resize_to_fit(image, 1000, 1000, Filter::Bilinear, Fit::Cover).unwrap();
        assert_eq!((image.width(), image.height()), (1000, 1000));
    }

    #[test]
    fn a_thumbnail_only_shrinks() {
        let image = Image::new(40, 20, Mode::L, vec![7; 800]).unwrap();
        let small = thumbnail(image.borrowed(), 10).unwrap();
        assert_eq!((small.width(), small.height()), (10, 5));
        assert_eq!(thumbnail(image.borrowed(), 40).unwrap(), image);
        let thread = Image::new(1000, 1, Mode::L, vec![7; 1000]).unwrap();
        let small = thumbnail(thread, 10).unwrap();
        assert_eq!((small.width(), small.height()), (10, 1));
    }
}
