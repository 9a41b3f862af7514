//! What the paper and its supplement report, and the metrics that they report it in.

use serde::Serialize;

use crate::metrics::Scores;

/// What the paper and its supplement report for CAVE at ×32 with PSFs that change from image to image.
pub const PROTOCOL: &str = "as published by Guo et al. (CVPR 2023): CAVE x32, PSFs that change from image to image, 16 scenes \
                            to train and 16 to test, metrics as their code computes them";

/// A published row.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    /// The method, as the paper calls it.
    pub method: &'static str,
    /// PSNR in dB, SAM in degrees, ERGAS and UIQI.
    pub scores: [f64; 4],
}

const fn published(method: &'static str, scores: [f64; 4]) -> Published {
    Published { method, scores }
}

/// The published rows.
pub const PUBLISHED: [Published; 7] = [
    published("CNMF", [27.4, 17.9, 1.33, 0.815]),
    published("HySure", [28.0, 24.0, 1.25, 0.791]),
    published("CSTF", [28.2, 15.8, 1.12, 0.816]),
    published("MHFNet", [32.2, 10.0, 1.17, 0.761]),
    published("CUCaNet", [34.1, 9.10, 0.964, 0.922]),
    published("UAL", [34.9, 8.97, 0.797, 0.845]),
    published("Guo et al.", [39.5, 6.83, 0.355, 0.944]),
];

/// Name, label and value of a metric.
type Metric = (&'static str, &'static str, fn(&Scores) -> f64);

/// The metrics of the paper.
pub(super) const METRICS: [Metric; 4] = [
    ("PSNR", "PSNR (dB), higher is better", |s| s.psnr_db),
    ("SAM", "SAM (degrees), lower is better", |s| s.sam_deg),
    ("ERGAS", "ERGAS, lower is better", |s| s.ergas),
    ("UIQI", "UIQI, higher is better", |s| s.uiqi),
];
