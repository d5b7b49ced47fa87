//! From the colours of files to RGB, in place.
use bytemuck::Pod;

/// RGB from CMYK where the highest value, `MAX`, is no ink: of the light that the key lets through each ink takes its
/// share, rounded as Pillow does.
pub(super) fn rgb_of_cmyk<T, const MAX: u32>(mut pixels: Vec<u8>) -> Vec<u8>
where
    T: Pod + Into<u32> + TryFrom<u32>,
{
    let (four, three) = (size_of::<[T; 4]>(), size_of::<[T; 3]>());
    let count = pixels.len() / four;
    for pixel in 0..count {
        let inks: [T; 4] = bytemuck::pod_read_unaligned(&pixels[four * pixel..][..four]);
        let [cyan, magenta, yellow, key] = inks.map(Into::into);
        let rgb = [cyan, magenta, yellow].map(|ink| {
            let light = key - ((MAX - ink) * key + MAX / 2) / MAX;
            T::try_from(light).unwrap_or(T::zeroed())
        });
        pixels[three * pixel..][..three].copy_from_slice(bytemuck::bytes_of(&rgb));
    }
    pixels.truncate(three * count);
    pixels
}

/// RGB from the `YCbCr` of JPEG (ITU-T T.871, section 7), of bytes.
pub(super) fn rgb_of_ycbcr(pixels: &mut [u8]) {
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let [y, cb, cr] = pixel.map(f32::from);
        let (cb, cr) = (cb - 128.0, cr - 128.0);
        *pixel = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|light| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to the range")]
            {
                light.round() as u8
            }
        });
    }
}
