//! What is said of a result at the end of a command.

use crate::io::{self, Written};

/// Its name; whether it replaced another; of an image bytes, rows, columns and bands, and where it lies.
pub fn line(written: &Written) -> String {
    let name = written.path.display().to_string();
    let mut facts: Vec<String> = written
        .replaced
        .then(|| "replaced".to_owned())
        .into_iter()
        .collect();
    if written.image {
        facts.extend(std::fs::metadata(&written.path).ok().map(|file| size(file.len())));
        // A format that has to be read whole tells too late what it is.
        if let Ok(image) = io::open_cube(&name, 0) {
            let (rows, columns, bands) = image.dim();
            facts.push(format!("{rows} x {columns} x {bands}"));
            let code = image.metadata().grid.as_ref().and_then(|grid| grid.epsg);
            facts.extend(code.map(|code| format!("EPSG:{code}")));
        }
    }
    if facts.is_empty() {
        name
    } else {
        format!("{name} ({})", facts.join(", "))
    }
}

/// Bytes in the largest unit that leaves a number of 1 or more.
pub fn size(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, unit)| bytes as f64 >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_500), "1.5 kB");
        assert_eq!(size(2_140_000_000), "2.1 GB");
    }
}
