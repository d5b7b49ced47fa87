//! ICO: a directory of images, each a BMP without its file header or a whole PNG.
use super::Format;

/// The PNG that an ICO file is decoded as, if it is one: the image of the most bits a pixel and then of the most pixels,
/// as the decoder of the `image` crate chooses, which would unpack its metadata without a limit.
///
/// The directory is behind 4 bytes: the number of images, and 16 bytes for each, with width and height (0 is 256) in the
/// first two, the bits a pixel in the 7th and 8th, and in the last 4 where the image is.
pub(super) fn png(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.get(4..6)?;
    let (entries, _) = bytes.get(6..)?.as_chunks::<16>();
    let entries = entries.get(..usize::from(u16::from_le_bytes([count[0], count[1]])))?;
    let quality = |entry: &[u8; 16]| {
        let side = |side: u8| if side == 0 { 256 } else { u32::from(side) };
        (u16::from_le_bytes([entry[6], entry[7]]), side(entry[0]) * side(entry[1]))
    };
    let (last, others) = entries.split_last()?;
    // of equals the last one of the file, or else the first
    let best =
        others.iter().fold(last, |best, entry| if quality(entry) > quality(best) { entry } else { best });
    let start = u32::from_le_bytes([best[12], best[13], best[14], best[15]]);
    let image = bytes.get(usize::try_from(start).ok()?..)?;
    (Format::of(image) == Some(Format::Png)).then_some(image)
}
