//! The numbers of which vectors are made.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// A number that f64 holds exactly.
pub trait Item: Copy + Send + Sync + 'static {
    /// Writes the numbers of `from` into `to`, which is as long.
    fn widen(from: &[Self], to: &mut [f64]);
}

macro_rules! items {
    ($($number:ty),*) => {$(
        impl Item for $number {
            #[inline(always)]
            fn widen(from: &[Self], to: &mut [f64]) {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = f64::from(from);
                }
            }
        }
    )*};
}
items!(f32, f64, i8, u8);

impl Item for f16 {
    fn widen(from: &[Self], to: &mut [f64]) {
        // many at once: the processor may have an instruction for it, which takes asking
        let mut singles = [0.0; 64];
        for (from, to) in from.chunks(singles.len()).zip(to.chunks_mut(singles.len())) {
            let singles = &mut singles[..from.len()];
            from.convert_to_f32_slice(singles);
            f32::widen(singles, to);
        }
    }
}
