//! Hashes of what an image looks like: few bits differ where one image was made of the other by another size, format or
//! quality.
use std::f64::consts::PI;

use super::{Filter, Image, Mode, convert, resize};
use crate::error::{Error, Result, query_err};

/// The largest side of the square of bits.
pub const MAX_HASH_SIZE: u32 = 64;

/// What the bits of a hash say. All of them look at the image in shades of grey, made small by a Lanczos filter, and give
/// the bits of the Python library `ImageHash`, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashMethod {
    /// Of a cosine transform the lowest frequencies, each above the median of them or not. The most robust.
    Perceptual,
    /// Of neighbours in a row, whether the right one is brighter.
    Difference,
    /// Of each pixel, whether it is brighter than the mean.
    Average,
}

impl std::str::FromStr for HashMethod {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "phash" => Ok(Self::Perceptual),
            "dhash" => Ok(Self::Difference),
            "ahash" => Ok(Self::Average),
            _ => query_err!("unknown method '{name}': use 'phash', 'dhash' or 'ahash'"),
        }
    }
}

/// A method and the side of its square of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hashing {
    method: HashMethod,
    size: u32,
}

impl Hashing {
    /// `size` is a multiple of 4, so that the bits are whole bytes, and at most [`MAX_HASH_SIZE`].
    pub fn new(method: HashMethod, size: u32) -> Result<Self> {
        if size == 0 || size > MAX_HASH_SIZE || !size.is_multiple_of(4) {
            return query_err!("hash_size must be a multiple of 4 from 4 to {MAX_HASH_SIZE}, found {size}");
        }
        Ok(Self { method, size })
    }

    /// How many bytes a hash has.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.size * self.size / 8
    }
}

/// The bits of the hash, the first of them the highest of the first byte.
pub fn hash(image: Image<'_>, Hashing { method, size }: Hashing) -> Result<Vec<u8>> {
    let grey = convert(image, Mode::L);
    let small = |width, height| resize(grey.borrowed(), width, height, Filter::Lanczos3);
    let bits: Vec<bool> = match method {
        HashMethod::Perceptual => {
            let side = size * SAMPLES_A_FREQUENCY;
            above_median(&lowest_frequencies(small(side, side)?.pixels(), side as usize, size as usize))
        }
        HashMethod::Difference => {
            let small = small(size + 1, size)?;
            let rows = small.pixels().chunks_exact(size as usize + 1);
            rows.flat_map(|row| row.windows(2).map(|pair| pair[1] > pair[0])).collect()
        }
        HashMethod::Average => {
            let small = small(size, size)?;
            let pixels = small.pixels();
            let sum: usize = pixels.iter().copied().map(usize::from).sum();
            pixels.iter().map(|pixel| usize::from(*pixel) * pixels.len() > sum).collect()
        }
    };
    Ok(bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect())
}

/// How many pixels a side of the image has for each frequency that is looked at.
const SAMPLES_A_FREQUENCY: u32 = 4;

/// The first `count` x `count` coefficients of the two-dimensional discrete cosine transform (type II, not normalised) of
/// `side` x `side` pixels.
fn lowest_frequencies(pixels: &[u8], side: usize, count: usize) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "less than a thousand")]
    let wave =
        |frequency: usize, at: usize| (PI * frequency as f64 * (2 * at + 1) as f64 / (2 * side) as f64).cos();
    let waves: Vec<Vec<f64>> =
        (0..count).map(|frequency| (0..side).map(|at| wave(frequency, at)).collect()).collect();
    let product = |wave: &[f64], values: &[f64]| wave.iter().zip(values).map(|(a, b)| a * b).sum::<f64>();
    let columns: Vec<Vec<f64>> = (0..side)
        .map(|column| {
            let values: Vec<f64> =
                pixels[column..].iter().step_by(side).map(|pixel| f64::from(*pixel)).collect();
            waves.iter().map(|wave| product(wave, &values)).collect()
        })
        .collect();
    let rows = (0..count).map(|vertical| columns.iter().map(|column| column[vertical]).collect::<Vec<f64>>());
    rows.flat_map(|row| waves.iter().map(|wave| product(wave, &row)).collect::<Vec<_>>()).collect()
}

/// Which values are above the median. What rounding leaves of zero is zero: a plain image has no other frequencies.
fn above_median(values: &[f64]) -> Vec<bool> {
    const LEAST: f64 = 1e-6;
    let values: Vec<f64> = values.iter().map(|value| (value / LEAST).round()).collect();
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    // there is an even number of them
    let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    let median = below.midpoint(above);
    values.iter().map(|value| *value > median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// What `ImageHash` 4.3.2 with Pillow 13.0 makes of the same picture.
    #[test]
    fn the_bits_of_imagehash() {
        let (width, height) = (200, 150);
        let pixel = |(x, y): (u32, u32)| {
            [x * x / 150 + y, x * y / 100, y * 3 + x / 2].map(|value| value.to_le_bytes()[0])
        };
        let pixels: Vec<u8> =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(pixel).collect();
        let image = Image::new(width, height, Mode::Rgb, pixels).unwrap();
        for (method, size, expected) in [
            (HashMethod::Perceptual, 8, "95654d2a55aa55ab"),
            (HashMethod::Difference, 8, "fefefefcfdfdf9fa"),
            (HashMethod::Average, 8, "00020f0e0f1f3f7f"),
            (HashMethod::Perceptual, 4, "9762"),
            (HashMethod::Difference, 4, "feee"),
            (HashMethod::Average, 4, "0337"),
            (HashMethod::Perceptual, 12, "9546594d52ad55aaa655aaa556aa955aab55"),
            (HashMethod::Difference, 12, "ffeffeffeffcffcffdff9ffbff3ff3ff6fe4"),
            (HashMethod::Average, 12, "00000200e01e03e03d03f07f0ff1ff3ff3fe"),
        ] {
            assert_eq!(
                hex(&hash(image.borrowed(), Hashing::new(method, size).unwrap()).unwrap()),
                expected,
                "{method:?} {size}"
            );
        }
    }

    #[test]
    fn a_plain_image_has_one_frequency() {
        for (mode, side) in [(Mode::L, 1), (Mode::Rgba16, 50), (Mode::Rgb32F, 300)] {
            let image =
                convert(Image::new(side, side, Mode::L, vec![77; (side * side) as usize]).unwrap(), mode);
            let bits = |method| hex(&hash(image.borrowed(), Hashing::new(method, 8).unwrap()).unwrap());
            assert_eq!(bits(HashMethod::Perceptual), "8000000000000000", "{mode}");
            assert_eq!(bits(HashMethod::Difference), "0000000000000000", "{mode}");
            assert_eq!(bits(HashMethod::Average), "0000000000000000", "{mode}");
        }
    }
}
