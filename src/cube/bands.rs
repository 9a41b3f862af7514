//! Bands as a user names them, by number or wavelength: the one parser behind `--bands`, `--msi-bands` and the bands of
//! `render`. Numbers count from 0, as everywhere in this program.

use std::fmt;
use std::str::FromStr;

use super::Metadata;
use crate::error::{Error, Result};

/// One band as the user names it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BandName {
    /// By number, from 0.
    Number(usize),
    /// The band whose centre is nearest to this wavelength (nm).
    Nanometres(f64),
}

impl FromStr for BandName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("'{text}' is no band: give a number from 0, or a wavelength such as 550nm");
        match text.strip_suffix("nm") {
            None => text.parse().map(BandName::Number).map_err(|_| wrong()),
            Some(number) => match number.trim().parse() {
                Ok(x) if f64::is_finite(x) && x > 0.0 => Ok(BandName::Nanometres(x)),
                _ => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for BandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BandName::Number(n) => write!(f, "{n}"),
            BandName::Nanometres(x) => write!(f, "{x}nm"),
        }
    }
}

impl BandName {
    /// Which of the `bands` bands of an image is meant; `file` is its name for messages.
    ///
    /// # Errors
    /// [`Error::Input`] for a band that the image has not, and for a wavelength where it has none.
    pub fn find(self, metadata: &Metadata, bands: usize, file: &str) -> Result<usize> {
        match self {
            BandName::Number(n) if n < bands => Ok(n),
            BandName::Number(n) => Err(Error::input(format!(
                "{file}: no band {n}; it has {bands}, counted from 0"
            ))),
            BandName::Nanometres(wanted) => {
                let centres = centres(metadata, bands, file)?;
                let (low, high) = centres
                    .iter()
                    .fold((f64::MAX, f64::MIN), |(a, b), &w| (a.min(w), b.max(w)));
                // Half a band beyond the first and last centre still belongs to them.
                let margin = 0.5 * (high - low) / (bands.max(2) - 1) as f64;
                if wanted < low - margin || wanted > high + margin {
                    return Err(Error::input(format!(
                        "{file}: no band at {wanted} nm; its bands lie between {low} and {high} nm"
                    )));
                }
                let distance = |i: &usize| (centres[*i] - wanted).abs();
                Ok((0..bands)
                    .min_by(|a, b| distance(a).total_cmp(&distance(b)))
                    .unwrap_or(0))
            }
        }
    }
}

/// The band centres of an image that has one for every band.
fn centres<'a>(metadata: &'a Metadata, bands: usize, file: &str) -> Result<&'a [f64]> {
    metadata
        .wavelengths
        .as_deref()
        .filter(|w| w.len() == bands)
        .ok_or_else(|| {
            Error::input(format!(
                "{file}: has no wavelengths; give bands by number, 0 to {}",
                bands.max(1) - 1
            ))
        })
}

/// What a [`BandSelection`] took of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBands {
    /// Number of bands in the file.
    pub all: usize,
    /// Numbers of those that were taken, in their order.
    pub taken: Vec<usize>,
}

/// Which bands of an image are taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum BandSelection {
    /// All but those that the file marks as bad.
    #[default]
    Usable,
    /// All.
    All,
    /// Single bands, and stretches from one band to another, both included.
    Listed(Vec<(BandName, Option<BandName>)>),
}

impl FromStr for BandSelection {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("all") {
            return Ok(BandSelection::All);
        }
        let item = |item: &str| -> std::result::Result<_, String> {
            let (from, to) = match item.split_once('-') {
                None => return Ok((item.trim().parse()?, None)),
                Some((from, to)) => (from.trim().parse()?, to.trim().parse()?),
            };
            match (from, to) {
                (BandName::Number(a), BandName::Number(b)) if a <= b => {}
                (BandName::Nanometres(a), BandName::Nanometres(b)) if a <= b => {}
                (BandName::Number(_), BandName::Nanometres(_))
                | (BandName::Nanometres(_), BandName::Number(_)) => {
                    return Err(format!(
                        "'{item}' goes from a number to a wavelength; write nm behind both or neither"
                    ));
                }
                _ => return Err(format!("'{item}' runs backwards; give the smaller end first")),
            }
            Ok((from, Some(to)))
        };
        text.split(',')
            .map(item)
            .collect::<std::result::Result<_, _>>()
            .map(BandSelection::Listed)
    }
}

impl BandSelection {
    /// Just these bands.
    pub fn numbers(bands: &[usize]) -> Self {
        BandSelection::Listed(bands.iter().map(|&b| (BandName::Number(b), None)).collect())
    }

    /// Numbers of the bands that are taken of an image of `bands`, in the image's order for [`BandSelection::Usable`] and
    /// [`BandSelection::All`], else in the order of the list. A stretch leaves bad bands out; a band named alone is
    /// taken even so.
    ///
    /// # Errors
    /// [`Error::Input`] for bands that the image has not, a band that is named twice, and where nothing is left.
    pub fn resolve(&self, metadata: &Metadata, bands: usize, file: &str) -> Result<Vec<usize>> {
        let good = |b: &usize| !metadata.is_bad(*b);
        let BandSelection::Listed(items) = self else {
            let taken: Vec<usize> = (0..bands)
                .filter(|b| *self == BandSelection::All || good(b))
                .collect();
            return if taken.is_empty() && bands > 0 {
                Err(Error::input(format!(
                    "{file}: marks each of its {bands} bands as bad; take them with the setting bands all"
                )))
            } else {
                Ok(taken)
            };
        };
        let mut taken = Vec::new();
        for (from, to) in items {
            let before = taken.len();
            match (*from, *to) {
                (name, None) => taken.push(name.find(metadata, bands, file)?),
                (BandName::Nanometres(low), Some(BandName::Nanometres(high))) => {
                    let centres = centres(metadata, bands, file)?;
                    taken.extend((0..bands).filter(|&b| (low..=high).contains(&centres[b]) && good(&b)));
                }
                (from, Some(to)) => {
                    let last = to.find(metadata, bands, file)?;
                    taken.extend((from.find(metadata, bands, file)?..=last).filter(good));
                }
            }
            if taken.len() == before {
                let to = to.map_or(String::new(), |to| format!("-{to}"));
                return Err(Error::input(format!(
                    "{file}: no usable band in {from}{to}; hsr-gpu info --json lists its bands"
                )));
            }
        }
        let mut seen = vec![false; bands];
        for &band in &taken {
            if std::mem::replace(&mut seen[band], true) {
                return Err(Error::input(format!("{file}: band {band} is asked for twice")));
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            wavelengths: Some(vec![400.0, 500.0, 600.0, 700.0, 800.0]),
            bad_bands: Some(vec![false, true, false, false, true]),
            ..Metadata::default()
        }
    }

    fn taken(text: &str) -> Vec<usize> {
        let selection: BandSelection = text.parse().unwrap();
        selection.resolve(&metadata(), 5, "x").unwrap()
    }

    #[test]
    fn bands_by_number_and_wavelength() {
        assert_eq!(
            BandSelection::default().resolve(&metadata(), 5, "x").unwrap(),
            [0, 2, 3]
        );
        assert_eq!(taken("all"), [0, 1, 2, 3, 4]);
        assert_eq!(taken("0-2"), [0, 2]);
        assert_eq!(taken("0-2,1"), [0, 2, 1]);
        assert_eq!(taken("690nm, 0"), [3, 0]);
        assert_eq!(taken("400nm-650nm"), [0, 2]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "",
            "x",
            "1-",
            "-1",
            "3-1",
            "1-500nm",
            "900nm-400nm",
            "1,,2",
            "infnm",
        ] {
            assert!(text.parse::<BandSelection>().is_err(), "{text}");
        }
        for (text, word) in [
            ("5", "no band 5"),
            ("0-9", "no band 9"),
            ("1000nm", "no band at 1000"),
            ("850nm-900nm", "no usable band"),
            ("4-4", "no usable band"),
            ("2,0-3", "twice"),
        ] {
            let selection: BandSelection = text.parse().unwrap();
            let error = selection.resolve(&metadata(), 5, "x").unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
        let plain = Metadata::default();
        let by_wavelength: BandSelection = "400nm-500nm".parse().unwrap();
        let error = by_wavelength.resolve(&plain, 5, "x").unwrap_err();
        assert!(error.to_string().contains("no wavelengths"), "{error}");
        let all_bad = Metadata {
            bad_bands: Some(vec![true; 2]),
            ..plain
        };
        assert!(BandSelection::Usable.resolve(&all_bad, 2, "x").is_err());
    }
}
