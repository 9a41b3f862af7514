//! Pixels without data take those beside them, as pixels beyond the edge of an image do: for whatever looks past a pixel
//! that it may use.

use std::ops::Range;

use ndarray::{ArrayView2, Axis};

/// Runs of `false`, with the place of the `true` before and behind each.
fn gaps(known: impl Iterator<Item = bool>) -> Vec<(Range<usize>, Option<usize>, Option<usize>)> {
    let mut list: Vec<(Range<usize>, Option<usize>, Option<usize>)> = Vec::new();
    let mut open: Option<usize> = None;
    let mut end = 0;
    for (at, known) in known.enumerate() {
        end = at + 1;
        match (known, open) {
            (false, None) => open = Some(at),
            (true, Some(first)) => {
                list.push((first..at, first.checked_sub(1), Some(at)));
                open = None;
            }
            _ => {}
        }
    }
    list.extend(open.map(|first| (first..end, first.checked_sub(1), None)));
    list
}

/// The nearer of the two ends of a gap, at most `reach` away.
fn nearest(at: usize, before: Option<usize>, behind: Option<usize>, reach: usize) -> Option<usize> {
    let ends = [before, behind].into_iter().flatten();
    ends.min_by_key(|&end| end.abs_diff(at))
        .filter(|&end| end.abs_diff(at) <= reach)
}

/// Gives every pixel of `samples` (rows × columns × bands) that is not `valid` the valid one nearest in its row, or else in
/// its column, at most `reach` away; others stay as they are.
pub fn extend(samples: &mut [f32], valid: ArrayView2<bool>, reach: usize) {
    let (rows, columns) = valid.dim();
    if rows == 0 || columns == 0 || valid.iter().all(|ok| *ok) {
        return;
    }
    let bands = samples.len() / (rows * columns);
    let mut known = valid.to_owned();
    let mut copy = |to: usize, from: usize| samples.copy_within(from * bands..(from + 1) * bands, to * bands);
    for (r, mut row) in known.axis_iter_mut(Axis(0)).enumerate() {
        for (gap, before, behind) in gaps(valid.row(r).iter().copied()) {
            for c in gap {
                if let Some(from) = nearest(c, before, behind, reach) {
                    copy(r * columns + c, r * columns + from);
                    row[c] = true;
                }
            }
        }
    }
    for (c, column) in known.axis_iter(Axis(1)).enumerate() {
        for (gap, before, behind) in gaps(column.iter().copied()) {
            for r in gap {
                if let Some(from) = nearest(r, before, behind, reach) {
                    copy(r * columns + c, from * columns + c);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn what_is_masked_takes_the_nearest_of_its_row_then_of_its_column() {
        let mut samples: Vec<f32> = (0..30).map(|k| k as f32).collect();
        let mut valid = Array2::from_elem((5, 6), true);
        for at in [(0, 0), (0, 1), (0, 3), (1, 2), (1, 3), (1, 4), (1, 5)] {
            valid[at] = false;
        }
        for c in 0..6 {
            valid[[3, c]] = false;
            valid[[4, c]] = false;
        }
        extend(&mut samples, valid.view(), 1);
        let row = |r: usize| samples[6 * r..][..6].to_vec();
        assert_eq!(row(0), [6.0, 2.0, 2.0, 2.0, 4.0, 5.0]);
        assert_eq!(row(1), [6.0, 7.0, 7.0, 2.0, 4.0, 5.0]);
        assert_eq!(row(3), [12.0, 13.0, 14.0, 15.0, 16.0, 17.0]);
        assert_eq!(
            row(4),
            [24.0, 25.0, 26.0, 27.0, 28.0, 29.0],
            "two away is too far"
        );
    }
}
