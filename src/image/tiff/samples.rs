//! What is done to the samples of a file to make pixels of them.

/// Pixels from one plane a channel.
pub(super) fn interleaved(planes: &[u8], channels: usize, sample: usize) -> Vec<u8> {
    let plane = planes.len() / channels;
    let mut pixels = vec![0; planes.len()];
    for (index, pixel) in pixels.chunks_exact_mut(channels * sample).enumerate() {
        for (channel, to) in pixel.chunks_exact_mut(sample).enumerate() {
            to.copy_from_slice(&planes[channel * plane + index * sample..][..sample]);
        }
    }
    pixels
}

/// Bytes from samples of less than 8 bits, whose rows end at whole bytes, each times `step`.
pub(super) fn unpacked(packed: &[u8], width: usize, bits: u8, step: u8) -> Vec<u8> {
    let most = (1 << bits) - 1;
    let rows = packed.chunks_exact((width * usize::from(bits)).div_ceil(8));
    let samples = |byte: &u8| {
        let byte = *byte;
        (0..8 / bits).rev().map(move |index| (byte >> (index * bits) & most) * step)
    };
    rows.flat_map(|row| row.iter().flat_map(samples).take(width)).collect()
}

/// Pixels of three equal channels from floats.
pub(super) fn in_three(samples: &[u8]) -> Vec<u8> {
    samples.as_chunks::<4>().0.iter().flat_map(|sample| [*sample; 3]).flatten().collect()
}
