//! From one mode to another.
use std::borrow::Cow;

use bytemuck::Pod;

use super::{Depth, Image, Mode};

/// The image in another mode; the same pixels, not copied, where it already has that mode.
///
/// Alpha is dropped, or added as opaque. Colour becomes luminance by ITU-R 601-2 luma,
/// `L = 0.299 R + 0.587 G + 0.114 B`, of bytes in 16-bit fixed point as Pillow rounds it. Between depths the whole range
/// of one becomes the whole range of the other, rounded: 255, 65,535 and 1.0 are the same; floats outside of 0 to 1 are
/// cut.
#[must_use]
pub fn convert(image: Image<'_>, mode: Mode) -> Image<'_> {
    if image.mode == mode {
        return image;
    }
    // floats have no luminance modes: they are made of colours, and made colours of, last and first
    match (image.mode.depth(), mode.depth()) {
        (_, Depth::F32) => to_depth(to_channels(image, mode.channels()), Depth::F32),
        (_, depth) => to_channels(to_depth(image, depth), mode.channels()),
    }
}

/// The same depth with as many channels.
fn to_channels(image: Image<'_>, channels: usize) -> Image<'_> {
    let from = image.mode;
    let Some(mode) = Mode::of(channels, from.depth()).filter(|mode| *mode != from) else {
        return image;
    };
    let pixels = match from.depth() {
        Depth::U8 => recombine::<u8>(&image.pixels, from.channels(), channels),
        Depth::U16 => from_samples(&recombine(&samples::<u16>(&image), from.channels(), channels)),
        Depth::F32 => from_samples(&recombine(&samples::<f32>(&image), from.channels(), channels)),
    };
    Image { pixels: Cow::Owned(pixels), mode, ..image }
}

/// The same channels in another depth.
fn to_depth(image: Image<'_>, depth: Depth) -> Image<'_> {
    let from = image.mode;
    let Some(mode) = Mode::of(from.channels(), depth).filter(|mode| *mode != from) else {
        return image;
    };
    let pixels = match (from.depth(), depth) {
        (Depth::U8, Depth::U16) => map::<u8, u16>(&image.pixels, |value| u16::from(value) * 257),
        (Depth::U8, _) => map::<u8, f32>(&image.pixels, |value| f32::from(value) / 255.0),
        (Depth::U16, Depth::U8) => samples::<u16>(&image).iter().map(|value| narrow(*value)).collect(),
        (Depth::U16, _) => map::<u16, f32>(&samples(&image), |value| f32::from(value) / 65_535.0),
        (Depth::F32, Depth::U8) => {
            samples::<f32>(&image).iter().map(|value| narrow(quantize(*value))).collect()
        }
        (Depth::F32, _) => map::<f32, u16>(&samples(&image), quantize),
    };
    Image { pixels: Cow::Owned(pixels), mode, ..image }
}

/// The channels, which a column may hold at any address.
pub(super) fn samples<T: Pod>(image: &Image<'_>) -> Vec<T> {
    bytemuck::pod_collect_to_vec(image.pixels())
}

fn from_samples<T: Pod>(samples: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(samples).to_vec()
}

fn map<A: Copy, B: Pod>(samples: &[A], value: impl Fn(A) -> B) -> Vec<u8> {
    from_samples(&samples.iter().map(|sample| value(*sample)).collect::<Vec<_>>())
}

fn narrow(value: u16) -> u8 {
    u8::try_from((u32::from(value) + 128) / 257).unwrap_or(u8::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cut to the range; NaN becomes 0"
)]
fn quantize(value: f32) -> u16 {
    (value.clamp(0.0, 1.0) * 65_535.0).round() as u16
}

/// A channel as it is stored.
trait Sample: Copy {
    const OPAQUE: Self;
    fn luma(r: Self, g: Self, b: Self) -> Self;
}

impl Sample for u8 {
    const OPAQUE: Self = Self::MAX;
    fn luma(r: Self, g: Self, b: Self) -> Self {
        let sum = u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000;
        Self::try_from(sum >> 16).unwrap_or(Self::MAX)
    }
}

impl Sample for u16 {
    const OPAQUE: Self = Self::MAX;
    fn luma(r: Self, g: Self, b: Self) -> Self {
        let sum = u64::from(r) * 19595 + u64::from(g) * 38470 + u64::from(b) * 7471 + 0x8000;
        Self::try_from(sum >> 16).unwrap_or(Self::MAX)
    }
}

impl Sample for f32 {
    const OPAQUE: Self = 1.0;
    fn luma(r: Self, g: Self, b: Self) -> Self {
        0.299 * r + 0.587 * g + 0.114 * b
    }
}

fn recombine<T: Sample>(samples: &[T], from: usize, to: usize) -> Vec<T> {
    let opaque = T::OPAQUE;
    match (from, to) {
        (1, 2) => each(samples, |[l]| [l, opaque]),
        (1, 3) => each(samples, |[l]| [l, l, l]),
        (1, 4) => each(samples, |[l]| [l, l, l, opaque]),
        (2, 1) => each(samples, |[l, _]| [l]),
        (2, 3) => each(samples, |[l, _]| [l, l, l]),
        (2, 4) => each(samples, |[l, a]| [l, l, l, a]),
        (3, 1) => each(samples, |[r, g, b]| [T::luma(r, g, b)]),
        (3, 2) => each(samples, |[r, g, b]| [T::luma(r, g, b), opaque]),
        (3, 4) => each(samples, |[r, g, b]| [r, g, b, opaque]),
        (4, 1) => each(samples, |[r, g, b, _]| [T::luma(r, g, b)]),
        (4, 2) => each(samples, |[r, g, b, a]| [T::luma(r, g, b), a]),
        (4, 3) => each(samples, |[r, g, b, _]| [r, g, b]),
        _ => samples.to_vec(),
    }
}

fn each<T: Copy, const FROM: usize, const TO: usize>(
    samples: &[T],
    pixel: impl Fn([T; FROM]) -> [T; TO],
) -> Vec<T> {
    samples.as_chunks().0.iter().flat_map(|&channels| pixel(channels)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixel(mode: Mode, pixels: &[u8]) -> Image<'_> {
        Image::new(1, 1, mode, pixels).unwrap()
    }

    #[test]
    fn every_pair_of_byte_modes() {
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
    fn white_stays_white_and_black_black_in_every_pair_of_modes() {
        for from in Mode::ALL {
            for to in Mode::ALL {
                for level in [0, 255] {
                    let level = [level];
                    let grey = convert(pixel(Mode::L, &level), from);
                    let back = convert(convert(grey, to), Mode::L);
                    assert_eq!(back.pixels(), level, "{from} to {to}");
                }
            }
        }
    }

    #[test]
    fn depths_round_to_the_nearest() {
        let wide = |value: u16| convert(pixel(Mode::L16, &value.to_ne_bytes()), Mode::L).into_pixels()[0];
        assert_eq!([0, 128, 129, 0x8080, 65_406, 65_407].map(wide), [0, 0, 1, 128, 254, 255]);
        let float = |value: f32| {
            let pixels: Vec<u8> = [value; 3].into_iter().flat_map(f32::to_ne_bytes).collect();
            convert(pixel(Mode::Rgb32F, &pixels), Mode::L).into_pixels()[0]
        };
        assert_eq!([-1.0, 0.5, 1.0, 9.0, f32::NAN].map(float), [0, 128, 255, 255, 0]);
    }

    #[test]
    fn pixels_at_odd_addresses() {
        let bytes = [9, 1, 2, 3, 4, 5, 6];
        let odd = pixel(Mode::Rgb16, &bytes[1..]);
        assert_eq!(convert(convert(odd.clone(), Mode::Rgba16), Mode::Rgb16), odd);
    }

    #[test]
    fn same_mode_is_not_copied() {
        let pixels = [1, 2, 3];
        let converted = convert(pixel(Mode::Rgb, &pixels), Mode::Rgb);
        assert!(std::ptr::eq(converted.pixels(), &raw const pixels[..]));
    }
}
