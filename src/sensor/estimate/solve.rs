//! The course of the estimate: a search on a part of the pixels, a polish on more of them, and the response for what was found.

use ndarray::Array2;

use super::free::{self, FreeKernel};
use super::samples::{Data, Posed, constant};
use super::search::{Found, Problem};
use super::uncertainty::judge;
use super::{Determined, Estimate, GaussianForm, Psf, PsfModel, response};
use crate::sensor::psf::GaussianPsf;

/// Fewest LR pixels from which a PSF is searched: with fewer, three parameters fit anything.
const FEWEST_PIXELS: usize = 12;
/// LR pixels in the search; the polish takes [`POLISH_PIXELS`].
const SEARCH_PIXELS: usize = 900;
/// LR pixels that polish what was found.
const POLISH_PIXELS: usize = 6000;
/// MSI samples in the windows of the search (as many pixels as that allows, but the fewest that suffice).
const SEARCH_SAMPLES: usize = 1 << 21;
/// MSI samples in the windows of the polish.
const POLISH_SAMPLES: usize = 1 << 23;
/// Correlation lengths of the response that are tried, as a share of the bands.
const LENGTHS: [f64; 3] = [0.03, 0.1, 0.3];
/// Steps from a PSF that is good already.
const STEPS: usize = 20;

/// What was found of the PSF.
struct Search {
    found: Option<Found>,
    /// Kernels that a free one may start from.
    shapes: Vec<FreeKernel>,
    /// Correlation length of the response, bands.
    length: f64,
}

fn flattened(kernel: Array2<f64>) -> Vec<f64> {
    kernel.into_iter().collect()
}

impl Data<'_> {
    /// The estimate from these LR pixels.
    pub(super) fn solve(&self, pixels: &[(usize, usize)]) -> Estimate {
        let (options, bands) = (self.options, self.bands());
        let mut determined = Determined::default();
        let chosen = self.choose(pixels, SEARCH_PIXELS, SEARCH_SAMPLES);
        let mut posed = self.posed(&chosen, LENGTHS[1] * bands as f64);
        let start = flattened(match &options.known_psf {
            Some(known) => known.clone(),
            None => self.start().kernel(options.kernel),
        });
        let mut search = self.search(&mut posed, &start, &mut determined);

        let most = POLISH_PIXELS.min(200_000_000 / (bands * bands));
        let more = self.choose(pixels, most, POLISH_SAMPLES);
        if more.len() > chosen.len() {
            posed = self.posed(&more, search.length);
            search.found = search
                .found
                .map(|before| posed.problem.descend(&before.psf, options.learn_centre, STEPS));
        }
        let Search {
            found,
            shapes,
            length,
        } = search;
        let problem = &posed.problem;

        let psf = match &options.known_psf {
            Some(known) => Psf::Free(known.clone()),
            None => self.psf(problem, found.as_ref(), shapes, &mut determined),
        };
        let kernel = flattened(psf.kernel(options.kernel));
        let (_, lambda, misfit) = problem.score(&kernel);
        let (_, _, misfit_start) = problem.score(&start);
        let gaussian = found
            .filter(|_| options.model != PsfModel::Free)
            .map(|found| self.gaussian_form(problem, &found, (&psf, misfit), &mut determined));

        // Both images in one unit, so that a gain of 1 means that the sensors agree.
        let blurred = problem.windows.apply(&[&kernel]).remove(0) / self.hsi_unit;
        let mut fitted = match &options.known_srf {
            Some(srf) => response::calibrate(&posed.x, &blurred, srf),
            None => {
                let directions = lambda.iter().map(|&l| problem.eliminators[0].directions(l));
                determined.directions = directions.collect();
                response::fit(&posed.x, &blurred, &lambda, length)
            }
        };
        for offset in &mut fitted.offset {
            *offset *= self.hsi_unit;
        }
        Estimate {
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

    /// Searches the PSF, where it is not known and the scene says something about it, and the correlation length of the
    /// response that goes with it.
    fn search(&self, posed: &mut Posed, start: &[f64], determined: &mut Determined) -> Search {
        let (options, bands) = (self.options, self.bands() as f64);
        let mut search = Search {
            found: None,
            shapes: Vec::new(),
            length: LENGTHS[1] * bands,
        };
        let Posed { problem, x, factored } = posed;
        if options.known_psf.is_some() {
            return search;
        }
        // In every band constant but for the rounding of single precision.
        if constant(x) || constant(&problem.windows.apply(&[start])[0]) {
            let remark =
                "the scene has no contrast, so it says nothing about the PSF; a broad Gaussian is assumed";
            determined.remarks.push(remark.into());
            return search;
        }
        if x.nrows() < FEWEST_PIXELS {
            determined.remarks.push(format!(
                "{} usable LR pixels are too few to find a PSF; a broad Gaussian is assumed",
                x.nrows()
            ));
            return search;
        }
        let mut best = problem.solve(options.scale, options.learn_centre);
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
        if options.model != PsfModel::Gaussian {
            search.shapes = free::shapes(
                problem,
                &flattened(best.psf.kernel(options.kernel)),
                best.psf.centre,
                options.learn_centre,
                (options.model == PsfModel::Auto).then_some(free::CLEARLY),
            );
        }
        search.found = Some(best);
        search
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
            centre: [0.0; 2],
        }
    }
}
