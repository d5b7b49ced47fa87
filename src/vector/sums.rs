//! Sums over two vectors, the inner loop of every distance.
//!
//! Sums are taken in f64, in [`LANES`] running sums that are added up in one order, whatever the instruction set: so
//! a sum has the same bits wherever it is computed on one machine, and, as the product of two f32 is exact in f64,
//! sums of products of f32 and of anything shorter have the same bits on every machine.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::Item;

/// How many sums run beside each other: two registers of AVX-512, four of AVX2.
const LANES: usize = 16;

/// What is added up over the pairs of items of two vectors: up to two sums.
pub(super) trait Terms {
    /// Adds the terms of the items `a` and `b`.
    fn add<S: Simd>(simd: S, sums: [S::f64s; 2], a: S::f64s, b: S::f64s) -> [S::f64s; 2];
}

/// `a·b`
pub(super) struct Products;
/// `a·b` and `a·a`
pub(super) struct ProductsAndSquares;
/// `a·a`
pub(super) struct Squares;
/// `Σ (a - b)²`
pub(super) struct SquaredDifferences;
/// `Σ |a - b|`
pub(super) struct Differences;

impl Terms for Products {
    #[inline(always)]
    fn add<S: Simd>(simd: S, [products, unused]: [S::f64s; 2], a: S::f64s, b: S::f64s) -> [S::f64s; 2] {
        [simd.mul_add_e_f64s(a, b, products), unused]
    }
}

impl Terms for ProductsAndSquares {
    #[inline(always)]
    fn add<S: Simd>(simd: S, [products, squares]: [S::f64s; 2], a: S::f64s, b: S::f64s) -> [S::f64s; 2] {
        [simd.mul_add_e_f64s(a, b, products), simd.mul_add_e_f64s(a, a, squares)]
    }
}

impl Terms for Squares {
    #[inline(always)]
    fn add<S: Simd>(simd: S, [squares, unused]: [S::f64s; 2], a: S::f64s, _: S::f64s) -> [S::f64s; 2] {
        [simd.mul_add_e_f64s(a, a, squares), unused]
    }
}

impl Terms for SquaredDifferences {
    #[inline(always)]
    fn add<S: Simd>(simd: S, [squares, unused]: [S::f64s; 2], a: S::f64s, b: S::f64s) -> [S::f64s; 2] {
        let difference = simd.sub_f64s(a, b);
        [simd.mul_add_e_f64s(difference, difference, squares), unused]
    }
}

impl Terms for Differences {
    #[inline(always)]
    fn add<S: Simd>(simd: S, [sum, unused]: [S::f64s; 2], a: S::f64s, b: S::f64s) -> [S::f64s; 2] {
        [simd.add_f64s(sum, simd.abs_f64s(simd.sub_f64s(a, b))), unused]
    }
}

/// The sums over each row of `rows` and `query`, handed to `each` with the number of the row, from 0 to `count`.
///
/// Rows lie one behind the other, each as long as `query`; there is none after the end of `rows`.
pub(super) fn for_each_row<M: Terms, T: Item>(
    rows: &[T],
    query: &[f64],
    count: usize,
    each: impl FnMut(usize, [f64; 2]),
) {
    Arch::new().dispatch(EachRow { rows, query, count, each, terms: PhantomData::<M> });
}

struct EachRow<'a, M, T, F> {
    rows: &'a [T],
    query: &'a [f64],
    count: usize,
    each: F,
    terms: PhantomData<M>,
}

impl<M: Terms, T: Item, F: FnMut(usize, [f64; 2])> WithSimd for EachRow<'_, M, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let dimensions = self.query.len();
        for index in 0..self.count {
            let Some(row) = self.rows.get(index * dimensions..(index + 1) * dimensions) else { return };
            // the number of registers has to be a constant for the sums to stay in registers
            let sums = match S::F64_LANES {
                8 => sums::<S, M, T, { LANES / 8 }>(simd, row, self.query),
                4 => sums::<S, M, T, { LANES / 4 }>(simd, row, self.query),
                2 => sums::<S, M, T, { LANES / 2 }>(simd, row, self.query),
                _ => sums::<S, M, T, LANES>(simd, row, self.query),
            };
            (self.each)(index, sums);
        }
    }
}

#[inline(always)]
fn sums<S: Simd, M: Terms, T: Item, const REGISTERS: usize>(simd: S, row: &[T], query: &[f64]) -> [f64; 2] {
    let mut sums = [[simd.splat_f64s(0.0); 2]; REGISTERS];
    let ((parts_a, rest_a), (parts_b, rest_b)) = (row.as_chunks::<LANES>(), query.as_chunks::<LANES>());
    for (part_a, part_b) in parts_a.iter().zip(parts_b) {
        let mut a = [0.0; LANES];
        T::widen(part_a, &mut a);
        add::<S, M, REGISTERS>(simd, &mut sums, &a, part_b);
    }
    if !rest_a.is_empty() {
        // zeros add nothing to any of the sums
        let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
        T::widen(rest_a, &mut a[..rest_a.len()]);
        b[..rest_b.len()].copy_from_slice(rest_b);
        add::<S, M, REGISTERS>(simd, &mut sums, &a, &b);
    }
    let mut lanes = [[0.0; LANES]; 2];
    for (sum, lanes) in lanes.iter_mut().enumerate() {
        for (lanes, sums) in S::as_mut_simd_f64s(lanes).0.iter_mut().zip(sums) {
            *lanes = sums[sum];
        }
    }
    lanes.map(total)
}

/// Adds the terms of the items of `a` and `b`.
#[inline(always)]
fn add<S: Simd, M: Terms, const REGISTERS: usize>(
    simd: S,
    sums: &mut [[S::f64s; 2]; REGISTERS],
    a: &[f64; LANES],
    b: &[f64; LANES],
) {
    let (a, b) =
        (S::as_simd_f64s(a).0.as_chunks::<REGISTERS>().0, S::as_simd_f64s(b).0.as_chunks::<REGISTERS>().0);
    for (a, b) in a.iter().zip(b) {
        for register in 0..REGISTERS {
            sums[register] = M::add(simd, sums[register], a[register], b[register]);
        }
    }
}

/// The sum of the lanes, by halves: the rounding errors of few additions follow each other.
#[inline(always)]
fn total(mut lanes: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn sums_of_products_have_the_same_bits_on_every_instruction_set() {
        for length in [1, 15, 16, 17, 100, 384] {
            let (rows, query) = (numbers(9).take(3 * length), numbers(10).take(length));
            let (rows, query): (Vec<f32>, Vec<f64>) = (rows.collect(), query.map(f64::from).collect());
            let mut best = Vec::new();
            for_each_row::<ProductsAndSquares, f32>(&rows, &query, 3, |_, sums| {
                best.push(sums.map(f64::to_bits));
            });
            let mut plainest = Vec::new();
            let each = |_: usize, sums: [f64; 2]| plainest.push(sums.map(f64::to_bits));
            let terms = PhantomData::<ProductsAndSquares>;
            EachRow { rows: &rows, query: &query, count: 3, each, terms }.with_simd(Scalar::new());
            assert_eq!(best, plainest, "{length}");
        }
    }
}
