//! Tables of texts, for a terminal, a CSV file and the report page.

use serde::Serialize;

/// A table of texts.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// Its heading.
    pub title: String,
    /// The columns.
    pub head: Vec<String>,
    /// The rows, as long as `head`.
    pub rows: Vec<Vec<String>>,
    /// A remark under it.
    pub note: String,
}

impl Table {
    /// For a terminal: first column to the left, the others to the right.
    pub fn text(&self) -> String {
        let lines = || [&self.head].into_iter().chain(&self.rows);
        let width = |k: usize| {
            lines()
                .filter_map(|l| l.get(k))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let mut text = format!("{}\n", self.title);
        for line in lines() {
            for (k, cell) in line.iter().enumerate() {
                let pad = " ".repeat(width(k) - cell.chars().count());
                let shown = if k == 0 {
                    format!("{cell}{pad}")
                } else {
                    format!("  {pad}{cell}")
                };
                text.push_str(&shown);
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text.push_str(&self.note);
        text.push('\n');
        text
    }

    /// As CSV.
    pub fn csv(&self) -> String {
        let line = |cells: &Vec<String>| cells.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(",") + "\n";
        [&self.head].into_iter().chain(&self.rows).map(line).collect()
    }
}

/// A field of a CSV file (RFC 4180).
pub fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("gaussian:1,2,3"), "\"gaussian:1,2,3\"");
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
    }

    #[test]
    fn columns_stand_under_each_other() {
        let table = Table {
            title: "two".to_owned(),
            head: ["", "PSNR"].map(str::to_owned).to_vec(),
            rows: vec![["paper, x8".to_owned(), "39.5 ± 1.0".to_owned()].to_vec()],
            note: "note".to_owned(),
        };
        assert_eq!(
            table.text(),
            "two\n                 PSNR\npaper, x8  39.5 ± 1.0\nnote\n"
        );
        assert_eq!(table.csv(), ",PSNR\n\"paper, x8\",39.5 ± 1.0\n");
    }
}
