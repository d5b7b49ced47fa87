//! TIFF, read by the `tiff` crate; strips of LZW, which most files have, by a faster decoder.
mod lzw;
mod lzw_strips;
mod palette;
mod samples;

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};

use image::metadata::Orientation;
use tiff::decoder::{Decoder, Limits};
use tiff::tags::{PhotometricInterpretation, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use self::lzw_strips::LzwStrips;
use self::palette::{Palette, as_grey};
use self::samples::{in_three, interleaved, unpacked};
use super::colors::{rgb_of_cmyk, rgb_of_ycbcr};
use super::{Image, Mode};
use crate::error::{Error, Result, data_err};

type TiffDecoder<'a> = Decoder<Cursor<Cow<'a, [u8]>>>;

/// The first image of a TIFF file, whose directory was read.
pub(super) struct Tiff<'a> {
    bytes: &'a [u8],
    decoder: TiffDecoder<'a>,
    /// How the samples of the file are to be understood.
    color: ColorType,
    /// What they are indexes of, if so.
    palette: Option<Palette>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) mode: Mode,
    pub(super) orientation: Orientation,
}

impl<'a> Tiff<'a> {
    /// Reads the directory; the strips of the image are to be of `max_bytes` at most, compressed or not.
    pub(super) fn open(bytes: &'a [u8], max_bytes: u64) -> Result<Self> {
        let mut decoder = Decoder::new(Cursor::new(Cow::Borrowed(bytes))).map_err(corrupt)?;
        let (width, height) = decoder.dimensions().map_err(corrupt)?;
        let palette = PhotometricInterpretation::RGBPalette.to_u16();
        let (color, palette) = if number(&mut decoder, Tag::PhotometricInterpretation)? == Some(palette) {
            let map = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(corrupt)?;
            let Some(grey) = as_grey(bytes) else {
                return data_err!("corrupt TIFF image: its directory is outside of the file");
            };
            decoder = Decoder::new(Cursor::new(Cow::Owned(grey))).map_err(corrupt)?;
            let color = decoder.colortype().map_err(corrupt)?;
            match (color, Palette::new(&map, color.bit_depth())) {
                (ColorType::Gray(1..=8), Some(palette)) => (color, Some(palette)),
                _ => {
                    let (bits, colors) = (color.bit_depth(), map.len() / 3);
                    return data_err!(
                        "TIFF image that cannot be decoded: a palette of {colors} colours for indexes of {bits} bits"
                    );
                }
            }
        } else {
            (decoder.colortype().map_err(corrupt)?, None)
        };
        let mode = if palette.is_some() { Mode::Rgb } else { mode(&mut decoder, color)? };
        let orientation = decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
        let orientation = orientation.and_then(Orientation::from_exif);
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let decoder = decoder.with_limits({
            let mut limits = Limits::default();
            limits.decoding_buffer_size = max_bytes;
            limits.intermediate_buffer_size = max_bytes;
            limits
        });
        Ok(Self {
            bytes,
            decoder,
            color,
            palette,
            width,
            height,
            mode,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
        })
    }

    /// The image; its size was held against the limits by the caller.
    pub(super) fn decode(mut self) -> Result<Image<'static>> {
        let layout = self.decoder.image_buffer_layout().map_err(corrupt)?;
        let mut samples = vec![0; layout.complete_len];
        match LzwStrips::of(&mut self)? {
            Some(strips) => strips.decode(&mut samples)?,
            None => self.decoder.read_image_bytes(&mut samples).map_err(corrupt)?,
        }
        if layout.planes > 1 {
            samples = interleaved(&samples, layout.planes, usize::from(self.color.bit_depth()) / 8);
        }
        let pixels = match self.color {
            ColorType::CMYK(bits) => {
                // as ink, of which the highest value is the most
                for byte in &mut samples {
                    *byte = !*byte;
                }
                if bits == 8 { rgb_of_cmyk::<u8, 0xFF>(samples) } else { rgb_of_cmyk::<u16, 0xFFFF>(samples) }
            }
            ColorType::YCbCr(_) => {
                rgb_of_ycbcr(&mut samples);
                samples
            }
            ColorType::Gray(32) => in_three(&samples),
            ColorType::Gray(bits @ 1..8) => {
                let step = if self.palette.is_some() { 1 } else { u8::MAX / ((1 << bits) - 1) };
                unpacked(&samples, self.width as usize, bits, step)
            }
            _ => samples,
        };
        let pixels = match self.palette {
            Some(palette) => palette.rgb(&pixels),
            None => pixels,
        };
        Image::new(self.width, self.height, self.mode, pixels)
    }
}

/// The number of an entry of the directory.
fn number(decoder: &mut TiffDecoder, tag: Tag) -> Result<Option<u16>> {
    decoder.find_tag_unsigned(tag).map_err(corrupt)
}

/// The mode in which an image without a palette is decoded.
fn mode(decoder: &mut TiffDecoder, color: ColorType) -> Result<Mode> {
    let format = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).map_err(corrupt)?;
    let format = format
        .and_then(|formats| formats.first().copied())
        .map_or(SampleFormat::Uint, SampleFormat::from_u16_exhaustive);
    // alpha, multiplied into the colours or not
    let has_alpha = matches!(
        decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).map_err(corrupt)?.as_deref(),
        Some([1 | 2])
    );
    Ok(match (format, color) {
        (SampleFormat::Uint, ColorType::Gray(1 | 2 | 4 | 8)) => Mode::L,
        (SampleFormat::Uint, ColorType::Gray(16)) => Mode::L16,
        (SampleFormat::Uint, ColorType::Multiband { bit_depth: 8, num_samples: 2 }) if has_alpha => Mode::La,
        (SampleFormat::Uint, ColorType::Multiband { bit_depth: 16, num_samples: 2 }) if has_alpha => {
            Mode::La16
        }
        (SampleFormat::Uint, ColorType::RGB(8) | ColorType::CMYK(8) | ColorType::YCbCr(8)) => Mode::Rgb,
        (SampleFormat::Uint, ColorType::RGB(16) | ColorType::CMYK(16)) => Mode::Rgb16,
        (SampleFormat::Uint, ColorType::RGBA(8)) => Mode::Rgba,
        (SampleFormat::Uint, ColorType::RGBA(16)) => Mode::Rgba16,
        // there is no mode for one float a pixel
        (SampleFormat::IEEEFP, ColorType::Gray(32) | ColorType::RGB(32)) => Mode::Rgb32F,
        (SampleFormat::IEEEFP, ColorType::RGBA(32)) => Mode::Rgba32F,
        _ => {
            return data_err!(
                "TIFF image that cannot be decoded: samples {color:?} of {format:?}, expected grey of 1 to 16 bits, \
                 RGB or CMYK of 8 or 16, or grey or RGB of 32-bit floats"
            );
        }
    })
}

fn corrupt(error: TiffError) -> Error {
    Error::Data(match error {
        TiffError::UnsupportedError(error) => format!("TIFF image that cannot be decoded: {error}"),
        TiffError::FormatError(error) => format!("corrupt TIFF image: {error}"),
        TiffError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "corrupt TIFF image: its data ends before the last row".to_owned()
        }
        error => format!("corrupt TIFF image: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{DecodeOptions, decode};

    pub(super) fn decoded(bytes: &[u8]) -> Result<Image<'static>> {
        decode(bytes, None, &DecodeOptions::default())
    }

    /// A file of one directory of short numbers (tag, first value, second value or 0), and what stands behind it. Strips are
    /// at `DATA` and on.
    fn file(size: (u16, u16), entries: &[(Tag, u16, u16)], strips: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        let strip = u32::try_from(strips[0].len()).unwrap();
        let count = u32::try_from(strips.len()).unwrap();
        let directory = 8 + 2 + 12 * (entries.len() + 4) + 4;
        let numbers = u32::try_from(directory).unwrap();
        let data = numbers + 8 * count;
        let mut all: Vec<(u16, u16, u32, u32)> = vec![
            (256, 3, 1, size.0.into()),
            (257, 3, 1, size.1.into()),
            (273, 4, count, if count == 1 { data } else { numbers }),
            (279, 4, count, if count == 1 { strip } else { numbers + 4 * count }),
        ];
        all.extend(entries.iter().map(|(tag, first, second)| {
            let count = if *second == 0 { 1 } else { 2 };
            (tag.to_u16(), 3, count, u32::from(*first) | u32::from(*second) << 16)
        }));
        all.sort_unstable();
        bytes.extend(u16::try_from(all.len()).unwrap().to_le_bytes());
        for (tag, kind, count, value) in all {
            bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
        }
        bytes.extend([0; 4]);
        bytes.extend((0..count).flat_map(|index| (data + index * strip).to_le_bytes()));
        bytes.extend((0..count).flat_map(|_| strip.to_le_bytes()));
        bytes.extend(strips.concat());
        bytes
    }

    const GREY: (Tag, u16, u16) = (Tag::PhotometricInterpretation, 1, 0);
    const RGB: (Tag, u16, u16) = (Tag::PhotometricInterpretation, 2, 0);
    const INKS: (Tag, u16, u16) = (Tag::PhotometricInterpretation, 5, 0);

    fn bits(bits: u16) -> (Tag, u16, u16) {
        (Tag::BitsPerSample, bits, 0)
    }

    fn channels(channels: u16) -> (Tag, u16, u16) {
        (Tag::SamplesPerPixel, channels, 0)
    }

    #[track_caller]
    fn assert_pixels(file: &[u8], mode: Mode, pixels: &[u8]) {
        let image = decoded(file).unwrap();
        assert_eq!((image.mode(), image.pixels()), (mode, pixels));
    }

    #[test]
    fn samples_of_few_bits() {
        let packed: [&[u8]; 1] = [&[0b00_01_10_11, 0b11_00_00_00, 0b11_11_11_11, 0]];
        let levels = [0, 85, 170, 255, 255, 255, 255, 255, 255, 0];
        assert_pixels(&file((5, 2), &[GREY, bits(2)], &packed), Mode::L, &levels);
        let white_is_zero = (Tag::PhotometricInterpretation, 0, 0);
        let inverted = levels.map(|level| 255 - level);
        assert_pixels(&file((5, 2), &[white_is_zero, bits(2)], &packed), Mode::L, &inverted);
        assert_pixels(&file((3, 1), &[GREY, bits(4)], &[&[0x1F, 0x80]]), Mode::L, &[17, 255, 136]);
        assert_pixels(&file((3, 1), &[GREY, bits(1)], &[&[0b1010_0000]]), Mode::L, &[255, 0, 255]);
    }

    #[test]
    fn indexes_become_colours() {
        let palette = (Tag::PhotometricInterpretation, 3, 0);
        // two colours: 1, 3, 5 and 2, 4, 255, in the higher bytes, and stored elsewhere
        let map: Vec<u8> = [1, 2, 3, 4, 5, 255].iter().flat_map(|level| [9, *level]).collect();
        let packed = [&[0b0110_0000, 0b1000_0000][..], &map].concat();
        let mut bytes = file((3, 2), &[palette, bits(1), (Tag::ColorMap, 1, 1)], &[&packed]);
        let found = bytes.windows(4).position(|entry| entry == [64, 1, 3, 0]).unwrap();
        let start = u32::try_from(bytes.len() - map.len()).unwrap();
        bytes[found + 4..found + 8].copy_from_slice(&6_u32.to_le_bytes());
        bytes[found + 8..found + 12].copy_from_slice(&start.to_le_bytes());
        let (a, b) = ([1, 3, 5], [2, 4, 255]);
        assert_pixels(&bytes, Mode::Rgb, &[a, b, b, b, a, a].concat());

        bytes[found + 4..found + 8].copy_from_slice(&3_u32.to_le_bytes());
        let error = decoded(&bytes).unwrap_err().to_string();
        let expected = "TIFF image that cannot be decoded: a palette of 1 colours for indexes of 1 bits";
        assert_eq!(error, expected);
    }

    #[test]
    fn grey_with_alpha() {
        let alpha = (Tag::ExtraSamples, 2, 0);
        let pixels = [1, 2, 3, 4];
        assert_pixels(&file((2, 1), &[GREY, bits(8), channels(2), alpha], &[&pixels]), Mode::La, &pixels);
        let wide = file((1, 1), &[GREY, bits(16), channels(2), alpha], &[&pixels]);
        assert_pixels(&wide, Mode::La16, &pixels);
        let error =
            decoded(&file((2, 1), &[GREY, bits(8), channels(2)], &[&pixels])).unwrap_err().to_string();
        assert!(error.starts_with("TIFF image that cannot be decoded: samples Multiband"), "{error}");
    }

    #[test]
    fn grey_of_floats_becomes_rgb_of_floats() {
        let float = (Tag::SampleFormat, 3, 0);
        let [low, high] = [0.25_f32, 1.0].map(f32::to_le_bytes);
        let bytes = file((2, 1), &[GREY, bits(32), float], &[&[low, high].concat()]);
        assert_pixels(&bytes, Mode::Rgb32F, &[low, low, low, high, high, high].concat());
    }

    #[test]
    fn planes_become_pixels() {
        let planar = (Tag::PlanarConfiguration, 2, 0);
        let planes: [&[u8]; 3] = [&[1, 2, 3, 4], &[5, 6, 7, 8], &[9, 10, 11, 12]];
        let bytes = file((2, 2), &[RGB, bits(8), channels(3), planar], &planes);
        assert_pixels(&bytes, Mode::Rgb, &[1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12]);
        let wide = file((2, 1), &[RGB, bits(16), channels(3), planar], &planes);
        assert_pixels(&wide, Mode::Rgb16, &[1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]);
    }

    #[test]
    fn inks_and_brightness_become_colours() {
        // none, all of the key, all of cyan, half of all
        let inks = [0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 128, 128, 128, 128];
        let rgb = [255, 255, 255, 0, 0, 0, 0, 255, 255, 63, 63, 63];
        assert_pixels(&file((4, 1), &[INKS, bits(8), channels(4)], &[&inks]), Mode::Rgb, &rgb);
        let wide: Vec<u8> = inks.iter().flat_map(|ink| [*ink, *ink]).collect();
        let wide = decoded(&file((4, 1), &[INKS, bits(16), channels(4)], &[&wide])).unwrap();
        assert_eq!(wide.mode(), Mode::Rgb16);
        let narrow = crate::image::convert(wide, Mode::Rgb);
        assert_eq!(narrow.pixels(), rgb);

        let brightness = (Tag::PhotometricInterpretation, 6, 0);
        let whole = (Tag::ChromaSubsampling, 1, 1);
        // grey, and red, green and blue as JPEG has them
        let samples = [99, 128, 128, 76, 85, 255, 150, 44, 21, 29, 255, 107];
        let bytes = file((4, 1), &[brightness, whole, bits(8), channels(3)], &[&samples]);
        assert_pixels(&bytes, Mode::Rgb, &[99, 99, 99, 254, 0, 0, 0, 255, 1, 0, 0, 254]);
    }
}
