//! How values spread: counted by bounds that are known beforehand, so that it takes no room however many there are.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Attempts after which a message is counted apart.
pub(crate) const ATTEMPTS: [f64; 6] = [1.0, 2.0, 3.0, 5.0, 10.0, 100.0];

/// Times in seconds below which a call of a handler is counted apart.
pub(crate) const SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

/// A histogram, which any thread may add to.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// How many values are within each bound and above the one before it; the last are above all.
    counts: Vec<AtomicU64>,
    /// The values together, in millionths.
    micros: AtomicU64,
}

/// A histogram at one time.
#[cfg(feature = "server")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) bounds: &'static [f64],
    /// How many values are within each bound, those within lower ones among them; the last is how many there are.
    pub(crate) within: Vec<u64>,
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Self { bounds, counts, micros: AtomicU64::default() }
    }

    pub(crate) fn count(&self, times: u32) {
        self.add(f64::from(times), u64::from(times).saturating_mul(1_000_000));
    }

    pub(crate) fn time(&self, took: Duration) {
        self.add(took.as_secs_f64(), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn add(&self, value: f64, micros: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
            self.micros.fetch_add(micros, Ordering::Relaxed);
        }
    }

    #[cfg(feature = "server")]
    pub(crate) fn read(&self) -> Distribution {
        let mut so_far = 0;
        let within = self.counts.iter().map(|count| {
            so_far += count.load(Ordering::Relaxed);
            so_far
        });
        let within = within.collect();
        Distribution { bounds: self.bounds, within, sum: self.micros.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_within_its_bound_and_all_above_it() {
        let histogram = Histogram::new(&[1.0, 2.0, 5.0]);
        for times in [1, 2, 2, 3, 6] {
            histogram.count(times);
        }
        let read = histogram.read();
        assert_eq!((read.within, read.sum), (vec![1, 3, 4, 5], 14.0));
        let times = Histogram::new(&SECONDS);
        times.time(Duration::from_micros(1_000));
        times.time(Duration::from_micros(1_001));
        assert_eq!(times.read().within[..2], [1, 2]);
        assert!((times.read().sum - 0.002_001).abs() < 1e-9);
    }
}
