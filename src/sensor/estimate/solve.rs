//! The course of the estimate: a search on a part of the pixels, a polish on more of them, and the response for what was found.

use ndarray::Array2;

use super::free::{self, FreeKernel};
use super::samples::{Data, Posed, constant};
use super::search::{Found, Problem};
use super::uncertainty::judge;
use super::{Determined, Estimate, GaussianForm, Psf, PsfModel, response};
use crate::sensor::psf::GaussianPsf;
use crate::sensor::window::{MASS, gaussian_side, side_holding, side_of_parity, trimmed};

/// Fewest LR pixels from which a PSF is searched: with fewer, three parameters fit anything.
const FEWEST_PIXELS: usize = 12;
/// LR pixels in the search; the polish takes [`POLISH_PIXELS`].
const SEARCH_PIXELS: usize = 900;
/// LR pixels that polish what was found.
const POLISH_PIXELS: usize = 6000;
/// MSI samples in the windows of the search (as many pixels as that allows, but the fewest that suffice).
const SEARCH_SAMPLES: usize = 1 << 23;
/// MSI samples in the windows of the polish.
const POLISH_SAMPLES: usize = 1 << 23;
/// Correlation lengths of the response that are tried, as a share of the bands.
const LENGTHS: [f64; 3] = [0.03, 0.1, 0.3];
/// Steps from a PSF that is good already.
const STEPS: usize = 20;
/// Side of the first window in multiples of the scale, of at least [`NARROWEST`] HR pixels.
const FIRST_WINDOW: usize = 3;
/// Least scale that the first window is made for.
const NARROWEST: usize = 3;
/// Share of the PSF that must lie within the image for an LR pixel to say what the PSF is, where most do.
const SEEN: f64 = 0.98;
/// The widest window in multiples of the scale, of at least four HR pixels: a wider one holds many blocks.
pub const WIDEST_WINDOW: usize = 8;
/// Windows that are tried one after another: each PSF asks for its own, and a cut one for less than the whole.
const WINDOWS: usize = 4;
/// Share of the usable LR pixels of which the first window must see no masked pixel.
const ENOUGH: f64 = 0.25;

/// The widest window that a PSF may have at a scale, of its parity.
pub fn widest_window(scale: usize) -> usize {
    side_of_parity(WIDEST_WINDOW * scale.max(4), scale)
}

/// What was found of the PSF.
struct Search {
    found: Option<Found>,
    /// Kernels that a free one may start from.
    shapes: Vec<FreeKernel>,
    /// Correlation length of the response, bands.
    length: f64,
    /// Side of the window.
    kernel: usize,
    /// Side of the window that should lie within the image.
    inner: usize,
}

fn flattened(kernel: Array2<f64>) -> Vec<f64> {
    kernel.into_iter().collect()
}

impl Data<'_> {
    /// The estimate: a search in a wide window, then everything else in the one that the PSF asks for.
    pub(super) fn solve(&self) -> Estimate {
        let (options, bands) = (self.options, self.bands());
        let mut determined = Determined::default();
        let search = self.search(&mut determined);
        let kernel = search.kernel;
        let most = POLISH_PIXELS.min(200_000_000 / (bands * bands));
        let windows = (kernel, search.inner.min(kernel));
        let pixels = self.choose(windows, (most, POLISH_SAMPLES));
        let posed = self.posed(&pixels, kernel, search.length);
        let problem = &posed.problem;
        let found = search
            .found
            .map(|before| problem.descend(&before.psf, options.learn_centre, STEPS));

        let psf = match &options.known_psf {
            Some(known) => Psf::Free(known.clone()),
            None => self.psf(problem, found.as_ref(), search.shapes, &mut determined),
        };
        let weights = flattened(psf.kernel(kernel));
        let (_, lambda, misfit) = problem.score(&weights);
        let start = self.start().kernel(kernel);
        let start = flattened(options.known_psf.clone().unwrap_or(start));
        let (_, _, misfit_start) = problem.score(&start);
        let gaussian = found
            .filter(|_| options.model != PsfModel::Free)
            .map(|found| self.gaussian_form(problem, &found, (&psf, misfit), &mut determined));

        // Both images in one unit, so that a gain of 1 means that the sensors agree.
        let blurred = problem.windows.apply(&[&weights]).remove(0) / self.hsi_unit;
        let mut fitted = match &options.known_srf {
            Some(srf) => response::calibrate(&posed.x, &blurred, srf),
            None => {
                let directions = lambda.iter().map(|&l| problem.eliminators[0].directions(l));
                determined.directions = directions.collect();
                response::fit(&posed.x, &blurred, &lambda, search.length)
            }
        };
        for offset in &mut fitted.offset {
            *offset *= self.hsi_unit;
        }
        let psf = match (psf, self.told_window()) {
            // A free kernel has less to it than the Gaussian whose window it was found in, or its own tails.
            (Psf::Free(free), None) => Psf::Free(trimmed(&free)),
            (psf, _) => psf,
        };
        Estimate {
            kernel: match &psf {
                Psf::Free(free) => free.nrows(),
                Psf::Gaussian(_) => kernel,
            },
            psf,
            gaussian,
            response: fitted.columns,
            gain: fitted.gain,
            offset: fitted.offset,
            misfit_start: misfit_start.sqrt(),
            misfit: misfit.sqrt(),
            determined,
        }
    }

    /// The window that was told: that of a known PSF or of the options.
    fn told_window(&self) -> Option<usize> {
        let known = self.options.known_psf.as_ref().map(Array2::nrows);
        known.or(self.options.kernel)
    }

    /// The first window: three blocks, or less where masked pixels would leave few windows.
    fn first_window(&self) -> usize {
        let scale = self.options.scale;
        let widest = side_of_parity(FIRST_WINDOW * scale.max(NARROWEST), scale);
        let enough = |&side: &usize| self.share(side) >= ENOUGH;
        (scale..=widest).rev().step_by(2).find(enough).unwrap_or(scale)
    }

    /// Searches the PSF, where it is not known and the scene says something about it, with its window and the
    /// correlation length of the response that goes with it.
    fn search(&self, determined: &mut Determined) -> Search {
        let (options, bands) = (self.options, self.bands() as f64);
        let told = self.told_window();
        let mut search = Search {
            found: None,
            shapes: Vec::new(),
            length: LENGTHS[1] * bands,
            kernel: told.unwrap_or_else(|| gaussian_side(&self.start(), options.scale, MASS)),
            inner: options.scale,
        };
        if let Some(known) = &options.known_psf {
            search.inner = side_holding(known, SEEN);
            return search;
        }
        let first = told.unwrap_or_else(|| self.first_window());
        let mut posed = self.search_problem((first, first), search.length);
        let start = flattened(self.start().kernel(first));
        // In every band constant but for the rounding of single precision.
        if constant(&posed.x) || constant(&posed.problem.windows.apply(&[&start])[0]) {
            let remark =
                "the scene has no contrast, so it says nothing about the PSF; a broad Gaussian is assumed";
            determined.remarks.push(remark.into());
            return search;
        }
        if posed.x.nrows() < FEWEST_PIXELS {
            determined.remarks.push(format!(
                "{} usable LR pixels are too few to find a PSF; a broad Gaussian is assumed",
                posed.x.nrows()
            ));
            return search;
        }
        search.kernel = first;
        let centre = (!options.learn_centre).then_some(options.centre);
        let Posed {
            problem, factored, ..
        } = &mut posed;
        let mut best = problem.solve(options.scale, centre);
        if let Some(factored) = factored {
            for share in [LENGTHS[0], LENGTHS[2]] {
                let other = factored.eliminator(share * bands);
                let usual = std::mem::replace(&mut problem.eliminators, vec![other]);
                let candidate = problem.descend(&best.psf, options.learn_centre, STEPS);
                if candidate.score < best.score {
                    (best, search.length) = (candidate, share * bands);
                } else {
                    problem.eliminators = usual;
                }
            }
        }
        if told.is_none() {
            let widest = widest_window(options.scale);
            for _ in 0..WINDOWS {
                let side = gaussian_side(&best.psf, options.scale, MASS).min(widest);
                let cut = side > search.kernel;
                if side == search.kernel {
                    break;
                }
                posed = self.search_problem((side, self.inner(&best.psf)), search.length);
                search.kernel = side;
                best = posed.problem.descend(&best.psf, options.learn_centre, STEPS);
                if !cut {
                    break;
                }
            }
        }
        if options.model != PsfModel::Gaussian {
            search.shapes = free::shapes(
                &posed.problem,
                &flattened(best.psf.kernel(search.kernel)),
                best.psf.centre,
                options.learn_centre,
                (options.model == PsfModel::Auto).then_some(free::CLEARLY),
            );
        }
        search.inner = self.inner(&best.psf);
        search.found = Some(best);
        search
    }

    /// Side of the window of a PSF that should lie within the image.
    fn inner(&self, psf: &GaussianPsf) -> usize {
        gaussian_side(psf, self.options.scale, SEEN)
    }

    /// The problem of the search in a window of this side.
    fn search_problem(&self, windows: (usize, usize), length: f64) -> Posed {
        let chosen = self.choose(windows, (SEARCH_PIXELS, SEARCH_SAMPLES));
        self.posed(&chosen, windows.0, length)
    }

    /// The PSF: a free kernel where there are shapes to start one from, else the Gaussian, else the guess.
    fn psf(
        &self,
        problem: &Problem,
        found: Option<&Found>,
        shapes: Vec<FreeKernel>,
        determined: &mut Determined,
    ) -> Psf {
        if let Some(free) = free::refine(problem, shapes) {
            let remark = format!("the free PSF started from {}", free.shape);
            determined.remarks.push(remark);
            let size = problem.kernel;
            return Psf::Free(Array2::from_shape_fn((size, size), |(i, k)| {
                free.weights[i * size + k]
            }));
        }
        Psf::Gaussian(found.map_or_else(|| self.start(), |found| found.psf))
    }

    /// The Gaussian that was `found`; how well it is determined is the estimate's affair where it is the estimate.
    fn gaussian_form(
        &self,
        problem: &Problem,
        found: &Found,
        (psf, misfit): (&Psf, f64),
        determined: &mut Determined,
    ) -> GaussianForm {
        let mut judged = Determined::default();
        judge(found, self.options.learn_centre, &mut judged);
        let misfit = match psf {
            Psf::Gaussian(_) => misfit,
            Psf::Free(_) => problem.score(&flattened(found.psf.kernel(problem.kernel))).2,
        };
        let form = GaussianForm {
            psf: found.psf,
            centre: judged.centre,
            misfit: misfit.sqrt(),
        };
        if matches!(psf, Psf::Gaussian(_)) {
            determined.remarks.append(&mut judged.remarks);
            (determined.psf, determined.centre) = (judged.psf, judged.centre);
        }
        form
    }

    /// The guess that stands where the data say nothing: isotropic, a standard deviation of a quarter of the scale.
    fn start(&self) -> GaussianPsf {
        let deviation = (0.25 * self.options.scale as f64).max(0.5);
        GaussianPsf {
            factor: [1.0 / deviation, 0.0, 1.0 / deviation],
            centre: self.options.centre,
        }
    }
}
