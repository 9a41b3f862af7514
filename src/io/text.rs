//! Matrices as text (`.csv`, `.txt`): one row a line, numbers parted by commas, semicolons, tabs or blanks.
//! Empty lines and what follows `#` are skipped, and so is a first line that holds no number at all
//! (a heading). Memory: the text itself and 8 bytes a number, so at most 5 times the file's size.

use std::io::Read;
use std::path::Path;

use ndarray::{Array2, s};

use super::file::{open, read_error, replace};
use crate::error::{Error, Result};

/// A spectral response as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseTable {
    /// One row for each band of an image, one column for each band of the sensor.
    Matrix(Array2<f64>),
    /// Curves over wavelength.
    Curves {
        /// Names of the sensor's bands.
        names: Vec<String>,
        /// Wavelengths (nm), ascending.
        wavelengths: Vec<f64>,
        /// Wavelengths × bands, not negative, no column all zero.
        responses: Array2<f64>,
    },
}

/// Reads a matrix.
///
/// # Errors
/// [`Error::Input`] naming the line if a field is no number or the rows have different lengths.
pub(crate) fn read_matrix(path: &Path) -> Result<Array2<f64>> {
    Ok(read_table(path)?.1)
}

/// Reads a response: curves where the heading's first field is `wavelength` (perhaps with a unit: `wavelength_nm`,
/// `wavelength (um)`; without one by size, below 100 in micrometres), else a matrix.
///
/// # Errors
/// As [`read_matrix`], and [`Error::Input`] if the wavelengths do not ascend or a response is negative or nothing.
pub(crate) fn read_response(path: &Path) -> Result<ResponseTable> {
    let (heading, table) = read_table(path)?;
    let wrong = |what: String| Error::input(format!("{}: {what}", path.display()));
    let Some((first, names)) = heading
        .split_first()
        .filter(|(first, _)| first.to_lowercase().starts_with("wavelength"))
    else {
        return Ok(ResponseTable::Matrix(table));
    };
    if table.ncols() < 2 || table.nrows() < 2 || heading.len() != table.ncols() {
        return Err(wrong(format!(
            "a response over wavelength has a name for each of its columns, at least one besides the wavelength, and two rows; \
             found {} names, {} columns and {} rows",
            heading.len(),
            table.ncols(),
            table.nrows()
        )));
    }
    let unit = first.to_lowercase();
    let micrometres = ["um", "µm", "micro"].iter().any(|name| unit.contains(name))
        || !unit.contains("nm") && !unit.contains("nano") && table.column(0).iter().all(|&w| w < 100.0);
    let wavelengths: Vec<f64> = table
        .column(0)
        .iter()
        .map(|w| if micrometres { 1000.0 * w } else { *w })
        .collect();
    if !wavelengths.windows(2).all(|w| w[0] < w[1]) || !wavelengths.iter().all(|w| w.is_finite()) {
        return Err(wrong("the wavelengths do not ascend from row to row".to_owned()));
    }
    let responses = table.slice(s![.., 1..]).to_owned();
    for (name, column) in names.iter().zip(responses.columns()) {
        if !column.iter().all(|r| r.is_finite() && *r >= 0.0) || column.sum() <= 0.0 {
            return Err(wrong(format!(
                "the response of {name} has a value that is negative or no number, or is zero everywhere"
            )));
        }
    }
    Ok(ResponseTable::Curves {
        names: names.to_vec(),
        wavelengths,
        responses,
    })
}

/// The heading's fields, if there is one, and the numbers.
fn read_table(path: &Path) -> Result<(Vec<String>, Array2<f64>)> {
    let (mut file, length) = open(path)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(length)
        .read_to_end(&mut bytes)
        .map_err(|e| read_error(path, &e))?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Error::input(format!("{}: is not text", path.display())))?;
    parse(text.trim_start_matches('\u{feff}'))
        .map_err(|what| Error::input(format!("{}: {what}", path.display())))
}

fn parse(text: &str) -> std::result::Result<(Vec<String>, Array2<f64>), String> {
    let mut names = Vec::new();
    let mut values: Vec<f64> = Vec::new();
    let mut columns = 0;
    let mut rows = 0;
    let mut heading_allowed = true;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let fields: Vec<&str> = if line.contains([',', ';']) {
            line.split([',', ';']).map(str::trim).collect()
        } else {
            line.split_whitespace().collect()
        };
        let heading = heading_allowed && fields.iter().all(|f| f.parse::<f64>().is_err());
        heading_allowed = false;
        if heading {
            names = fields.iter().map(|f| (*f).to_owned()).collect();
            continue;
        }
        if rows > 0 && fields.len() != columns {
            return Err(format!(
                "line {}: {} numbers where the rows before have {columns}",
                number + 1,
                fields.len()
            ));
        }
        columns = fields.len();
        for field in fields {
            let shown: String = field.chars().take(20).collect();
            values.push(
                field
                    .parse()
                    .map_err(|_| format!("line {}: {shown:?} is no number", number + 1))?,
            );
        }
        rows += 1;
    }
    if rows == 0 {
        return Err("holds no numbers".to_owned());
    }
    let table =
        Array2::from_shape_vec((rows, columns), values).map_err(|e| format!("damaged matrix: {e}"))?;
    Ok((names, table))
}

/// Writes a matrix with commas between the numbers; they read back to the same doubles.
///
/// # Errors
/// As [`replace`].
pub(crate) fn write_matrix(path: &Path, matrix: &Array2<f64>) -> Result<()> {
    replace(path, |sink| {
        for row in matrix.rows() {
            let fields: Vec<String> = row.iter().map(f64::to_string).collect();
            writeln!(sink, "{}", fields.join(","))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn separators_comments_and_headings() {
        let expected = array![[1.0, 0.5], [-2e3, 4.0]];
        for text in [
            "1,0.5\n-2e3,4\n",
            "red; green\r\n1; 0.5\r\n\r\n-2e3; 4 # last\r\n",
            "# response\n1\t0.5\n  -2000   4",
        ] {
            assert_eq!(parse(text).unwrap().1, expected, "{text:?}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        assert!(parse("1,2\n3\n").unwrap_err().starts_with("line 2:"));
        assert!(parse("1,2\n3,x\n").unwrap_err().starts_with("line 2:"));
        assert!(parse("1,x\n").unwrap_err().starts_with("line 1:"));
        assert!(parse("# nothing\n").is_err());
    }

    #[test]
    fn responses_over_wavelength() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_response(&path)
        };
        let curves = ResponseTable::Curves {
            names: vec!["red".to_owned(), "nir".to_owned()],
            wavelengths: vec![600.0, 700.0],
            responses: array![[1.0, 0.0], [0.5, 2.0]],
        };
        for text in [
            "wavelength_nm,red,nir\n600,1,0\n700,0.5,2\n",
            "# own\nWavelength;red;nir\n0.6;1;0\n0.7;0.5;2\n",
        ] {
            assert_eq!(read(text).unwrap(), curves);
        }
        let matrix = ResponseTable::Matrix(array![[600.0, 1.0], [700.0, 0.5]]);
        assert_eq!(read("600,1\n700,0.5\n").unwrap(), matrix);
        assert_eq!(read("red,nir\n600,1\n700,0.5\n").unwrap(), matrix);
        for (text, word) in [
            ("wavelength,red\n700,1\n600,1\n", "ascend"),
            ("wavelength,red\n600,1\n700,-1\n", "red"),
            ("wavelength,red\n600,0\n700,0\n", "red"),
            ("wavelength,red\n600,1,2\n700,1,2\n", "names"),
            ("wavelength\n600\n700\n", "names"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
