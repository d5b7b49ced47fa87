//! The palettes of TIFF files (TIFF 6.0, section 5), which the `tiff` crate does not read: it is told that their indexes
//! are grey.
use tiff::tags::{PhotometricInterpretation, Tag};

/// The colours of indexes.
pub(super) struct Palette {
    colors: Vec<[u8; 3]>,
}

impl Palette {
    /// Of a colour map: all reds, all greens, all blues, of 16 bits, of which the higher 8 are taken as Pillow does. `None`
    /// where there is not one for each index of so many bits.
    pub(super) fn new(map: &[u16], bits: u8) -> Option<Self> {
        let count = 1_usize.checked_shl(bits.into())?;
        if map.len() != 3 * count {
            return None;
        }
        let colors =
            (0..count).map(|index| [0, 1, 2].map(|channel| map[channel * count + index].to_be_bytes()[0]));
        Some(Self { colors: colors.collect() })
    }

    /// RGB from indexes; black for one that is not in the palette.
    pub(super) fn rgb(&self, indexes: &[u8]) -> Vec<u8> {
        let color = |index: &u8| self.colors.get(usize::from(*index)).copied().unwrap_or_default();
        indexes.iter().flat_map(color).collect()
    }
}

/// A copy of a TIFF file whose first directory says that its pixels are grey, not indexes.
pub(super) fn as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_little = bytes.starts_with(b"II");
    let number = |at: usize, length: usize| {
        let number = bytes.get(at..at.checked_add(length)?)?;
        let shifted = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
        Some(if is_little { number.iter().rev().fold(0, shifted) } else { number.iter().fold(0, shifted) })
    };
    // bytes of: the count of entries, an entry, what of it comes before the value
    let (start, count, entry, before) = match number(2, 2)? {
        43 => (number(8, 8)?, 8, 20, 12),
        _ => (number(4, 4)?, 2, 12, 8),
    };
    let entries = start.checked_add(count)?;
    let found = (0..number(start, count)?)
        .map_while(|index| Some(entries + index * entry).filter(|at| *at < bytes.len()))
        .find(|at| number(*at, 2) == Some(Tag::PhotometricInterpretation.to_u16().into()))?;
    let mut copy = bytes.to_vec();
    let grey = PhotometricInterpretation::BlackIsZero.to_u16();
    let grey = if is_little { grey.to_le_bytes() } else { grey.to_be_bytes() };
    copy.get_mut(found + before..)?.first_chunk_mut().map(|value| *value = grey)?;
    Some(copy)
}
