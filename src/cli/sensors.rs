//! `sensors`: the spectral responses that the program knows, where they come from, and their curves.

use std::fmt::Write;

use clap::Args;
use serde::Serialize;

use super::Output;
use crate::error::Result;
use crate::sensor::catalogue::{sensor, sensor_names};
use crate::sensor::spectral_response::{Band, Sensor};

/// List the sensors that --srf knows by name: bands, wavelengths, source
///
/// A name stands for all bands but those in brackets (panchromatic, cirrus, separate instruments); --srf sentinel-2a:B2,B3
/// takes just these, in this order. On an image a response is resampled to the bands' wavelengths and FWHM (a
/// Gaussian band; without FWHM a band reaches half-way to its neighbours).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hsr-gpu sensors\n  hsr-gpu sensors sentinel-2a --csv > curves.csv   (which --srf curves.csv takes)"
)]
pub struct Sensors {
    /// One of them, band by band
    name: Option<String>,
    /// Print its curves as CSV, a row a nanometre
    #[arg(long, requires = "name", conflicts_with = "json")]
    csv: bool,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    title: String,
    bands: Vec<ListedBand>,
    figures: &'static str,
    source: String,
}

#[derive(Serialize)]
struct ListedBand {
    name: String,
    /// Wavelengths of half the largest response.
    #[serde(serialize_with = "limits")]
    half_power_nm: (f64, f64),
    /// Whether the sensor's name alone means it, too.
    by_default: bool,
}

/// Limits of a band.
#[derive(Serialize)]
struct Limits {
    low: f64,
    high: f64,
}

fn limits<S: serde::Serializer>(&(low, high): &(f64, f64), to: S) -> std::result::Result<S::Ok, S::Error> {
    Limits { low, high }.serialize(to)
}

impl Listed {
    fn of(name: &str, sensor: &Sensor) -> Self {
        let tenth = |x: f64| (10.0 * x).round() / 10.0;
        let band = |band: &Band| {
            let (low, high) = band.curve.half_power();
            ListedBand {
                name: band.name.clone(),
                half_power_nm: (tenth(low), tenth(high)),
                by_default: !band.named_only,
            }
        };
        Listed {
            name: name.to_owned(),
            title: sensor.title.clone(),
            bands: sensor.bands.iter().map(band).collect(),
            figures: sensor.origin.text(),
            source: sensor.source.clone(),
        }
    }

    /// A line on the sensor and one on its bands.
    fn text(&self) -> String {
        let names = |by_default: bool| {
            let some = self.bands.iter().filter(|b| b.by_default == by_default);
            some.map(|b| b.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        let more = match names(false) {
            none if none.is_empty() => none,
            more => format!(" [{more}]"),
        };
        let low = self
            .bands
            .iter()
            .map(|b| b.half_power_nm.0)
            .fold(f64::INFINITY, f64::min);
        let high = self.bands.iter().map(|b| b.half_power_nm.1).fold(0.0, f64::max);
        format!(
            "{:<13} {}, {low:.0} to {high:.0} nm; {}\n{:14}{}{more}\n",
            self.name,
            self.title,
            self.figures,
            "",
            names(true)
        )
    }

    fn table(&self) -> String {
        let mut text = format!(
            "{}; {}: {}\nband       half power, nm\n",
            self.title, self.figures, self.source
        );
        for band in &self.bands {
            let (low, high) = band.half_power_nm;
            let note = if band.by_default {
                ""
            } else {
                "   only where named"
            };
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{:<9} {low:>7.1} {high:>7.1}{note}", band.name);
        }
        text
    }
}

/// The curves, a row a nanometre, where any of them is not zero.
fn csv(sensor: &Sensor) -> String {
    let names: Vec<&str> = sensor.bands.iter().map(|b| b.name.as_str()).collect();
    let mut text = format!(
        "# {}; {}: {}\nwavelength_nm,{}\n",
        sensor.title,
        sensor.origin.text(),
        sensor.source,
        names.join(",")
    );
    let ranges = sensor.bands.iter().map(|b| b.curve.range());
    let (low, high) = ranges.fold((f64::INFINITY, 0.0_f64), |(l, h), r| (l.min(r.0), h.max(r.1)));
    // Where nothing responds, a zero on either side of the stretch that is left out keeps it zero.
    let row = |nm: i32| -> Vec<f64> { sensor.bands.iter().map(|b| b.curve.at(f64::from(nm))).collect() };
    let silent = |nm: i32| row(nm).iter().all(|&r| r == 0.0);
    for nm in low.floor() as i32 - 1..=high.ceil() as i32 + 1 {
        if silent(nm) && silent(nm - 1) && silent(nm + 1) {
            continue;
        }
        let cells: Vec<String> = row(nm).iter().map(f64::to_string).collect();
        let _ = writeln!(text, "{nm},{}", cells.join(","));
    }
    text
}

impl Sensors {
    /// Runs the command.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that is not known.
    pub fn run(self, output: &Output) -> Result<()> {
        if let Some(name) = &self.name {
            let known = sensor(name)?;
            let listed = Listed::of(name, &known);
            let text = if self.csv { csv(&known) } else { listed.table() };
            return output.result(&serde_json::json!({"sensors": [listed]}), &text);
        }
        let all: Vec<Listed> = sensor_names()
            .map(|name| Ok(Listed::of(name, &sensor(name)?)))
            .collect::<Result<_>>()?;
        let text: String = all.iter().map(Listed::text).collect();
        output.result(&serde_json::json!({"sensors": all}), &text)
    }
}
