//! Overviews: an image of half the rows and columns, each of whose samples is the mean of the up to four that it stands for, row by row.

use ndarray::{Array2, Array3, ArrayView3, Axis, s};

use crate::cube::exact::Exact;
use crate::cube::{SampleType, is_nodata};
use crate::io::samples::{beside, integer_range};

/// Halves an image whose rows come one after the other.
pub(super) struct Halver {
    /// Rows that are still to come.
    left: usize,
    /// The upper row of a pair whose lower one is to come.
    upper: Option<Array2<f64>>,
    kind: SampleType,
    nodata: Option<f64>,
}

impl Halver {
    /// Of an image of so many rows.
    pub(super) fn new(rows: usize, kind: SampleType, nodata: Option<f64>) -> Self {
        Halver {
            left: rows,
            upper: None,
            kind,
            nodata,
        }
    }

    /// Takes some rows and gives those of the overview that are whole with them.
    pub(super) fn halved<T: Copy + Into<Exact>>(&mut self, rows: ArrayView3<T>) -> Array3<f64> {
        let (count, columns, bands) = rows.dim();
        let mut halved = Array3::zeros((count / 2 + 1, columns.div_ceil(2), bands));
        let mut done = 0;
        for row in rows.axis_iter(Axis(0)) {
            let row = row.mapv(|x| x.into().value);
            self.left -= 1;
            let pair = match self.upper.take() {
                Some(upper) => [Some(upper), Some(row)],
                None if self.left == 0 => [Some(row), None],
                None => {
                    self.upper = Some(row);
                    continue;
                }
            };
            for ((c, b), x) in halved.index_axis_mut(Axis(0), done).indexed_iter_mut() {
                let four = pair.iter().flatten().flat_map(|row| {
                    [2 * c, 2 * c + 1]
                        .into_iter()
                        .filter_map(move |c| row.get([c, b]))
                });
                *x = self.mean(four.copied());
            }
            done += 1;
        }
        halved.slice_move(s![..done, .., ..])
    }

    /// The mean of those that are data.
    fn mean(&self, samples: impl Iterator<Item = f64> + Clone) -> f64 {
        let is_none = |x: f64| x.is_nan() || self.nodata.is_some_and(|value| is_nodata(x as f32, value));
        let (mut sum, mut count) = (0.0, 0);
        for x in samples.clone().filter(|&x| !is_none(x)) {
            sum += x;
            count += 1;
        }
        if count == 0 {
            return samples.clone().next().unwrap_or(f64::NAN);
        }
        let mean = sum / f64::from(count);
        let mean = match integer_range(self.kind) {
            Some((low, high)) => mean.round().clamp(low, high),
            None => mean,
        };
        // A mean of data is data.
        match self.nodata {
            Some(value) if is_nodata(mean as f32, value) => beside(self.kind, value).into(),
            _ => mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_data_and_are_data() {
        let rows = Array3::from_shape_vec(
            (3, 3, 1),
            vec![1.0_f32, 3.0, -9.0, -9.0, 5.0, 4.0, -9.0, -9.0, -10.0],
        )
        .unwrap();
        let mut halver = Halver::new(3, SampleType::I16, Some(-9.0));
        let first = halver.halved(rows.slice(s![..1, .., ..]));
        assert_eq!(first.dim(), (0, 2, 1));
        let rest = halver.halved(rows.slice(s![1.., .., ..]));
        assert_eq!(rest.iter().copied().collect::<Vec<_>>(), [3.0, 4.0, -9.0, -10.0]);
        let mut halver = Halver::new(1, SampleType::I16, Some(0.0));
        let pair = Array3::from_shape_vec((1, 2, 1), vec![-1.0_f32, 1.0]).unwrap();
        assert_eq!(halver.halved(pair.view())[[0, 0, 0]], 1.0);
    }
}
