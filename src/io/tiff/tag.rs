//! A tag as it is written into a directory.

/// A tag with its values as little-endian bytes.
pub(super) struct Tag {
    pub number: u16,
    pub kind: u16,
    pub count: u64,
    pub bytes: Vec<u8>,
}

impl Tag {
    pub(super) fn shorts(number: u16, values: &[u16]) -> Self {
        Tag {
            number,
            kind: 3,
            count: values.len() as u64,
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    pub(super) fn long(number: u16, value: u32) -> Self {
        Tag {
            number,
            kind: 4,
            count: 1,
            bytes: value.to_le_bytes().into(),
        }
    }

    pub(super) fn doubles(number: u16, values: &[f64]) -> Self {
        Tag {
            number,
            kind: 12,
            count: values.len() as u64,
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    pub(super) fn text(number: u16, text: &str) -> Self {
        let mut bytes = text.replace('\0', " ").into_bytes();
        bytes.push(0);
        Tag {
            number,
            kind: 2,
            count: bytes.len() as u64,
            bytes,
        }
    }

    /// Places in the file, in the width that the kind of file has.
    pub(super) fn places(number: u16, values: &[u64], big: bool) -> Self {
        Tag {
            number,
            kind: if big { 16 } else { 4 },
            count: values.len() as u64,
            bytes: values.iter().flat_map(|&v| word(v, big)).collect(),
        }
    }
}

/// A number as an offset or count of the directory.
pub(super) fn word(value: u64, big: bool) -> Vec<u8> {
    if big {
        value.to_le_bytes().into()
    } else {
        (value as u32).to_le_bytes().into()
    }
}
