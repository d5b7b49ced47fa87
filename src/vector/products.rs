//! The inner products of many vectors with many others: a matrix product in f32.

use pulp::{Arch, Simd, WithSimd};

/// The bytes of queries that are used again and again: they should stay in a core's own cache.
const CACHED: usize = 128 * 1024;

/// Writes `a·b` for each row `a` of `queries` and `b` of `rows`, both of `dimensions` numbers, into `products`, one
/// query after the other: the product of query `i` and row `j` is at `i * number of rows + j`.
///
/// Sums are taken in f32. In whatever order they are taken, `|product - a·b| <= error_bound(dimensions) |a| |b|`
/// unless numbers overflow or underflow f32.
pub(super) fn products(queries: &[f32], rows: &[f32], dimensions: usize, products: &mut [f32]) {
    if dimensions == 0 {
        products.fill(0.0);
        return;
    }
    let count = rows.len() / dimensions;
    if count == 0 {
        return;
    }
    let at_once = (CACHED / (size_of::<f32>() * dimensions)).max(16);
    let blocks = queries.chunks(at_once * dimensions).zip(products.chunks_mut(at_once * count));
    for (queries, out) in blocks {
        Arch::new().dispatch(MatrixProduct { queries, rows, dimensions, out });
    }
}

/// `γₙ = n u / (1 - n u)`, `u = 2⁻²⁴`: the largest relative error of an inner product of `n` terms in f32, relative to
/// `Σ |aᵢ bᵢ| <= |a| |b|`, in any order of additions, fused with the products or not (Higham, Accuracy and Stability of
/// Numerical Algorithms, 2nd edition, 3.1).
pub(super) fn error_bound(dimensions: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no vector is that long")]
    let error = dimensions as f64 * f64::from(f32::EPSILON) / 2.0;
    if error < 0.5 { error / (1.0 - error) } else { f64::INFINITY }
}

struct MatrixProduct<'a> {
    queries: &'a [f32],
    rows: &'a [f32],
    dimensions: usize,
    out: &'a mut [f32],
}

impl WithSimd for MatrixProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // as many sums as registers hold, beside the numbers that go into them
        if S::REGISTER_COUNT >= 32 { self.tiles::<S, 4, 4>(simd) } else { self.tiles::<S, 4, 3>(simd) }
    }
}

impl MatrixProduct<'_> {
    /// Tiles of `Q` queries and `R` rows, then what is left over.
    #[inline(always)]
    fn tiles<S: Simd, const Q: usize, const R: usize>(self, simd: S) {
        let Self { queries, rows, dimensions, out } = self;
        let count = rows.len() / dimensions;
        let mut row = 0;
        while row + R <= count {
            Self::column::<S, Q, R>(simd, queries, rows, dimensions, row, out, count);
            row += R;
        }
        while row < count {
            Self::column::<S, Q, 1>(simd, queries, rows, dimensions, row, out, count);
            row += 1;
        }
    }

    /// All queries with the `R` rows from `row` on.
    #[inline(always)]
    fn column<S: Simd, const Q: usize, const R: usize>(
        simd: S,
        queries: &[f32],
        rows: &[f32],
        dimensions: usize,
        row: usize,
        out: &mut [f32],
        count: usize,
    ) {
        let vectors = rows[row * dimensions..].chunks_exact(dimensions);
        let mut of_rows = [[].as_slice(); R];
        for (of_rows, vector) in of_rows.iter_mut().zip(vectors) {
            *of_rows = vector;
        }
        let mut tiles = queries.chunks_exact(Q * dimensions);
        let mut query = 0;
        for tile in tiles.by_ref() {
            let mut of_queries = [[].as_slice(); Q];
            for (of_queries, vector) in of_queries.iter_mut().zip(tile.chunks_exact(dimensions)) {
                *of_queries = vector;
            }
            for sums in tile_sums::<S, Q, R>(simd, of_queries, of_rows) {
                out[query * count + row..][..R].copy_from_slice(&sums);
                query += 1;
            }
        }
        for vector in tiles.remainder().chunks_exact(dimensions) {
            let [sums] = tile_sums::<S, 1, R>(simd, [vector], of_rows);
            out[query * count + row..][..R].copy_from_slice(&sums);
            query += 1;
        }
    }
}

/// The products of each query with each row.
#[inline(always)]
fn tile_sums<S: Simd, const Q: usize, const R: usize>(
    simd: S,
    queries: [&[f32]; Q],
    rows: [&[f32]; R],
) -> [[f32; R]; Q] {
    // one length for all slices: no index is checked in the loop
    let length = S::as_simd_f32s(queries[0]).0.len();
    let (mut of_queries, mut of_rows) = ([[].as_slice(); Q], [[].as_slice(); R]);
    for (registers, vector) in of_queries.iter_mut().zip(queries) {
        *registers = &S::as_simd_f32s(vector).0[..length];
    }
    for (registers, vector) in of_rows.iter_mut().zip(rows) {
        *registers = &S::as_simd_f32s(vector).0[..length];
    }
    let mut sums = [[simd.splat_f32s(0.0); R]; Q];
    for index in 0..length {
        for query in 0..Q {
            for row in 0..R {
                sums[query][row] =
                    simd.mul_add_e_f32s(of_queries[query][index], of_rows[row][index], sums[query][row]);
            }
        }
    }
    if !S::as_simd_f32s(queries[0]).1.is_empty() {
        // the items that do not fill a register; the rest of it is zeros
        for query in 0..Q {
            for row in 0..R {
                let (of_query, of_row) = (S::as_simd_f32s(queries[query]).1, S::as_simd_f32s(rows[row]).1);
                sums[query][row] = simd.mul_add_e_f32s(
                    simd.partial_load_f32s(of_query),
                    simd.partial_load_f32s(of_row),
                    sums[query][row],
                );
            }
        }
    }
    let mut totals = [[0.0; R]; Q];
    for query in 0..Q {
        for row in 0..R {
            totals[query][row] = simd.reduce_sum_f32s(sums[query][row]);
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn every_tile_of_every_instruction_set_is_within_the_error_bound() {
        for dimensions in [1, 15, 16, 17, 100, 384] {
            let queries: Vec<f32> = numbers(11).take(6 * dimensions).collect();
            let rows: Vec<f32> = numbers(12).take(7 * dimensions).collect();
            let (mut best, mut plainest) = (vec![f32::NAN; 42], vec![f32::NAN; 42]);
            products(&queries, &rows, dimensions, &mut best);
            MatrixProduct { queries: &queries, rows: &rows, dimensions, out: &mut plainest }
                .with_simd(Scalar::new());
            let pairs = queries
                .chunks(dimensions)
                .flat_map(|query| rows.chunks(dimensions).map(move |row| (query, row)));
            for (pair, (query, row)) in pairs.enumerate() {
                let terms = || query.iter().zip(row).map(|(&a, &b)| f64::from(a) * f64::from(b));
                let (exact, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                for product in [best[pair], plainest[pair]] {
                    let error = (f64::from(product) - exact).abs();
                    assert!(
                        error <= error_bound(dimensions) * size,
                        "{dimensions}, {pair}: {product}, {exact}"
                    );
                }
            }
        }
    }
}
