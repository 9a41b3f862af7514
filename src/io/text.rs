//! Matrices as text (`.csv`, `.txt`): one row a line, numbers parted by commas, semicolons, tabs or blanks.
//! Empty lines and what follows `#` are skipped, and so is a first line that holds no number at all
//! (a heading). Memory: the text itself and 8 bytes a number, so at most 5 times the file's size.

use std::io::Read;
use std::path::Path;

use ndarray::Array2;

use super::file::{open, read_error, replace};
use crate::error::{Error, Result};

/// Reads a matrix.
///
/// # Errors
/// [`Error::Input`] naming the line if a field is no number or the rows have different lengths.
pub(crate) fn read_matrix(path: &Path) -> Result<Array2<f64>> {
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

fn parse(text: &str) -> std::result::Result<Array2<f64>, String> {
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
    Array2::from_shape_vec((rows, columns), values).map_err(|e| format!("damaged matrix: {e}"))
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
            assert_eq!(parse(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        assert!(parse("1,2\n3\n").unwrap_err().starts_with("line 2:"));
        assert!(parse("1,2\n3,x\n").unwrap_err().starts_with("line 2:"));
        assert!(parse("1,x\n").unwrap_err().starts_with("line 1:"));
        assert!(parse("# nothing\n").is_err());
    }
}
