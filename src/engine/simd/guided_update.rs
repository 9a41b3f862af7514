//! Spreading weights of LR pixels over HR pixels that are alike: LR columns along the lanes for κ, then bands.
//!
//! An HR pixel has up to 256 neighbours, whose part of κ that comes from place repeats from LR pixel to LR pixel: it is
//! looked up, and what is left of κ is a distance of colours and an exponential function. Neighbours that matter are
//! listed first, so that their sums stay in registers for all of them. The order is the twin's.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::lines::{LINE, Rows};
use super::normals::polynomial;
use crate::engine::cpu::guided_update::NEGLIGIBLE;
use crate::engine::refinement::{Guide, RefinementGrid, Strip};

/// LR rows and columns that an HR pixel reaches at most.
const SIDE: usize = 2 * Guide::MAX_RADIUS as usize;
/// Numbers of a row of them.
const PITCH: usize = SIDE.next_multiple_of(LINE);

/// φ(|p − k| / radius) of the LR pixels that an HR pixel reaches, for every place of an HR pixel within an LR pixel.
struct Places {
    /// LR rows and columns of a map.
    side: usize,
    /// First LR row and column that the HR rows and columns 0..s reach.
    first: [Vec<isize>; 2],
    /// Column phases × `side` rows of [`PITCH`] for every row phase, zeros behind each row.
    maps: Vec<Rows>,
}

impl Places {
    fn new(grid: &RefinementGrid, guide: Guide) -> Self {
        let scale = grid.geometry.scale;
        let reach = (guide.radius.ceil() as usize).clamp(1, SIDE / 2);
        let side = 2 * reach;
        let first = [0, 1].map(|axis| {
            let below = |p| grid.lr_position(p, axis).floor() as isize;
            (0..scale).map(|p| below(p) - reach as isize + 1).collect()
        });
        // As the twin's: squares of distances are made in double precision and added in single.
        let squares = |p: usize, axis: usize, first: &[Vec<isize>; 2]| -> Vec<f32> {
            let from = grid.lr_position(p, axis) - first[axis][p] as f64;
            (0..side).map(|i| (from - i as f64).powi(2) as f32).collect()
        };
        let columns: Vec<_> = (0..scale).map(|q| squares(q, 1, &first)).collect();
        let (radius, limit) = (guide.radius as f32, (guide.radius * guide.radius) as f32);
        let maps = (0..scale).into_par_iter().map(|p| {
            let mut maps = Rows::dense(scale * side, PITCH);
            let rows = squares(p, 0, &first);
            for (q, columns) in columns.iter().enumerate() {
                for (i, row2) in rows.iter().enumerate() {
                    for (place, column2) in maps.row_mut(q * side + i).iter_mut().zip(columns) {
                        let distance2 = row2 + column2;
                        let t = distance2.sqrt() / radius;
                        let near = (1.0 - t) * (1.0 - t);
                        let value = near * near * (4.0 * t + 1.0);
                        *place = if distance2 < limit { value } else { 0.0 };
                    }
                }
            }
            maps
        });
        Places {
            side,
            maps: maps.collect(),
            first,
        }
    }
}

/// What all rows of a strip read.
struct Strips<'a> {
    grid: &'a RefinementGrid,
    strip: Strip,
    precision: f32,
    places: Places,
    /// Weights, an LR pixel a row.
    weights: Rows,
    /// (Y∗C)↓, a row for every MSI band of an LR row, `margin` columns before the first.
    colours: Rows,
    margin: usize,
}

/// See [`crate::engine::refinement::Refiner::guided_update`].
// As the method that it implements.
#[allow(clippy::too_many_arguments)]
pub(super) fn guided_update(
    arch: Arch,
    grid: &RefinementGrid,
    strip: Strip,
    guide: Guide,
    weights: &[f32],
    lr_msi: &[f32],
    hr_msi: &[f32],
    hr_hsi: &mut [f32],
) {
    let (bands, b, scale) = (grid.bands, grid.msi_bands, grid.geometry.scale);
    let places = Places::new(grid, guide);
    // A map may begin before the first LR column and end behind the last.
    let least = places.first[1].iter().copied().min().unwrap_or(0);
    let most = places.first[1].iter().copied().max().unwrap_or(0) + (grid.columns as isize - 1);
    let margin = (-least).max(0) as usize;
    let width = margin + grid.columns.max((most + PITCH as isize).max(0) as usize);
    let mut by_pixel = Rows::dense(weights.len() / bands, bands);
    for (k, from) in weights.chunks_exact(bands).enumerate() {
        by_pixel.row_mut(k)[..bands].copy_from_slice(from);
    }
    let mut colours = Rows::dense(lr_msi.len() / grid.columns, width);
    for (k, colour) in lr_msi.chunks_exact(b).enumerate() {
        for (j, &y) in colour.iter().enumerate() {
            colours.row_mut(k / grid.columns * b + j)[margin + k % grid.columns] = y;
        }
    }
    let strips = Strips {
        grid,
        strip,
        precision: guide.precision as f32,
        places,
        weights: by_pixel,
        colours,
        margin,
    };
    let columns = grid.columns * scale;
    hr_hsi
        .par_chunks_exact_mut(columns * bands)
        .zip(hr_msi.par_chunks_exact(columns * b))
        .enumerate()
        .for_each(|(p, (line, colours))| {
            arch.dispatch(HrRow {
                strips: &strips,
                row: strip.hr_row + p,
                colours,
                line,
            });
        });
}

/// One row of the HR image.
struct HrRow<'a> {
    strips: &'a Strips<'a>,
    row: usize,
    colours: &'a [f32],
    line: &'a mut [f32],
}

/// The neighbours of an HR pixel that matter: κ and the LR pixel.
struct Neighbours {
    count: usize,
    // One more than there can be: a candidate is always written and counted if it matters.
    kernels: [f32; SIDE * SIDE + 1],
    pixels: [u32; SIDE * SIDE + 1],
}

impl WithSimd for HrRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Strips { grid, places, .. } = self.strips;
        let (bands, b, scale) = (grid.bands, grid.msi_bands, grid.geometry.scale);
        let maps = &places.maps[self.row % scale];
        let first_row = places.first[0][self.row % scale] + (self.row / scale) as isize;
        let stride = self.strips.weights.stride();
        let mut near = Neighbours {
            count: 0,
            kernels: [0.0; SIDE * SIDE + 1],
            pixels: [0; SIDE * SIDE + 1],
        };
        let mut sums = Rows::dense(1, bands);
        let pixels = self
            .line
            .chunks_exact_mut(bands)
            .zip(self.colours.chunks_exact(b));
        for (q, (out, colour)) in pixels.enumerate() {
            let first_column = places.first[1][q % scale] + (q / scale) as isize;
            near.count = 0;
            self.strips.list(
                simd,
                maps,
                q % scale * places.side,
                (first_row, first_column),
                colour,
                &mut near,
            );
            let mut at = 0;
            while at < stride {
                let left = (stride - at) / S::F32_LANES;
                let to = &mut sums.all_mut()[at..];
                let vectors = match left {
                    1 => self.strips.sum::<S, 1>(simd, &near, at, to),
                    2 | 3 => self.strips.sum::<S, 2>(simd, &near, at, to),
                    _ => self.strips.sum::<S, 4>(simd, &near, at, to),
                };
                at += vectors * S::F32_LANES;
            }
            for (z, &sum) in out.iter_mut().zip(sums.all()) {
                *z += sum;
            }
        }
    }
}

/// The part of a map's `side` rows or columns from `first` on that lies inside the image.
fn inside(first: isize, side: usize, length: usize) -> std::ops::Range<usize> {
    let end = (length as isize - first).clamp(0, side as isize) as usize;
    ((-first).max(0) as usize).min(end)..end
}

impl Strips<'_> {
    /// Lists the neighbours of an HR pixel; `map` is the first row of its places in `maps`, `first` their LR row and column.
    #[inline(always)]
    fn list<S: Simd>(
        &self,
        simd: S,
        maps: &Rows,
        map: usize,
        first: (isize, isize),
        colour: &[f32],
        near: &mut Neighbours,
    ) {
        let side = self.places.side;
        let columns = inside(first.1, side, self.grid.columns);
        let precision = simd.splat_f32s(-self.precision);
        let mut kernels = [0.0; PITCH];
        for i in inside(first.0, side, self.grid.rows) {
            let row = (first.0 + i as isize) as usize - self.strip.lr_row;
            let place = maps.row(map + i);
            // The margin makes room for what lies before the first column.
            let from = (self.margin as isize + first.1) as usize;
            for at in (0..side).step_by(S::F32_LANES) {
                let mut colour2 = simd.splat_f32s(0.0);
                for (j, &y) in colour.iter().enumerate() {
                    let of = load(simd, &self.colours.row(row * colour.len() + j)[from + at..]);
                    let d = simd.sub_f32s(simd.splat_f32s(y), of);
                    colour2 = simd.mul_add_e_f32s(d, d, colour2);
                }
                let alike = exponential(simd, simd.mul_f32s(precision, colour2));
                let kernel = simd.mul_f32s(load(simd, &place[at..]), alike);
                S::as_mut_simd_f32s(&mut kernels[at..]).0[0] = kernel;
            }
            let pixel = (row * self.grid.columns) as isize + first.1;
            for c in columns.clone() {
                near.kernels[near.count] = kernels[c];
                near.pixels[near.count] = (pixel + c as isize) as u32;
                near.count += usize::from(kernels[c] >= NEGLIGIBLE as f32);
            }
        }
    }

    /// Σ κ · weights of V vectors of bands from band `at` on, into `to`; returns V.
    #[inline(always)]
    fn sum<S: Simd, const V: usize>(&self, simd: S, near: &Neighbours, at: usize, to: &mut [f32]) -> usize {
        let (all, stride) = (self.weights.all(), self.weights.stride());
        let mut sums = [simd.splat_f32s(0.0); V];
        let neighbours = near.kernels[..near.count].iter().zip(&near.pixels);
        for (&kernel, &pixel) in neighbours {
            let weights = &all[pixel as usize * stride + at..][..V * S::F32_LANES];
            let weights = S::as_simd_f32s(weights).0;
            let kernel = simd.splat_f32s(kernel);
            for v in 0..V {
                sums[v] = simd.mul_add_e_f32s(kernel, weights[v], sums[v]);
            }
        }
        S::as_mut_simd_f32s(to).0[..V].copy_from_slice(&sums);
        V
    }
}

/// The first vector of `samples`.
#[inline(always)]
fn load<S: Simd>(_: S, samples: &[f32]) -> S::f32s {
    S::as_simd_f32s(&samples[..S::F32_LANES]).0[0]
}

/// e^x for x ≤ 0, to about one unit in the last place (polynomial of Cephes, Moshier); 2⁻¹²⁶ for what is less.
#[inline(always)]
fn exponential<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let f = |x: f32| simd.splat_f32s(x);
    let x = simd.max_f32s(x, f(-87.0));
    // x = n ln 2 + r, ln 2 in two parts of which the first times n is exact; n by adding 1.5 · 2^23, where floats are
    // whole numbers.
    let shifted = simd.mul_add_e_f32s(x, f(std::f32::consts::LOG2_E), f(12_582_912.0));
    let n = simd.sub_f32s(shifted, f(12_582_912.0));
    let r = simd.mul_add_e_f32s(n, f(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, f(2.121_944_4e-4), r);
    let p = polynomial(
        simd,
        r,
        [
            1.987_569_1e-4,
            1.398_2e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
        ],
    );
    let y = simd.add_f32s(simd.mul_add_e_f32s(simd.mul_f32s(r, r), p, r), f(1.0));
    // The low bits of `shifted` are n; above them there is nothing that stays in the word.
    let n = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.add_u32s(n, simd.splat_u32s(0x3f80_0000));
    simd.mul_f32s(y, simd.transmute_f32s_u32s(power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::simd::SimdEngine;

    struct Values<'a>(&'a [f32]);

    impl WithSimd for Values<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let vectors = S::as_simd_f32s(self.0).0.iter();
            let values: Vec<S::f32s> = vectors.map(|&x| exponential(simd, x)).collect();
            bytemuck::cast_slice(&values).to_vec()
        }
    }

    // Two units in the last place, over all arguments that leave κ above what is left out and some beyond.
    #[test]
    fn exponential_is_exp() {
        let x: Vec<f32> = (0..4096).map(|i| -0.02 * i as f32).collect();
        for engine in SimdEngine::every_level() {
            for (&x, y) in x.iter().zip(engine.arch.dispatch(Values(&x))) {
                let e = f64::from(x).exp();
                assert!(
                    (f64::from(y) - e).abs() <= 2.4e-7 * e,
                    "{}: {x}: {y}",
                    engine.level()
                );
            }
        }
    }
}
