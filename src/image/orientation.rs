//! The EXIF orientation: how the stored pixels are turned and mirrored to be seen.
use image::metadata::Orientation;

use super::Image;
use crate::error::Result;

/// Whether the orientation makes rows of columns.
pub(super) fn swaps_sides(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Whether the orientation brings the right edge of what is seen from the left or the top of what is stored, and whether
/// the lower one.
pub(super) fn reverses(orientation: Orientation) -> (bool, bool) {
    match orientation {
        Orientation::NoTransforms | Orientation::Rotate90FlipH => (false, false),
        Orientation::FlipHorizontal | Orientation::Rotate90 => (true, false),
        Orientation::FlipVertical | Orientation::Rotate270 => (false, true),
        Orientation::Rotate180 | Orientation::Rotate270FlipH => (true, true),
    }
}

/// The image as it is to be seen.
pub(super) fn apply(image: Image<'static>, orientation: Orientation) -> Result<Image<'static>> {
    if orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let mut image = image.into_dynamic()?;
    image.apply_orientation(orientation);
    Image::from_dynamic(image)
}
