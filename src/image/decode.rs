//! From the bytes of a file to pixels.
use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{Image, Mode, convert};
use crate::error::{Error, Result, data_err};

/// The longest side that is decoded, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// The most pixels that are decoded: 100 megapixels, at most 1.6 GB in the widest mode.
pub const MAX_PIXELS: u64 = 100_000_000;

/// Decodes PNG, JPEG, TIFF, WEBP, GIF (first frame) or BMP, by content and not by name.
///
/// The EXIF orientation is applied. Modes with 16 bits or floats become the 8-bit mode of the same channels; with
/// `mode` the image is converted to it. The size in the header is checked against [`MAX_SIDE`] and [`MAX_PIXELS`]
/// before a pixel is decoded; a truncated file is an error.
pub fn decode(bytes: &[u8], mode: Option<Mode>) -> Result<Image<'static>> {
    if bytes.is_empty() {
        return data_err!("0 bytes are no image");
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| Error::Data(format!("cannot read the image: {error}")))?;
    let Some(format) = reader.format().filter(ImageFormat::reading_enabled) else {
        return data_err!(
            "unknown image format, the first bytes are {}: PNG, JPEG, TIFF, WEBP, GIF and BMP can be decoded",
            first_bytes(bytes)
        );
    };
    let name = format_name(format);
    let too_large = |size: String| {
        Error::Data(format!(
            "{name} image{size} is too large: at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in all can be decoded"
        ))
    };
    let corrupt = |error| match error {
        image::ImageError::Limits(_) => too_large(String::new()),
        image::ImageError::Unsupported(error) => {
            Error::Data(format!("{name} image that cannot be decoded: {error}"))
        }
        error => Error::Data(format!("corrupt {name} image: {error}")),
    };

    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_PIXELS * 16);
    reader.limits(limits);

    let mut decoder = reader.into_decoder().map_err(corrupt)?;
    let (width, height) = decoder.dimensions();
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(too_large(format!(" of {width}x{height} pixels")));
    }
    if format == ImageFormat::Jpeg && !ends_with_jpeg_trailer(bytes) {
        return data_err!("corrupt JPEG image: truncated after {} bytes", bytes.len());
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(corrupt)?;
    image.apply_orientation(orientation);

    let image = into_pixels(image)?;
    Ok(match mode {
        Some(mode) => convert(image, mode),
        None => image,
    })
}

fn into_pixels(image: DynamicImage) -> Result<Image<'static>> {
    let (width, height) = (image.width(), image.height());
    let (mode, pixels) = match image {
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageLuma16(_) => {
            (Mode::L, image.into_luma8().into_raw())
        }
        DynamicImage::ImageLumaA8(_) | DynamicImage::ImageLumaA16(_) => {
            (Mode::La, image.into_luma_alpha8().into_raw())
        }
        DynamicImage::ImageRgba8(_) | DynamicImage::ImageRgba16(_) | DynamicImage::ImageRgba32F(_) => {
            (Mode::Rgba, image.into_rgba8().into_raw())
        }
        _ => (Mode::Rgb, image.into_rgb8().into_raw()),
    };
    Image::new(width, height, mode, pixels)
}

/// True if a JPEG stream runs to its end-of-image marker. The decoder itself fills what is missing with grey.
///
/// Walks the marker segments, and skips entropy-coded data to the next marker (ITU-T T.81, B.1.1): in it a byte 0xFF
/// is followed by 0x00 or by a restart marker.
fn ends_with_jpeg_trailer(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 2;
    loop {
        // to the next marker: 0xFF, and neither fill byte nor stuffed zero nor restart marker behind it
        let Some(&[_, marker]) = bytes.get(at..at + 2) else {
            return false;
        };
        match (bytes[at], marker) {
            (0xFF, END_OF_IMAGE) => return true,
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => at += 2,
            (0xFF, 0xFF) => at += 1,
            (0xFF, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
            _ => at += 1,
        }
    }
}

fn format_name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::WebP => "WEBP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        _ => "other",
    }
}

fn first_bytes(bytes: &[u8]) -> String {
    bytes.iter().take(8).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(format: ImageFormat, image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// 16 x 8, red grows to the right, green downwards.
    fn gradient() -> DynamicImage {
        DynamicImage::ImageRgb8(image::RgbImage::from_fn(16, 8, |x, y| {
            image::Rgb([u8::try_from(x * 16).unwrap(), u8::try_from(y * 32).unwrap(), 128])
        }))
    }

    #[test]
    fn every_format() {
        let expected = gradient().into_rgb8().into_raw();
        for format in [
            ImageFormat::Png,
            ImageFormat::Tiff,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
        ] {
            let image = decode(&encoded(format, &gradient()), Some(Mode::Rgb)).unwrap();
            assert_eq!((image.width(), image.height(), image.mode()), (16, 8, Mode::Rgb), "{format:?}");
            let largest = image.pixels().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            let tolerance = match format {
                ImageFormat::Jpeg => 24,
                ImageFormat::Gif => 8,
                _ => 0,
            };
            assert!(largest <= Some(tolerance), "{format:?} differs by {largest:?}");
        }
    }

    #[test]
    fn modes_are_kept_and_16_bits_become_8() {
        let grey = DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(2, 2, image::Luma([0x8080])));
        let image = decode(&encoded(ImageFormat::Png, &grey), None).unwrap();
        assert_eq!((image.mode(), image.pixels()), (Mode::L, &[0x80; 4][..]));
        let clear = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(1, 1, image::Rgba([1, 2, 3, 4])));
        let image = decode(&encoded(ImageFormat::Png, &clear), None).unwrap();
        assert_eq!((image.mode(), image.pixels()), (Mode::Rgba, &[1, 2, 3, 4][..]));
    }

    #[test]
    fn truncated_files_are_errors_at_every_tenth() {
        for format in
            [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Bmp]
        {
            let whole = encoded(format, &gradient());
            for tenth in 0..10 {
                let error = decode(&whole[..whole.len() * tenth / 10], None);
                assert!(matches!(error, Err(Error::Data(_))), "{format:?} at {tenth}0 %: {error:?}");
            }
        }
    }

    #[test]
    fn not_an_image() {
        assert_eq!(decode(b"", None).unwrap_err().to_string(), "0 bytes are no image");
        let error = decode(b"hello, world", None).unwrap_err().to_string();
        assert!(error.contains("first bytes are 68656c6c6f2c2077"), "{error}");
    }

    #[test]
    fn a_lying_header_is_refused_before_its_pixels_are_made() {
        // a BMP header that claims 20,000 x 20,000 pixels of 24 bits
        let mut bytes = vec![0; 64];
        bytes[..2].copy_from_slice(b"BM");
        bytes[10] = 54;
        bytes[14] = 40;
        bytes[18..22].copy_from_slice(&20_000_i32.to_le_bytes());
        bytes[22..26].copy_from_slice(&20_000_i32.to_le_bytes());
        bytes[26] = 1;
        bytes[28] = 24;
        let error = decode(&bytes, None).unwrap_err().to_string();
        assert!(error.contains("too large: at most 16384 pixels a side"), "{error}");
    }
}
