//! GDAL's own tags: the no-data value (42113) and the XML of band names, wavelengths and further items (42112).
//!
//! GDAL from 3.10 on keeps wavelengths and widths in the domain `IMAGERY` in micrometres; its ENVI reader and the EnMAP-Box
//! use items `wavelength`, `wavelength_units` and `fwhm` of each band. Both are written, and either is read. Values of
//! items are escaped twice, as GDAL does.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cube::Metadata;
use crate::io::envi_header::numbers;
use crate::io::wavelength::{self, nanometres};

/// `GDAL_METADATA`.
pub(super) const XML: u16 = 42112;
/// `GDAL_NODATA`.
pub(super) const NODATA: u16 = 42113;

/// Roles of the items that scale a band's samples, and the fields of an ENVI header that say the same, under which both are
/// kept in metadata.
const SCALING: [(&str, &str); 2] = [("scale", "data gain values"), ("offset", "data offset values")];
/// The field of an ENVI header whose number all samples are divided by.
const FACTOR: &str = "reflectance scale factor";

/// The domain of wavelengths.
const IMAGERY: &str = "IMAGERY";

/// The items of the XML, names in lower case for those of bands.
#[derive(Default)]
pub(super) struct Items {
    bands: BTreeMap<(String, usize), String>,
    image: BTreeMap<String, String>,
}

impl Items {
    fn parse(xml: &str, bands: usize) -> Option<Self> {
        let document = crate::io::xml::parse(xml).ok()?;
        let mut items = Items::default();
        for node in document
            .root_element()
            .children()
            .filter(|n| n.has_tag_name("Item"))
        {
            let Some(name) = node.attribute("name") else {
                continue;
            };
            let value = unescaped(node.text().unwrap_or_default());
            let name = match node.attribute("role") {
                Some(role) => format!("role {role}"),
                None => name.to_owned(),
            };
            let domain = node.attribute("domain").unwrap_or_default();
            match node.attribute("sample").map(str::parse::<usize>) {
                Some(Ok(band)) if band < bands => {
                    items.bands.insert((name.to_lowercase(), band), value);
                }
                None if domain.is_empty() || domain == "ENVI" => {
                    items.image.insert(name, value);
                }
                _ => (),
            }
        }
        Some(items)
    }

    /// The numbers of an item that every band has.
    fn of_bands(&self, name: &str, bands: usize) -> Option<Vec<f64>> {
        (0..bands)
            .map(|band| self.bands.get(&(name.to_owned(), band))?.trim().parse().ok())
            .collect()
    }

    /// Takes an item of the whole image, whose name may be in any case and have `_` for blanks.
    fn take(&mut self, name: &str) -> Option<String> {
        let key = self
            .image
            .keys()
            .find(|key| key.replace('_', " ").eq_ignore_ascii_case(name))?
            .clone();
        self.image.remove(&key)
    }

    /// Takes a list of as many numbers as there are bands.
    fn take_list(&mut self, name: &str, bands: usize) -> Option<Vec<f64>> {
        let text = self.take(name)?;
        let list = numbers(&text, bands);
        if list.is_none() {
            self.image.insert(name.to_owned(), text);
        }
        list
    }

    /// The name of the unit of wavelength.
    fn unit(&mut self) -> Option<String> {
        let of_band = ["wavelength_units", "wavelength units", "wavelength_unit"]
            .iter()
            .find_map(|name| self.bands.get(&((*name).to_owned(), 0)).cloned());
        of_band.or_else(|| self.take("wavelength units"))
    }
}

/// Fills in what the XML says of an image of `bands` bands; text that is no XML says nothing.
pub(super) fn read(xml: Option<&str>, bands: usize, metadata: &mut Metadata) {
    if let Some(items) = xml.and_then(|xml| Items::parse(xml, bands)) {
        items.fill(bands, metadata);
    }
}

impl Items {
    /// The items of one band, under their names in lower case; roles as `role NAME`.
    pub(super) fn add(&mut self, band: usize, name: &str, value: String) {
        self.bands.insert((name.to_lowercase(), band), value);
    }

    /// An item of the whole image.
    pub(super) fn add_image(&mut self, name: &str, value: String) {
        self.image.insert(name.to_owned(), value);
    }

    /// Fills in what the items say of an image of `bands` bands.
    pub(super) fn fill(self, bands: usize, metadata: &mut Metadata) {
        let mut items = self;
        let named = items
            .of_bands("wavelength", bands)
            .or_else(|| items.take_list("wavelength", bands));
        if let Some(values) = named {
            let widths = items
                .of_bands("fwhm", bands)
                .or_else(|| items.take_list("fwhm", bands));
            let unit = items.unit();
            if let Some(found) = wavelength::read(&values, widths, unit.as_deref()) {
                metadata.wavelengths = Some(found.centres);
                metadata.fwhm = found.fwhm;
            }
        }
        let imagery = |name: &str| items.of_bands(name, bands).map(|values| nanometres(&values, 1e3));
        metadata.wavelengths = metadata
            .wavelengths
            .take()
            .or_else(|| imagery("central_wavelength_um"));
        metadata.fwhm = metadata.fwhm.take().or_else(|| imagery("fwhm_um"));
        let good = items
            .of_bands("bbl", bands)
            .or_else(|| items.take_list("bbl", bands));
        if let Some(good) = good {
            metadata.bad_bands = Some(good.iter().map(|&good| good == 0.0).collect());
        }
        let name = |band: usize| items.bands.get(&("role description".to_owned(), band));
        if (0..bands).any(|band| name(band).is_some()) {
            let or_number = |band: usize| {
                name(band)
                    .cloned()
                    .unwrap_or_else(|| format!("band {}", band + 1))
            };
            metadata.band_names = Some((0..bands).map(or_number).collect());
        }
        let factor = items.image.iter().find_map(|(name, value)| match name.as_str() {
            FACTOR => value.trim().parse::<f64>().ok(),
            _ => None,
        });
        for (role, field) in SCALING {
            if let Some(values) = items.of_bands(&format!("role {role}"), bands)
            // Written from the factor, which is kept.
            && !(role == "scale" && factor.is_some_and(|f| values.iter().all(|&x| x == 1.0 / f)))
            {
                metadata.extra.insert(field.to_owned(), list(&values));
            }
        }
        metadata.extra.append(&mut items.image);
    }
}

fn list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(f64::to_string).collect();
    format!("{{{}}}", values.join(", "))
}

/// The XML for an image of `bands` bands; `None` if there is nothing to say.
pub(super) fn write(metadata: &Metadata, bands: usize) -> Option<String> {
    let mut items = String::new();
    let mut item = |name: &str, attributes: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            items,
            "  <Item name=\"{}\"{attributes}>{}</Item>",
            escaped(name),
            escaped(&escaped(value))
        );
    };
    let fits = |list: &Option<Vec<f64>>| list.clone().filter(|l| l.len() == bands).unwrap_or_default();
    let (wavelengths, fwhm) = (fits(&metadata.wavelengths), fits(&metadata.fwhm));
    let mut scaling: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in &metadata.extra {
        let role = SCALING.iter().find(|(_, field)| field == name);
        match (role, numbers(value, bands)) {
            (Some((role, _)), Some(values)) => drop(scaling.insert(role, values)),
            _ => item(name, "", value),
        }
    }
    let factor = metadata
        .extra
        .get(FACTOR)
        .and_then(|value| value.trim().parse::<f64>().ok());
    if let Some(factor) = factor.filter(|f| f.is_finite() && *f != 0.0) {
        scaling
            .entry("scale")
            .or_insert_with(|| vec![1.0 / factor; bands]);
    }
    for (role, values) in scaling {
        for (band, value) in values.iter().enumerate() {
            let attributes = format!(" sample=\"{band}\" role=\"{role}\"");
            item(&role.to_uppercase(), &attributes, &value.to_string());
        }
    }
    for band in 0..bands {
        let of_band = format!(" sample=\"{band}\"");
        let imagery = format!("{of_band} domain=\"{IMAGERY}\"");
        if let Some(x) = wavelengths.get(band) {
            item("wavelength", &of_band, &x.to_string());
            item("wavelength_units", &of_band, "Nanometers");
            item("CENTRAL_WAVELENGTH_UM", &imagery, &micrometres(*x));
        }
        if let Some(x) = fwhm.get(band) {
            // Its unit is that of the wavelengths; without those there is none to go by.
            if !wavelengths.is_empty() {
                item("fwhm", &of_band, &x.to_string());
            }
            item("FWHM_UM", &imagery, &micrometres(*x));
        }
        if let Some(bad) = metadata.bad_bands.as_ref().and_then(|bad| bad.get(band)) {
            item("bbl", &of_band, if *bad { "0" } else { "1" });
        }
        if let Some(name) = metadata.band_names.as_ref().and_then(|names| names.get(band)) {
            item("DESCRIPTION", &format!("{of_band} role=\"description\""), name);
        }
    }
    (!items.is_empty()).then(|| format!("<GDALMetadata>\n{items}</GDALMetadata>\n"))
}

/// Nanometres as micrometres, without the digits that only the division makes.
fn micrometres(nanometres: f64) -> String {
    let digits = format!("{:.9}", nanometres / 1e3);
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to say these.
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn unescaped(text: &str) -> String {
    ["&lt;<", "&gt;>", "&quot;\"", "&apos;'", "&amp;&"]
        .iter()
        .fold(text.to_owned(), |text, pair| {
            let (from, to) = pair.split_at(pair.len() - 1);
            if text.contains(from) {
                text.replace(from, to)
            } else {
                text
            }
        })
}

/// The no-data value that a tag's text means.
pub(super) fn nodata(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(items: &str, bands: usize) -> Metadata {
        let mut metadata = Metadata::default();
        read(
            Some(&format!("<GDALMetadata>{items}</GDALMetadata>")),
            bands,
            &mut metadata,
        );
        metadata
    }

    #[test]
    fn what_is_written_reads_back() {
        let metadata = Metadata {
            wavelengths: Some(vec![450.123_456_789, 2500.0]),
            fwhm: Some(vec![6.5, 1e-3]),
            band_names: Some(vec!["a & <b>".to_owned(), "&amp; \"c\"".to_owned()]),
            bad_bands: Some(vec![false, true]),
            extra: [("sensor type", "A < B"), ("data gain values", "{0.5, 1}")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            ..Metadata::default()
        };
        let xml = write(&metadata, 2).unwrap();
        let mut back = Metadata::default();
        read(Some(&xml), 2, &mut back);
        assert_eq!(back, metadata);
        assert!(xml.contains("domain=\"IMAGERY\">0.450123457</Item>"), "{xml}");
        assert_eq!(write(&Metadata::default(), 2), None);
    }

    #[test]
    fn wavelengths_in_every_dress() {
        let both = "<Item name=\"CENTRAL_WAVELENGTH_UM\" sample=\"0\" domain=\"IMAGERY\">0.45</Item>\
            <Item name=\"FWHM_UM\" sample=\"0\" domain=\"IMAGERY\">0.01</Item>";
        let imagery = parsed(both, 1);
        assert_eq!(
            (imagery.wavelengths, imagery.fwhm),
            (Some(vec![450.0]), Some(vec![10.0]))
        );
        assert_eq!(parsed(both, 2).wavelengths, None);
        let envi = parsed(
            "<Item name=\"wavelength\" domain=\"ENVI\">{0.45, 2.5}</Item>\
             <Item name=\"wavelength_units\" domain=\"ENVI\">Micrometers</Item><Item name=\"bbl\" domain=\"ENVI\">{1,0}</Item>",
            2,
        );
        assert_eq!(envi.wavelengths, Some(vec![450.0, 2500.0]));
        assert_eq!(envi.bad_bands, Some(vec![false, true]));
        assert!(envi.extra.is_empty());
        let of_bands = "<Item name=\"WAVELENGTH\" sample=\"0\">450</Item><Item name=\"WAVELENGTH_UNITS\" sample=\"0\">nm</Item>";
        assert_eq!(parsed(of_bands, 1).wavelengths, Some(vec![450.0]));
        let names = parsed(
            "<Item name=\"DESCRIPTION\" sample=\"1\" role=\"description\">x &amp;amp; y</Item>",
            2,
        );
        assert_eq!(
            names.band_names,
            Some(vec!["band 1".to_owned(), "x & y".to_owned()])
        );
        assert_eq!(parsed("<Item", 1), Metadata::default());
    }
}
