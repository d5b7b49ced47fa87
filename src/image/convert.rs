//! From one mode to another.
use std::borrow::Cow;

use super::{Image, Mode};

/// The image in another mode; the same pixels, not copied, where it already has that mode.
///
/// Alpha is dropped, or added as opaque (255). Colour becomes luminance by ITU-R 601-2 luma,
/// `L = 0.299 R + 0.587 G + 0.114 B`, in 16-bit fixed point as Pillow rounds it.
#[must_use]
pub fn convert(image: Image<'_>, mode: Mode) -> Image<'_> {
    if image.mode == mode {
        return image;
    }
    let pixels = match (image.mode, mode) {
        (Mode::L, Mode::La) => map(&image.pixels, |[l]| [l, 255]),
        (Mode::L, Mode::Rgb) => map(&image.pixels, |[l]| [l, l, l]),
        (Mode::L, Mode::Rgba) => map(&image.pixels, |[l]| [l, l, l, 255]),
        (Mode::La, Mode::L) => map(&image.pixels, |[l, _]| [l]),
        (Mode::La, Mode::Rgb) => map(&image.pixels, |[l, _]| [l, l, l]),
        (Mode::La, Mode::Rgba) => map(&image.pixels, |[l, a]| [l, l, l, a]),
        (Mode::Rgb, Mode::L) => map(&image.pixels, |[r, g, b]| [luma(r, g, b)]),
        (Mode::Rgb, Mode::La) => map(&image.pixels, |[r, g, b]| [luma(r, g, b), 255]),
        (Mode::Rgb, Mode::Rgba) => map(&image.pixels, |[r, g, b]| [r, g, b, 255]),
        (Mode::Rgba, Mode::L) => map(&image.pixels, |[r, g, b, _]| [luma(r, g, b)]),
        (Mode::Rgba, Mode::La) => map(&image.pixels, |[r, g, b, a]| [luma(r, g, b), a]),
        (Mode::Rgba, Mode::Rgb) => map(&image.pixels, |[r, g, b, _]| [r, g, b]),
        (Mode::L, Mode::L) | (Mode::La, Mode::La) | (Mode::Rgb, Mode::Rgb) | (Mode::Rgba, Mode::Rgba) => {
            image.pixels.into_owned()
        }
    };
    Image { pixels: Cow::Owned(pixels), mode, ..image }
}

fn map<const FROM: usize, const TO: usize>(pixels: &[u8], pixel: impl Fn([u8; FROM]) -> [u8; TO]) -> Vec<u8> {
    pixels.as_chunks().0.iter().flat_map(|&channels| pixel(channels)).collect()
}

fn luma(r: u8, g: u8, b: u8) -> u8 {
    let sum = u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000;
    u8::try_from(sum >> 16).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixel(mode: Mode, pixels: &[u8]) -> Image<'_> {
        Image::new(1, 1, mode, pixels).unwrap()
    }

    #[test]
    fn every_pair_of_modes() {
        let cases: [(Mode, &[u8], Mode, &[u8]); 12] = [
            (Mode::L, &[7], Mode::La, &[7, 255]),
            (Mode::L, &[7], Mode::Rgb, &[7, 7, 7]),
            (Mode::L, &[7], Mode::Rgba, &[7, 7, 7, 255]),
            (Mode::La, &[7, 9], Mode::L, &[7]),
            (Mode::La, &[7, 9], Mode::Rgb, &[7, 7, 7]),
            (Mode::La, &[7, 9], Mode::Rgba, &[7, 7, 7, 9]),
            // Pillow: Image.new('RGB', (1, 1), (200, 100, 50)).convert('L').getpixel((0, 0)) == 124
            (Mode::Rgb, &[200, 100, 50], Mode::L, &[124]),
            (Mode::Rgb, &[255, 255, 255], Mode::La, &[255, 255]),
            (Mode::Rgb, &[1, 2, 3], Mode::Rgba, &[1, 2, 3, 255]),
            (Mode::Rgba, &[200, 100, 50, 9], Mode::L, &[124]),
            (Mode::Rgba, &[200, 100, 50, 9], Mode::La, &[124, 9]),
            (Mode::Rgba, &[1, 2, 3, 4], Mode::Rgb, &[1, 2, 3]),
        ];
        for (from, before, to, after) in cases {
            assert_eq!(convert(pixel(from, before), to), pixel(to, after), "{from} to {to}");
        }
    }

    #[test]
    fn same_mode_is_not_copied() {
        let pixels = [1, 2, 3];
        let converted = convert(pixel(Mode::Rgb, &pixels), Mode::Rgb);
        assert!(std::ptr::eq(converted.pixels(), &raw const pixels[..]));
    }
}
