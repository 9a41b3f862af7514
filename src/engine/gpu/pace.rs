//! How much work a submit may hold so that no dispatch runs into a driver's watchdog: from what the device was measured to
//! do. The first of a kind is small; what follows is scaled by the time that it took. No bit depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Seconds that a submit is to take at most. A quarter of a second is the promise; between the two lies what the rate of a
/// device varies by, and what work and time are out of proportion.
pub const TARGET: f64 = 0.1;
/// Operations a second that a device is taken to do before it was measured: what a software adapter does on one core.
const FIRST: f64 = 0.5e9;
/// How much faster than before a device is taken to be after one measurement: a short one is mostly overhead.
const GROWTH: f64 = 16.0;

#[derive(Debug, Default)]
struct Rates {
    measured: BTreeMap<&'static str, f64>,
    assumed: Option<f64>,
    /// Kinds whose last measurement was held back by [`GROWTH`].
    climbing: BTreeSet<&'static str>,
}

impl Rates {
    fn of(&self, kind: &str) -> f64 {
        let measured = self.measured.get(kind).copied();
        measured.or(self.assumed).unwrap_or(FIRST)
    }
}

/// Measured rates by kind of work.
#[derive(Debug, Default)]
pub struct Pace(Mutex<Rates>);

impl Pace {
    fn rates(&self) -> std::sync::MutexGuard<'_, Rates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was measured, and takes work of every kind to run at `rate` operations a second until it is measured
    /// again: for comparisons of fast and slow devices.
    pub fn assume(&self, rate: f64) {
        *self.rates() = Rates {
            assumed: Some(rate),
            ..Rates::default()
        };
    }

    /// Whether a rate of this kind is known.
    pub fn knows(&self, kind: &str) -> bool {
        let rates = self.rates();
        rates.assumed.is_some() || rates.measured.contains_key(kind)
    }

    /// Operations of this kind that fit into [`TARGET`].
    pub fn fitting(&self, kind: &str) -> f64 {
        TARGET * self.rates().of(kind)
    }

    /// Seconds that so many operations of this kind are likely to take.
    pub fn seconds(&self, kind: &str, operations: f64) -> f64 {
        operations / self.rates().of(kind)
    }

    /// Whether the device is likely to be much faster at this kind than it is taken to be: its submits are worth waiting
    /// for, to have the next ones larger.
    pub fn is_climbing(&self, kind: &str) -> bool {
        self.rates().climbing.contains(kind)
    }

    /// Takes note that `operations` of this kind took so many seconds.
    pub fn measured(&self, kind: &'static str, operations: f64, seconds: f64) {
        self.measured_together(&[(kind, operations)], seconds, true);
    }

    /// Takes note that operations of several kinds took so many seconds together, or not more where these are not
    /// `exact`. All kinds are found as much faster or slower than they were taken to be.
    pub fn measured_together(&self, work: &[(&'static str, f64)], seconds: f64, exact: bool) {
        let mut rates = self.rates();
        let expected: f64 = work
            .iter()
            .map(|&(kind, operations)| operations / rates.of(kind))
            .sum();
        let faster = expected / seconds.max(1e-9);
        // A few operations say little of the rate but how much overhead there is, unless they took long.
        let telling = faster > 1.0 || seconds > TARGET / 4.0;
        if expected <= 0.0 || !(exact || faster > 1.0) {
            return;
        }
        for &(kind, _) in work.iter().filter(|(_, operations)| *operations > 0.0) {
            let before = rates.of(kind);
            let now = if telling {
                before * faster.min(GROWTH)
            } else {
                before
            };
            rates.measured.insert(kind, now);
            if faster > GROWTH {
                rates.climbing.insert(kind)
            } else {
                rates.climbing.remove(kind)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device of so many operations a second and an overhead a submit, asked for 10¹² operations as the pace allows;
    /// the longest submit, and the number of them.
    fn run(pace: &Pace, rate: impl Fn(usize) -> f64, overhead: f64) -> (f64, usize) {
        let (mut left, mut longest, mut count) = (1e12, 0.0f64, 0);
        while left > 0.0 {
            let operations = pace.fitting("k").min(left);
            let seconds = overhead + operations / rate(count);
            pace.measured("k", operations, seconds);
            longest = longest.max(seconds);
            left -= operations;
            count += 1;
        }
        (longest, count)
    }

    #[test]
    fn submits_are_short_on_slow_devices_and_few_on_fast_ones() {
        for (rate, most) in [(0.3e9, 40_000), (3e9, 4_000), (1e12, 20), (1e13, 10)] {
            let (longest, count) = run(&Pace::default(), |_| rate, 2e-4);
            assert!(longest < 0.25, "{rate:e}: {longest} s");
            assert!(count < most, "{rate:e}: {count} submits");
        }
    }

    #[test]
    fn a_device_that_slows_down_to_half_is_followed() {
        let rate = |k: usize| if k < 100 { 4e10 } else { 2e10 };
        let (longest, _) = run(&Pace::default(), rate, 2e-4);
        assert!(longest < 0.25, "{longest} s");
    }

    #[test]
    fn kinds_that_ran_together_are_measured_together() {
        let pace = Pace::default();
        pace.measured("a", 1e8, 0.1);
        pace.measured("b", 5e8, 0.1);
        // Taken for 0.2 s; half of that was seen.
        pace.measured_together(&[("a", 1e8), ("b", 5e8), ("c", 0.0)], 0.1, true);
        let seconds = |kind| pace.seconds(kind, 1e9);
        assert!((seconds("a") - 0.5).abs() < 1e-9 && (seconds("b") - 0.1).abs() < 1e-9);
        assert!(!pace.knows("c"));
    }

    #[test]
    fn a_bound_of_the_time_makes_nothing_slower() {
        let pace = Pace::default();
        pace.measured("a", 1e8, 0.1);
        for (seconds, exact, expected) in [(1.0, false, 0.1), (0.05, false, 0.05), (1.0, true, 1.0)] {
            pace.measured_together(&[("a", 1e8)], seconds, exact);
            assert!(
                (pace.seconds("a", 1e8) - expected).abs() < 1e-9,
                "{seconds} {exact}"
            );
        }
        pace.measured_together(&[("d", 1e9)], 100.0, false);
        assert!(!pace.knows("d"));
    }

    #[test]
    fn a_rate_climbs_until_it_is_found() {
        let pace = Pace::default();
        let mut steps = 0;
        loop {
            pace.measured("a", pace.fitting("a"), pace.fitting("a") / 1e13);
            steps += 1;
            if !pace.is_climbing("a") {
                break;
            }
        }
        assert!((pace.seconds("a", 1e13) - 1.0).abs() < 1e-9);
        assert!((2..5).contains(&steps), "{steps}");
        // Nothing of one kind says anything of another.
        assert!(!pace.knows("b") && !pace.is_climbing("b"));
    }
}
