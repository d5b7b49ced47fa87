//! Images of LZW strips, which most TIFF files have.
use tiff::decoder::ChunkType;
use tiff::tags::{CompressionMethod, PhotometricInterpretation, PlanarConfiguration, Tag};

use super::lzw::Lzw;
use super::{Tiff, TiffDecoder, corrupt, number};
use crate::error::{Error, Result, data_err};

/// Strips of LZW, each a number of whole rows of bytes.
pub(super) struct LzwStrips<'a> {
    bytes: &'a [u8],
    starts: Vec<u64>,
    lengths: Vec<u64>,
    /// Bytes of a strip when decoded; the last may be shorter.
    length: usize,
    /// Bytes of a row.
    row: usize,
    /// By how many bytes the sample lies back of which each is the difference, if so.
    predicted_from: Option<usize>,
}

impl<'a> LzwStrips<'a> {
    /// The strips of an image that is made of LZW strips of bytes, if nothing has to be done to them but to undo the
    /// prediction.
    pub(super) fn of(image: &mut Tiff<'a>) -> Result<Option<Self>> {
        let decoder = &mut image.decoder;
        let mut is = |tag, value: u16, default: u16| Ok(number(decoder, tag)?.unwrap_or(default) == value);
        let channels = image.color.num_samples();
        if image.color.bit_depth() != 8
            || !is(Tag::Compression, CompressionMethod::LZW.to_u16(), 1)?
            || !is(Tag::PlanarConfiguration, PlanarConfiguration::Chunky.to_u16(), 1)?
            || !is(Tag::SamplesPerPixel, channels, 1)?
            || !is(Tag::FillOrder, 1, 1)?
            || is(Tag::PhotometricInterpretation, PhotometricInterpretation::WhiteIsZero.to_u16(), 1)?
            || image.decoder.get_chunk_type() != ChunkType::Strip
        {
            return Ok(None);
        }
        let predictor = number(&mut image.decoder, Tag::Predictor)?;
        let row = image.width as usize * usize::from(channels);
        let numbers = |decoder: &mut TiffDecoder, tag| decoder.get_tag_u64_vec(tag).map_err(corrupt);
        Ok(Some(Self {
            bytes: image.bytes,
            starts: numbers(&mut image.decoder, Tag::StripOffsets)?,
            lengths: numbers(&mut image.decoder, Tag::StripByteCounts)?,
            length: row.saturating_mul(image.decoder.chunk_dimensions().1 as usize),
            row,
            predicted_from: match predictor {
                None | Some(1) => None,
                Some(2) => Some(usize::from(channels)),
                Some(_) => return Ok(None),
            },
        }))
    }

    /// Writes the samples of the image.
    pub(super) fn decode(&self, pixels: &mut [u8]) -> Result<()> {
        let mut lzw = Lzw::new();
        let strips = self.starts.iter().zip(&self.lengths);
        for (strip, ((start, length), pixels)) in strips.zip(pixels.chunks_mut(self.length)).enumerate() {
            let end = start.saturating_add(*length);
            let compressed = usize::try_from(*start)
                .ok()
                .and_then(|start| self.bytes.get(start..usize::try_from(end).ok()?))
                .ok_or_else(|| {
                    let found = self.bytes.len();
                    Error::Data(format!(
                        "corrupt TIFF image: strip {strip} ends at byte {end} of a file of {found}"
                    ))
                })?;
            if lzw.decode(compressed, pixels).is_none() {
                return data_err!("corrupt TIFF image: strip {strip} is no LZW, or ends before its last row");
            }
            if let Some(back) = self.predicted_from {
                for row in pixels.chunks_mut(self.row) {
                    for sample in back..row.len() {
                        row[sample] = row[sample].wrapping_add(row[sample - back]);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tiff::encoder::{Compression, Predictor, TiffEncoder, colortype};

    use super::*;
    use crate::image::Mode;
    use crate::image::tiff::tests::decoded;

    /// A file of LZW strips of so many rows.
    fn lzw<C: colortype::ColorType<Inner = u8>>(
        size: (u32, u32),
        pixels: &[u8],
        rows: u32,
        predictor: Predictor,
    ) -> Vec<u8>
    where
        [u8]: tiff::encoder::TiffValue,
    {
        let mut file = Cursor::new(Vec::new());
        let encoder = TiffEncoder::new(&mut file).unwrap();
        let mut encoder = encoder.with_compression(Compression::Lzw).with_predictor(predictor);
        let mut image = encoder.new_image::<C>(size.0, size.1).unwrap();
        image.rows_per_strip(rows).unwrap();
        image.write_data(pixels).unwrap();
        file.into_inner()
    }

    #[test]
    fn what_lzw_makes_of_pixels_comes_back() {
        let mut random = 1_u32;
        let mut noise = |_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        };
        let (width, height) = (257, 131);
        let count = width as usize * height as usize * 4;
        let pictures: [Vec<u8>; 5] = [
            vec![7; count],
            (0..count).map(&mut noise).collect(),
            (0..count).map(|index| u8::try_from(index / 90 % 256).unwrap()).collect(),
            (0..count).map(|index| b"strings of many lengths, "[index % 25]).collect(),
            (0..count).map(|index| noise(index) % 3).collect(),
        ];
        for (picture, pixels) in pictures.iter().enumerate() {
            for rows in [1, 20, height] {
                for predictor in [Predictor::None, Predictor::Horizontal] {
                    let files = [
                        (Mode::L, lzw::<colortype::Gray8> as fn(_, _, _, _) -> _),
                        (Mode::Rgb, lzw::<colortype::RGB8>),
                        (Mode::Rgba, lzw::<colortype::RGBA8>),
                    ];
                    for (mode, file) in files {
                        let pixels = &pixels[..width as usize * height as usize * mode.channels()];
                        let image = decoded(&file((width, height), pixels, rows, predictor)).unwrap();
                        assert_eq!((image.width(), image.height(), image.mode()), (width, height, mode));
                        let same = image.pixels() == pixels;
                        assert!(same, "picture {picture} in {mode}, strips of {rows}, {predictor:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_lzw_is_an_error() {
        let file = lzw::<colortype::Gray8>((40, 40), &[7; 1600], 40, Predictor::None);
        let strip = LzwStrips::of(&mut Tiff::open(&file, 1 << 20).unwrap()).unwrap().unwrap();
        let [start, length] = [strip.starts[0], strip.lengths[0]].map(|n| usize::try_from(n).unwrap());
        // an end, a code that nothing stands for yet, two clears and no more
        for (first, second) in [(0x80, 0xC0), (0x80, 0x7F), (0x80, 0x40)] {
            let mut file = file.clone();
            file[start..start + length].fill(0);
            file[start..start + 2].copy_from_slice(&[first, second]);
            if second == 0x40 {
                file[start + 2..start + length].fill(0xFF);
            }
            let error = decoded(&file).unwrap_err().to_string();
            assert_eq!(error, "corrupt TIFF image: strip 0 is no LZW, or ends before its last row");
        }
    }

    #[test]
    fn a_strip_that_is_not_there_is_an_error() {
        let mut file = lzw::<colortype::Gray8>((40, 40), &[7; 1600], 20, Predictor::None);
        // of two offsets and two lengths, which are longs, the first
        for tag in [Tag::StripOffsets, Tag::StripByteCounts] {
            let entry = [tag.to_u16().to_le_bytes(), [4, 0], [2, 0], [0, 0]].concat();
            let at = file.windows(8).position(|bytes| bytes == entry).unwrap();
            let first = usize::try_from(u32::from_le_bytes(*file[at + 8..].first_chunk().unwrap())).unwrap();
            let first: [u8; 4] = *file[first..].first_chunk().unwrap();
            file[at + 4] = 1;
            file[at + 8..at + 12].copy_from_slice(&first);
        }
        let error = decoded(&file).unwrap_err().to_string();
        assert_eq!(error, "corrupt TIFF image: inconsistent sizes encountered");
    }
}
