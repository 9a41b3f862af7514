//! Band centres and widths as files give them, in nanometres: one place for every format's names of units.

/// What the numbers of a file are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    /// A length of so many nanometres.
    Length(f64),
    /// Waves in a centimetre.
    Wavenumber,
    /// Not said.
    Unknown,
    /// Something that is turned into no wavelength (an index, a frequency).
    Other,
}

impl Unit {
    /// The unit of this name; whatever stands beside it (`um (micrometers)`, `Wavelength [nm]`) is no matter.
    fn named(name: &str) -> Unit {
        let name = name.to_lowercase();
        // Waves in a centimetre have a centimetre in their name.
        let wavenumber = ["wavenumber", "cm-1", "cm^-1", "1/cm", "cm⁻¹"];
        if wavenumber.iter().any(|word| name.contains(word)) {
            return Unit::Wavenumber;
        }
        let mut words = name.split(|c: char| !c.is_alphabetic()).filter(|w| !w.is_empty());
        let known = words.find_map(|word| match word {
            "nanometers" | "nanometres" | "nanometer" | "nanometre" | "nm" => Some(Unit::Length(1.0)),
            "micrometers" | "micrometres" | "micrometer" | "micrometre" | "microns" | "micron" | "um"
            | "µm" | "μm" => Some(Unit::Length(1e3)),
            "angstroms" | "angstrom" => Some(Unit::Length(0.1)),
            "millimeters" | "millimetres" | "mm" => Some(Unit::Length(1e6)),
            "centimeters" | "centimetres" | "cm" => Some(Unit::Length(1e7)),
            "meters" | "metres" | "m" => Some(Unit::Length(1e9)),
            "unknown" => Some(Unit::Unknown),
            _ => None,
        });
        match known {
            Some(unit) => unit,
            None if name.trim().is_empty() => Unit::Unknown,
            None => Unit::Other,
        }
    }
}

/// Centres and widths of bands in nanometres.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bands {
    pub centres: Vec<f64>,
    pub fwhm: Option<Vec<f64>>,
    /// What the file leaves open, or says against the numbers themselves, and what was taken for it.
    pub note: Option<String>,
}

/// Reads centres and widths that a file gives in one unit; `None` for what is no wavelength.
///
/// Without a unit they are taken for micrometres if all are below 100, else for nanometres: no sensor measures below 100 nm,
/// nor beyond 100 µm. The same holds where the unit named would put a centre outside these bounds.
pub(super) fn read(centres: &[f64], fwhm: Option<Vec<f64>>, unit: Option<&str>) -> Option<Bands> {
    let usable = |x: &f64| x.is_finite() && *x > 0.0;
    if centres.is_empty() || !centres.iter().all(usable) {
        return None;
    }
    let by_size = || {
        if centres.iter().all(|&x| x < 100.0) {
            (1e3, "micrometres")
        } else {
            (1.0, "nanometres")
        }
    };
    let (factor, note) = match unit.map_or(Unit::Unknown, Unit::named) {
        Unit::Other => return None,
        Unit::Wavenumber => {
            let width = |(centre, width): (&f64, &f64)| rounded(1e7 * width / (centre * centre));
            return Some(Bands {
                fwhm: fwhm.map(|widths| centres.iter().zip(&widths).map(width).collect()),
                centres: centres.iter().map(|centre| rounded(1e7 / centre)).collect(),
                note: None,
            });
        }
        Unit::Unknown => {
            let (factor, name) = by_size();
            (
                factor,
                Some(format!(
                    "no unit of its wavelengths, taken to be {name} by their size"
                )),
            )
        }
        Unit::Length(factor) => {
            let plausible = |&x: &f64| (100.0..=1e5).contains(&(x * factor));
            if centres.iter().any(plausible) {
                (factor, None)
            } else {
                let (factor, name) = by_size();
                let said = unit.unwrap_or_default().trim();
                (
                    factor,
                    Some(format!(
                        "wavelengths that cannot be {said}, taken to be {name} by their size"
                    )),
                )
            }
        }
    };
    Some(Bands {
        centres: nanometres(centres, factor),
        fwhm: fwhm.map(|widths| nanometres(&widths, factor)),
        note,
    })
}

/// Converts to nanometres without spoiling round numbers: 0.45 micrometres become 450, not 450.00000000000006.
pub(super) fn nanometres(values: &[f64], unit: f64) -> Vec<f64> {
    if unit == 1.0 {
        return values.to_vec();
    }
    values.iter().map(|x| rounded(x * unit)).collect()
}

/// Centres that stand in the bands' names: each name holds one number with a unit behind it (`B4 (664.6 nm)`, `0.45um`), or each
/// is a number in itself, and they ascend or descend between 300 and 20,000 (nm). Else `None`.
pub(super) fn from_names(names: &[String]) -> Option<Vec<f64>> {
    let with_unit: Option<Vec<f64>> = names.iter().map(|name| number_with_unit(name)).collect();
    let plain = || -> Option<Vec<f64>> {
        let values: Vec<f64> = names
            .iter()
            .map(|name| name.trim().parse().ok())
            .collect::<Option<_>>()?;
        let within = values.iter().all(|x| (300.0..=20_000.0).contains(x));
        let ordered = |up: bool| values.windows(2).all(|w| (w[0] < w[1]) == up && w[0] != w[1]);
        (values.len() > 1 && within && (ordered(true) || ordered(false))).then_some(values)
    };
    let values = with_unit.or_else(plain)?;
    values.iter().all(|x| x.is_finite() && *x > 0.0).then_some(values)
}

/// The one number of a text that a unit of length stands behind, in nanometres.
fn number_with_unit(text: &str) -> Option<f64> {
    let mut found = None;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = &rest[at..];
        let end = number.find(|c: char| !(c.is_ascii_digit() || c == '.'));
        let (digits, behind) = number.split_at(end.unwrap_or(number.len()));
        let behind_blanks = behind.trim_start();
        let word = behind_blanks
            .find(|c: char| !c.is_alphabetic())
            .map_or(behind_blanks, |end| &behind_blanks[..end]);
        if let (Ok(x), Unit::Length(factor)) = (digits.parse::<f64>(), Unit::named(word))
            // A name such as `B1 m` is no wavelength of a metre.
            && (100.0..=1e5).contains(&(x * factor))
        {
            if found.is_some() {
                return None;
            }
            found = Some(nanometres(&[x], factor)[0]);
        }
        rest = behind;
    }
    found
}

/// To a millionth.
fn rounded(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_in_any_words() {
        for (unit, values, nm) in [
            (Some("Micrometers"), [0.45, 2.5], [450.0, 2500.0]),
            (Some("um (micrometers)"), [0.45, 2.5], [450.0, 2500.0]),
            (Some("Wavelength [nm]"), [450.0, 2500.0], [450.0, 2500.0]),
            (Some("Angstroms"), [4500.0, 25000.0], [450.0, 2500.0]),
            (Some("cm-1"), [10000.0, 4000.0], [1000.0, 2500.0]),
            (Some("Wavenumber"), [10000.0, 4000.0], [1000.0, 2500.0]),
            (Some("Unknown"), [0.45, 2.5], [450.0, 2500.0]),
            (None, [450.0, 2500.0], [450.0, 2500.0]),
            // Against what the unit says.
            (Some("Nanometers"), [0.45, 2.5], [450.0, 2500.0]),
            (Some("Micrometers"), [450.0, 2500.0], [450.0, 2500.0]),
        ] {
            assert_eq!(read(&values, None, unit).unwrap().centres, nm, "{unit:?}");
        }
        assert_eq!(read(&[1.0, 2.0], None, Some("Index")), None);
        assert_eq!(read(&[1.0, 2.0], None, Some("GHz")), None);
        assert_eq!(read(&[0.0, 450.0], None, Some("nm")), None);
        let said = |unit: &str, x: f64| read(&[x], None, Some(unit)).unwrap().note;
        assert!(said("nm", 0.45).unwrap().contains("micrometres"));
        assert_eq!(said("nm", 450.0), None);
    }

    #[test]
    fn names_that_are_wavelengths() {
        let of = |names: &[&str]| from_names(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["B1 (442.7 nm)", "B2 (0.49 µm)"]), Some(vec![442.7, 490.0]));
        assert_eq!(of(&["wavelength 450nm"]), Some(vec![450.0]));
        assert_eq!(of(&["376.4", "381.2", "385.9"]), Some(vec![376.4, 381.2, 385.9]));
        assert_eq!(of(&["1", "2", "3"]), None);
        assert_eq!(of(&["400", "400"]), None);
        assert_eq!(of(&["B1 (442.7 nm)", "B2"]), None);
        assert_eq!(of(&["10 m", "20 m"]), None);
        assert_eq!(of(&["450 nm to 460 nm"]), None);
    }

    #[test]
    fn widths_follow_their_centres() {
        let bands = read(&[10000.0], Some(vec![10.0]), Some("1/cm")).unwrap();
        assert_eq!(bands.fwhm, Some(vec![1.0]));
        let bands = read(&[0.45], Some(vec![0.01]), Some("um")).unwrap();
        assert_eq!(bands.fwhm, Some(vec![10.0]));
    }
}
