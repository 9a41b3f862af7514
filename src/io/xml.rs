//! XML of unknown origin: refused where reading it would take time out of proportion.

use roxmltree::Document;

/// Most attributes of one element; the parser compares each with each.
const MOST_ATTRIBUTES: usize = 1000;

/// Whether no element has more than [`MOST_ATTRIBUTES`] attributes, told by the marks between `<` and `>` outside of quotes.
fn bounded(text: &str) -> bool {
    let (mut inside, mut quote, mut attributes) = (false, None, 0);
    for byte in text.bytes() {
        match (quote, byte) {
            (Some(open), byte) => quote = (byte != open).then_some(open),
            (None, b'<') => (inside, attributes) = (true, 0),
            (None, b'>') => inside = false,
            (None, b'"' | b'\'') if inside => quote = Some(byte),
            (None, b'=') if inside => attributes += 1,
            _ => {}
        }
        if attributes > MOST_ATTRIBUTES {
            return false;
        }
    }
    true
}

/// Reads a document; what is wrong with it as words.
pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    if bounded(text) {
        Document::parse(text).map_err(|e| e.to_string())
    } else {
        Err(format!("an element has more than {MOST_ATTRIBUTES} attributes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_counted_element_by_element() {
        let with = |n: usize| {
            let attributes: String = (0..n).map(|k| format!(" a{k}=\"='\"")).collect();
            format!("<r><e{attributes}/><f b='1'/>=</r>")
        };
        assert!(parse(&with(MOST_ATTRIBUTES)).is_ok());
        assert!(
            parse(&with(MOST_ATTRIBUTES + 1))
                .unwrap_err()
                .contains("attributes")
        );
        assert!(parse(&"<r><e a='='/></r>".replace("<e a='='/>", &"<e a='='/>".repeat(2000))).is_ok());
    }
}
