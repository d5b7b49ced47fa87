//! Small pictures of the images in a column.

use arrow::array::Array;
use arrow::datatypes::Field;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::Result;
use crate::image::{DecodeOptions, Encoding, Format, Image, ImageFile, Mode, Resizing, convert, encode};
use crate::image::{Filter, Fit};
use crate::types::display::{Kind, bytes};
use crate::types::image::ImageColumn;

/// A column in which there may be images.
#[derive(Debug)]
pub enum Pictures<'a> {
    /// decoded images
    Images(ImageColumn<'a>),
    /// binary data, of which some may be image files
    Files(&'a dyn Array),
}

impl<'a> Pictures<'a> {
    /// A view of a column; `None` where there can be no image in it.
    pub fn of(array: &'a dyn Array, field: &Field) -> Option<Self> {
        match Kind::of(field) {
            Kind::Image(image_type) => ImageColumn::new(array, image_type).ok().map(Self::Images),
            Kind::Binary => Some(Self::Files(array)),
            Kind::Embedding { .. } | Kind::Other => None,
        }
    }

    /// The image of a row in RGB or RGBA, at most as large; `None` where there is none, or none that can be decoded.
    pub fn thumbnail(&self, row: usize, width: u32, height: u32) -> Option<Image<'static>> {
        match self {
            Self::Images(images) => {
                Some(displayed(resizing(width, height).apply(images.image(row).ok()??).ok()?))
            }
            Self::Files(files) => {
                let bytes = bytes(*files, row).filter(|bytes| Format::of(bytes).is_some())?;
                let file = ImageFile::open(bytes, &DecodeOptions::default()).ok()?;
                let resizing = resizing(width, height);
                Some(displayed(file.scaled_for(&resizing).decode_resized([], &resizing).ok()?))
            }
        }
    }
}

fn resizing(width: u32, height: u32) -> Resizing {
    Resizing { width, height, filter: Filter::Bilinear, fit: Fit::ScaleDown }
}

fn displayed(image: Image<'_>) -> Image<'static> {
    let mode = if image.mode().has_alpha() { Mode::Rgba } else { Mode::Rgb };
    convert(image, mode).into_owned()
}

/// The bytes of a PNG file.
pub fn png(image: Image<'_>) -> Result<Vec<u8>> {
    encode(image, Encoding::new("png", None)?)
}

/// `data:image/jpeg;base64,...`, or PNG where there is transparency.
pub fn data_uri(image: Image<'_>) -> Result<String> {
    let (kind, bytes) = match image.mode().has_alpha() {
        true => ("png", png(image)?),
        false => ("jpeg", encode(image, Encoding::new("jpeg", None)?)?),
    };
    Ok(format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)))
}
