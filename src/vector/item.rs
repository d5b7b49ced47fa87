//! The numbers of which vectors are made.

use half::f16;

/// A number that f64 holds exactly.
pub trait Item: Copy + Send + Sync + 'static {
    /// Whether f32 holds it exactly.
    const FITS_SINGLE: bool = true;

    /// Writes the numbers of `from` into `to`, which is as long.
    fn widen(from: &[Self], to: &mut [f64]);

    /// The numbers as f32, the nearest to each: themselves, or in `memory`.
    fn singles<'a>(items: &'a [Self], memory: &'a mut Vec<f32>) -> &'a [f32];
}

macro_rules! widen {
    () => {
        #[inline(always)]
        fn widen(from: &[Self], to: &mut [f64]) {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = f64::from(from);
            }
        }
    };
}

impl Item for f32 {
    widen!();

    fn singles<'a>(items: &'a [Self], _: &'a mut Vec<f32>) -> &'a [f32] {
        items
    }
}

impl Item for f64 {
    const FITS_SINGLE: bool = false;

    widen!();

    fn singles<'a>(items: &'a [Self], memory: &'a mut Vec<f32>) -> &'a [f32] {
        #[expect(clippy::cast_possible_truncation, reason = "rounded")]
        collect(items, memory, |item| item as f32)
    }
}

impl Item for i8 {
    widen!();

    fn singles<'a>(items: &'a [Self], memory: &'a mut Vec<f32>) -> &'a [f32] {
        collect(items, memory, f32::from)
    }
}

impl Item for u8 {
    widen!();

    fn singles<'a>(items: &'a [Self], memory: &'a mut Vec<f32>) -> &'a [f32] {
        collect(items, memory, f32::from)
    }
}

#[inline(always)]
fn collect<'a, T: Copy>(items: &[T], memory: &'a mut Vec<f32>, each: impl Fn(T) -> f32) -> &'a [f32] {
    memory.clear();
    memory.extend(items.iter().map(|&item| each(item)));
    memory
}

impl Item for f16 {
    #[inline(always)]
    fn widen(from: &[Self], to: &mut [f64]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = f64::from(single(from));
        }
    }

    fn singles<'a>(items: &'a [Self], memory: &'a mut Vec<f32>) -> &'a [f32] {
        collect(items, memory, single)
    }
}

/// The number as f32, in steps that the compiler can take for many numbers at once; `f32::from` asks the processor for
/// an instruction, number by number.
#[inline(always)]
fn single(number: f16) -> f32 {
    /// 2¹¹², the difference between the exponents of one and the same number in the two formats
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    const INFINITY: u32 = 0x7C00 << 13;
    let bits = u32::from(number.to_bits());
    let magnitude = (bits & 0x7FFF) << 13;
    let scaled = (f32::from_bits(magnitude) * SCALE).to_bits();
    let unsigned = if magnitude < INFINITY { scaled } else { magnitude | f32::INFINITY.to_bits() };
    f32::from_bits(unsigned | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let mut wide = [0.0];
            f16::widen(&[half], &mut wide);
            let same = wide[0].to_bits() == half.to_f64().to_bits() || (wide[0].is_nan() && half.is_nan());
            assert!(same, "{bits:#x}: {wide:?}");
        }
    }
}
