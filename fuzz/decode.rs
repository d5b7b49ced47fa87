//! What every target does.
use datafusion_semantic::image::{DecodeOptions, Filter, Fit, Format, ImageFile, Limits, Resizing};

/// Decodes `bytes` if they are of this format: whole, and at a fraction of its size. Small limits, so that time is spent
/// in the codecs and not on pixels.
pub fn decode(format: Format, bytes: &[u8]) {
    if Format::of(bytes) != Some(format) {
        return;
    }
    let options = DecodeOptions {
        limits: Limits { side: 4096, pixels: 1 << 20, bytes: 16 << 20 },
        ..DecodeOptions::default()
    };
    let Ok(file) = ImageFile::open(bytes, &options) else { return };
    let header = *file.header();
    let small = Resizing { width: 3, height: 2, filter: Filter::Bilinear, fit: Fit::Stretch };
    if let Ok(image) = file.decode(None) {
        assert_eq!((image.width(), image.height(), image.mode()), (header.width, header.height, header.mode));
        small.apply(image).expect("a decoded image can be resized");
    }
    let Ok(file) = ImageFile::open(bytes, &options) else { return };
    if let Ok(image) = file.scaled_for(&small).decode_resized([], &small) {
        assert_eq!(image.pixels().len(), 6 * header.mode.bytes());
    }
}
