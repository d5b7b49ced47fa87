//! What every target does.
use datafusion_semantic::image::{DecodeOptions, Filter, Format, ImageFile, Limits, Mode, resize};

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
    for at_least in [None, Some((1, 1))] {
        let Ok(file) = ImageFile::open(bytes, &options) else { return };
        let header = *file.header();
        let Ok(image) = file.decode(None, at_least) else { continue };
        if at_least.is_none() {
            assert_eq!(
                (image.width(), image.height(), image.mode()),
                (header.width, header.height, header.mode)
            );
        }
        let small = resize(image, 3, 2, Filter::Bilinear).expect("a decoded image can be resized");
        assert_eq!(small.pixels().len(), 6 * Mode::bytes(header.mode));
    }
}
