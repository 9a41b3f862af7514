//! Well-known text of reference systems: the EPSG code that it names, and the text of a code.

/// The well-known text of an EPSG code.
pub(super) fn text(epsg: u32) -> Option<&'static str> {
    let code = u16::try_from(epsg).ok()?;
    crs_definitions::from_code(code).map(|found| found.wkt)
}

/// The EPSG code of the system itself: the authority that stands last, inside the outermost brackets alone.
pub(super) fn epsg(wkt: &str) -> Option<u32> {
    let wkt = wkt.trim();
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut own = None;
    for (at, c) in wkt.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '[' | '(' if !quoted => {
                depth += 1;
                if depth == 2 {
                    let word = wkt[..at].rsplit(',').next().unwrap_or_default().trim();
                    own = match word.to_ascii_uppercase().as_str() {
                        "AUTHORITY" | "ID" => Some(at + 1),
                        _ => None,
                    };
                }
            }
            ']' | ')' if !quoted => {
                if depth == 2
                    && let Some(from) = own.take()
                {
                    let mut parts = wkt[from..at].split(',').map(|part| part.trim().trim_matches('"'));
                    if parts.next().is_some_and(|name| name.eq_ignore_ascii_case("EPSG")) {
                        return parts.next()?.parse().ok();
                    }
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_that_of_the_outermost_system() {
        let utm = "PROJCS[\"a, [b]\",GEOGCS[\"WGS 84\",AUTHORITY[\"EPSG\",\"4326\"]],UNIT[\"metre\",1,AUTHORITY[\"EPSG\",\"9001\"]],AUTHORITY[\"EPSG\",\"32633\"]]";
        assert_eq!(epsg(utm), Some(32633));
        assert_eq!(
            epsg("PROJCRS[\"x\",BASEGEOGCRS[\"y\",ID[\"EPSG\",4258]],ID[\"EPSG\",25832]]"),
            Some(25832)
        );
        assert_eq!(
            epsg("PROJCS[\"x\",GEOGCS[\"y\",AUTHORITY[\"EPSG\",\"4326\"]]]"),
            None
        );
        assert_eq!(epsg("GEOGCS[\"x\",AUTHORITY[\"ESRI\",\"104\"]]"), None);
        for text in ["", "]]]", "[[", "\"", "A[(AUTHORITY[]"] {
            assert_eq!(epsg(text), None);
        }
    }
}
