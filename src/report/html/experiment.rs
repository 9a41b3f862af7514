//! The page of an experiment: figures, tables, settings and times in one file, which needs no script.

use super::{STYLE, escaped};
use crate::error::Result;
use crate::report::plot::Figure;
use crate::report::table::Table;

const PAGE: &str = include_str!("../../../assets/report/experiment.html");

/// Everything that the page of an experiment shows.
#[derive(Debug, Clone)]
pub struct ExperimentPage {
    /// Heading.
    pub title: String,
    /// Name and value of what is worth knowing first.
    pub facts: Vec<(String, String)>,
    /// Figures, in order.
    pub figures: Vec<Figure>,
    /// Tables, in order.
    pub tables: Vec<Table>,
    /// Remarks.
    pub remarks: Vec<String>,
    /// Runs and their seconds.
    pub times: Vec<(String, f64)>,
    /// The configuration; none where there is none.
    pub settings: Option<String>,
}

impl ExperimentPage {
    /// The page.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] if a figure cannot be drawn.
    pub fn html(&self) -> Result<Vec<u8>> {
        let mut body = String::new();
        for figure in &self.figures {
            let caption = escaped(&figure.caption);
            body.push_str(&format!(
                "<figure class=\"plot\"><div class=\"scroll\" tabindex=\"0\" role=\"img\" aria-label=\"{caption}\">{}</div>\
                 <figcaption>{caption}</figcaption></figure>\n",
                figure.svg()?
            ));
        }
        section(&mut body, "Figures", 0);
        let from = body.len();
        for table in &self.tables {
            table_html(&mut body, table);
        }
        section(&mut body, "Tables", from);
        let from = body.len();
        if !self.remarks.is_empty() {
            let items: String = self
                .remarks
                .iter()
                .map(|r| format!("<li>{}</li>\n", escaped(r)))
                .collect();
            body.push_str(&format!("<ul>\n{items}</ul>\n"));
        }
        section(&mut body, "Remarks", from);
        let from = body.len();
        if !self.times.is_empty() {
            table_html(
                &mut body,
                &Table {
                    title: String::new(),
                    head: ["run", "seconds"].map(str::to_owned).to_vec(),
                    rows: self
                        .times
                        .iter()
                        .map(|(name, s)| vec![name.clone(), format!("{s:.1}")])
                        .collect(),
                    note: String::new(),
                },
            );
        }
        section(&mut body, "Time", from);
        let from = body.len();
        if let Some(settings) = &self.settings {
            body.push_str(&format!(
                "<details><summary>Configuration (TOML)</summary><pre tabindex=\"0\">{}</pre></details>\n",
                escaped(settings)
            ));
        }
        section(&mut body, "Settings", from);
        let facts = self.facts.iter();
        let facts: String = facts
            .map(|(name, value)| {
                format!(
                    "<div><dt>{}</dt><dd>{}</dd></div>\n",
                    escaped(name),
                    escaped(value)
                )
            })
            .collect();
        let title = escaped(&self.title);
        // What is filled in last may hold anything: it is not looked through for places again.
        let page = PAGE
            .replace("{{title}}", &title)
            .replace("{{style}}", STYLE)
            .replace("{{facts}}", &facts)
            .replace("{{body}}", &body);
        Ok(page.into_bytes())
    }
}

/// Puts what was written from `from` on under a heading; nothing stays nothing.
fn section(body: &mut String, heading: &str, from: usize) {
    if body.len() > from {
        body.insert_str(from, &format!("<section>\n<h2>{heading}</h2>\n"));
        body.push_str("</section>\n");
    }
}

fn table_html(body: &mut String, table: &Table) {
    let cells = |tag: &str, line: &[String]| -> String {
        let each = line.iter().enumerate().map(|(k, cell)| match (tag, k) {
            ("th", _) => format!("<th scope=\"col\">{}</th>", escaped(cell)),
            (_, 0) => format!("<th scope=\"row\">{}</th>", escaped(cell)),
            _ => format!("<td>{}</td>", escaped(cell)),
        });
        each.collect()
    };
    let rows: String = table
        .rows
        .iter()
        .map(|r| format!("<tr>{}</tr>\n", cells("td", r)))
        .collect();
    if !table.title.is_empty() {
        body.push_str(&format!("<h3>{}</h3>\n", escaped(&table.title)));
    }
    body.push_str(&format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table {}\"><table>\n<thead><tr>{}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n",
        escaped(&table.title),
        cells("th", &table.head)
    ));
    if !table.note.is_empty() {
        body.push_str(&format!("<p class=\"note\">{}</p>\n", escaped(&table.note)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::{Chart, Series};
    use crate::report::plot::Content;

    #[test]
    fn a_page_holds_everything_and_asks_for_nothing() {
        let page = ExperimentPage {
            title: "Experiment <a>".to_owned(),
            facts: vec![("engine".to_owned(), "cpu & {{body}}".to_owned())],
            figures: vec![Figure {
                name: "f".to_owned(),
                caption: "what \"it\" shows".to_owned(),
                content: Content::Charts(vec![Chart {
                    title: "PSNR".to_owned(),
                    x_label: "epoch".to_owned(),
                    y_label: "dB".to_owned(),
                    logarithmic: false,
                    series: vec![Series::new("with", [(0.0, 1.0), (1.0, 2.0)])],
                }]),
            }],
            tables: vec![Table {
                title: "table".to_owned(),
                head: vec!["".to_owned(), "PSNR".to_owned()],
                rows: vec![vec!["<script>".to_owned(), "39.5".to_owned()]],
                note: "note".to_owned(),
            }],
            remarks: vec!["rose".to_owned()],
            times: vec![("run".to_owned(), 1.25)],
            settings: Some("seed = 1".to_owned()),
        };
        let html = String::from_utf8(page.html().unwrap()).unwrap();
        for expected in [
            "<title>Experiment &lt;a&gt;</title>",
            "<svg",
            "what &quot;it&quot; shows",
            "&lt;script&gt;",
            "seed = 1",
            "1.2",
            "<li>rose</li>",
        ] {
            assert!(html.contains(expected), "{expected}");
        }
        let addresses = html.replace("http://www.w3.org/2000/svg", "");
        for forbidden in ["http:", "https:", "src=", "<script", "<link", "@import", "url("] {
            assert!(!addresses.contains(forbidden), "{forbidden}");
        }
        assert!(html.contains("default-src 'none'"));
    }
}
