//! Event files that TensorBoard reads: scalars and images by step.
//!
//! An event file is a row of TFRecords, each an `Event` of protocol buffers. The handful of fields that are needed
//! (tensorflow/core/util/event.proto and framework/summary.proto) are written by hand here: the crates that know all
//! of TensorFlow's messages need a compiler of protocol buffers and hundreds of types for them.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file of events, written into any [`Write`].
pub struct EventFile<W: Write> {
    out: W,
}

impl<W: Write> EventFile<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut file = EventFile { out };
        let mut version = Message::default();
        version.bytes(3, b"brain.Event:2");
        file.event(0, version)?;
        Ok(file)
    }

    /// The number `value` of the curve `tag` at `step`.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn scalar(&mut self, step: u32, tag: &str, value: f32) -> io::Result<()> {
        let mut field = Message::default();
        field.bytes(1, tag.as_bytes());
        field.float(2, value);
        self.summary(step, field)
    }

    /// The picture `tag` at `step`: `png` holds `width` × `height` RGB pixels as a PNG file.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn image(&mut self, step: u32, tag: &str, width: usize, height: usize, png: &[u8]) -> io::Result<()> {
        let mut image = Message::default();
        image.number(1, height as u64);
        image.number(2, width as u64);
        // Colour space 3 is RGB.
        image.number(3, 3);
        image.bytes(4, png);
        let mut field = Message::default();
        field.bytes(1, tag.as_bytes());
        field.bytes(4, &image.0);
        self.summary(step, field)
    }

    /// Hands everything written so far to the system, so that a TensorBoard that watches sees it.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn summary(&mut self, step: u32, value: Message) -> io::Result<()> {
        let mut summary = Message::default();
        summary.bytes(1, &value.0);
        let mut event = Message::default();
        event.bytes(5, &summary.0);
        self.event(step, event)
    }

    fn event(&mut self, step: u32, content: Message) -> io::Result<()> {
        // A clock before 1970 is no reason to lose a log.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let mut event = Message::default();
        event.double(1, now);
        event.number(2, u64::from(step));
        event.0.extend(content.0);
        self.record(&event.0)
    }

    /// A TFRecord: length, its checksum, data, their checksum, all little endian.
    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked_crc(&length).to_le_bytes())?;
        self.out.write_all(data)?;
        self.out.write_all(&masked_crc(data).to_le_bytes())
    }
}

/// CRC-32C, rotated right by 15 bits and offset, as TFRecords keep it (a checksum of data that hold checksums of
/// their own would be weak otherwise).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Fields of a protocol buffer in wire format: the key `number << 3 | type`, then the value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // CRC-32C of RFC 3720, appendix B.4: 0x8a9136aa for 32 zeros, 0x62a8ab43 for 32 bytes of ones. The mask of the
    // first, by hand: rotated right by 15 it is 0x6d551522, and the offset is added modulo 2³².
    #[test]
    fn checksums_of_the_standard() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(masked_crc(&[0; 32]), 0x6d55_1522_u32.wrapping_add(0xa282_ead8));
    }

    // Wire format of the documentation of protocol buffers: field 1, varint 150 is 08 96 01; field 2, string
    // "testing" is 12 07 and the letters.
    #[test]
    fn fields_of_the_documentation() {
        let mut message = Message::default();
        message.number(1, 150);
        message.bytes(2, b"testing");
        assert_eq!(message.0, b"\x08\x96\x01\x12\x07testing");
    }

    #[test]
    fn a_file_is_a_row_of_records() {
        let mut file = EventFile::new(Vec::new()).unwrap();
        file.scalar(300, "loss", 0.5).unwrap();
        let mut rest = file.out.as_slice();
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
            let data = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked_crc(data).to_le_bytes());
            records.push(data);
            rest = &rest[16 + length..];
        }
        assert_eq!(records.len(), 2);
        assert!(records[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        // Step 300, then summary > value > tag "loss" and the number 0.5.
        let expected = b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x00\x3f";
        assert_eq!(&records[1][9..], expected);
    }
}
