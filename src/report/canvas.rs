//! An RGB picture and the few things that are drawn on it: enlarged pictures, captions, a colour bar.

use std::io::Write;

use font8x8::legacy::BASIC_LEGACY;

/// Height of a line of text in pixels, and width of a character.
pub(super) const TEXT: usize = 8;

/// An 8-bit RGB picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    /// Row by row, three bytes a pixel.
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Picture {
            width,
            height,
            rgb: colour.repeat(width * height),
        }
    }

    /// A picture whose pixel at (row, column) is `colour(row, column)`.
    pub fn from_fn(width: usize, height: usize, colour: impl Fn(usize, usize) -> [u8; 3]) -> Self {
        Picture {
            width,
            height,
            rgb: (0..height)
                .flat_map(|r| (0..width).map(move |c| (r, c)))
                .flat_map(|(r, c)| colour(r, c))
                .collect(),
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Colour of a pixel, black outside the picture.
    pub fn pixel(&self, row: usize, column: usize) -> [u8; 3] {
        if row >= self.height || column >= self.width {
            return [0; 3];
        }
        let i = 3 * (row * self.width + column);
        [self.rgb[i], self.rgb[i + 1], self.rgb[i + 2]]
    }

    fn set(&mut self, row: usize, column: usize, colour: [u8; 3]) {
        if row < self.height && column < self.width {
            let i = 3 * (row * self.width + column);
            self.rgb[i..i + 3].copy_from_slice(&colour);
        }
    }

    /// Every pixel as a square of `factor` × `factor` (nearest neighbour).
    pub fn enlarged(&self, factor: usize) -> Picture {
        let factor = factor.max(1);
        Picture::from_fn(self.width * factor, self.height * factor, |r, c| {
            self.pixel(r / factor, c / factor)
        })
    }

    /// Lays `other` on this picture, its corner at (row, column); what does not fit is cut off.
    pub(super) fn lay(&mut self, other: &Picture, row: usize, column: usize) {
        for r in 0..other.height {
            for c in 0..other.width {
                self.set(row + r, column + c, other.pixel(r, c));
            }
        }
    }

    /// Writes `text` (ASCII; other characters become `?`) with its corner at (row, column).
    pub(super) fn write(&mut self, text: &str, row: usize, column: usize, colour: [u8; 3]) {
        for (k, character) in text.chars().enumerate() {
            let code = if character.is_ascii() {
                character as usize
            } else {
                '?' as usize
            };
            for (r, bits) in BASIC_LEGACY[code].iter().enumerate() {
                for c in (0..TEXT).filter(|c| bits >> c & 1 == 1) {
                    self.set(row + r, column + k * TEXT + c, colour);
                }
            }
        }
    }

    /// Writes the picture as a PNG file.
    ///
    /// # Errors
    /// If `out` cannot be written or the picture has no pixel.
    pub fn write_png(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let size = |n: usize| u32::try_from(n).map_err(std::io::Error::other);
        let mut encoder = png::Encoder::new(out, size(self.width)?, size(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_holds_the_pixels() {
        let picture = Picture::from_fn(5, 3, |r, c| [r as u8 * 60, c as u8 * 40, 7]);
        let mut bytes = Vec::new();
        picture.write_png(&mut bytes).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (5, 3));
        assert_eq!(pixels, picture.rgb);
        assert!(Picture::filled(0, 3, [0; 3]).write_png(&mut Vec::new()).is_err());
    }

    #[test]
    fn enlarging_repeats_pixels_and_laying_cuts() {
        let small = Picture::from_fn(2, 1, |_, c| [c as u8 + 1; 3]);
        let large = small.enlarged(2);
        assert_eq!((large.width(), large.height()), (4, 2));
        assert_eq!((large.pixel(1, 1), large.pixel(1, 2)), ([1; 3], [2; 3]));
        let mut ground = Picture::filled(3, 3, [9; 3]);
        ground.lay(&large, 2, 1);
        assert_eq!(ground.pixel(2, 2), [1; 3]);
        assert_eq!(ground.pixel(1, 2), [9; 3]);
        // The letter l of the font is a bar in its middle columns.
        let mut text = Picture::filled(16, 8, [0; 3]);
        text.write("él", 0, 0, [255; 3]);
        assert!((0..8).any(|r| text.pixel(r, 11) == [255; 3]));
    }
}
