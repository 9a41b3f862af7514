//! One line about a fusion: good, doubtful and why, or not the same scene.

use serde::Serialize;

use crate::evidence::agreement::Agreement;

/// Standard deviations of moved images below which two images lie upon each other no better than any two, and from which
/// on they clearly do. Pairs of one scene had 12 to 160 (22 pairs, with noise 12 to 140), pairs of two scenes at most 1.3.
const CHANCE: f64 = 2.5;
const CLEAR: f64 = 4.0;
/// Share of the MSI's variance that the HSI may leave unexplained.
const UNEXPLAINED: f64 = 0.15;
/// Another place must explain the MSI this much better to be spoken of.
const ELSEWHERE: f64 = 0.5;
/// Share of suspect LR pixels.
const SUSPECT: f64 = 0.15;

/// What is to be thought of a fusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing speaks against the result.
    Good,
    /// Something does.
    Doubtful {
        /// What was seen.
        why: String,
        /// What may help.
        remedy: String,
    },
    /// The two images agree no better than two of different places do.
    NotTheSameScene {
        /// What was seen.
        why: String,
    },
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Verdict::Good => write!(f, "good"),
            Verdict::Doubtful { why, remedy } => write!(f, "doubtful: {why}; try {remedy}"),
            Verdict::NotTheSameScene { why } => write!(f, "not the same scene: {why}"),
        }
    }
}

/// The verdict on a pair whose images agree as `agreement` says (none: too few LR pixels) and of whose LR pixels the share
/// `suspect` was left out.
pub fn verdict(agreement: Option<&Agreement>, suspect: f64) -> Verdict {
    let doubtful = |why: String, remedy: &str| Verdict::Doubtful {
        why,
        remedy: remedy.to_owned(),
    };
    let Some((agreement, distance)) = agreement.and_then(|a| Some((a, a.distance?))) else {
        return doubtful(
            "too few LR pixels to tell whether the two images show one scene".to_owned(),
            "a larger part of the scene",
        );
    };
    let percent = 100.0 * agreement.left;
    let elsewhere = agreement
        .elsewhere
        .filter(|(left, _)| *left < ELSEWHERE * agreement.left && *left < UNEXPLAINED);
    if let Some((left, [row, column])) = elsewhere {
        return doubtful(
            format!(
                "the HSI explains all but {:.1} % of the MSI where it is moved by ({row}, {column}) LR pixels, and all but \
                 {percent:.1} % as they lie",
                100.0 * left
            ),
            "the setting align, or other parts of the two images",
        );
    }
    if distance < CHANCE {
        return Verdict::NotTheSameScene {
            why: format!(
                "the HSI leaves {percent:.1} % of the MSI unexplained, no less than where one of them is moved away"
            ),
        };
    }
    if agreement.left > UNEXPLAINED || distance < CLEAR {
        return doubtful(
            format!("the HSI leaves {percent:.1} % of the MSI's variance unexplained"),
            "another registration, masks for what has changed between the two images, or less noisy ones",
        );
    }
    if suspect > SUSPECT {
        return doubtful(
            format!(
                "{:.0} % of the LR pixels contradict the others and were left out",
                100.0 * suspect
            ),
            "masks for clouds and changes (the setting hsi-mask, the setting msi-mask), or images of one day",
        );
    }
    Verdict::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement(left: f64, distance: f64, elsewhere: f64) -> Agreement {
        Agreement {
            left,
            elsewhere: Some((elsewhere, [3, -2])),
            distance: Some(distance),
        }
    }

    #[test]
    fn every_verdict_is_reached() {
        let of = |a: Agreement, suspect: f64| verdict(Some(&a), suspect).to_string();
        assert_eq!(of(agreement(0.01, 30.0, 0.4), 0.0), "good");
        assert!(of(agreement(0.5, 0.2, 0.45), 0.0).starts_with("not the same scene: the HSI leaves 50.0 %"));
        let moved = of(agreement(0.5, 0.2, 0.01), 0.0);
        assert!(
            moved.contains("(3, -2)") && moved.contains("try the setting align"),
            "{moved}"
        );
        assert!(of(agreement(0.3, 8.0, 0.6), 0.0).starts_with("doubtful: the HSI leaves 30.0 %"));
        assert!(of(agreement(0.01, 30.0, 0.4), 0.3).contains("30 % of the LR pixels"));
        assert!(verdict(None, 0.0).to_string().contains("too few"));
    }
}
