//! Histograms of times in microseconds, three digits exact, and deliveries over time.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time that is recorded: ten minutes; longer times count as this.
const LONGEST_US: u64 = 600_000_000;
const DIGITS: u8 = 3;
/// The curve's percentiles, for charts.
const CURVE: [f64; 17] = [
    0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99,
    99.995, 100.0,
];
/// Width of a timeline's slots.
const SLOT_MS: u64 = 10;
/// Most rates of one timeline; what is more is joined.
const RATES_MAX: usize = 600;

/// Times of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    histogram: Histogram<u64>,
}

impl Times {
    pub(crate) fn new() -> Self {
        let mut histogram = Histogram::new_with_bounds(1, 1_000, DIGITS)
            .expect("the bounds are in order and three digits are allowed");
        histogram.auto(true);
        Self { histogram }
    }

    pub(crate) fn record_ns(&mut self, ns: u64) {
        let us = (ns / 1_000).clamp(1, LONGEST_US);
        self.histogram
            .record(us)
            .expect("a histogram that resizes itself holds ten minutes");
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("a histogram that resizes itself holds any other");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |percentile| self.histogram.value_at_percentile(percentile);
        Summary {
            count: self.histogram.len(),
            min_us: self.histogram.min(),
            mean_us: self.histogram.mean(),
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p999_us: at(99.9),
            p9999_us: at(99.99),
            max_us: self.histogram.max(),
            curve: CURVE
                .iter()
                .map(|percentile| (*percentile, at(*percentile)))
                .collect(),
        }
    }
}

/// Summary of the times of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) min_us: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) p9999_us: u64,
    pub(crate) max_us: u64,
    /// Percentile and time, for a chart.
    pub(crate) curve: Vec<(f64, u64)>,
}

/// How many of something in each slot of 10 ms since the bench began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    slots: Vec<u32>,
}

impl Timeline {
    pub(crate) fn add(&mut self, at_ns: u64, count: u32) {
        let slot = (at_ns / (SLOT_MS * 1_000_000)) as usize;
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += count;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.slots
            .resize(self.slots.len().max(other.slots.len()), 0);
        for (own, more) in self.slots.iter_mut().zip(&other.slots) {
            *own += more;
        }
    }

    /// Without the empty time before the first and after the last.
    pub(crate) fn rates(&self) -> Rates {
        let filled = |count: &u32| *count > 0;
        let first = self.slots.iter().position(filled).unwrap_or(0);
        let last = self
            .slots
            .iter()
            .rposition(filled)
            .map_or(0, |last| last + 1);
        let slots = &self.slots[first..last];
        let joined = slots.len().div_ceil(RATES_MAX).max(1);
        let slot_ms = SLOT_MS * joined as u64;
        let rate = |slots: &[u32]| {
            let count: u64 = slots.iter().copied().map(u64::from).sum();
            count as f64 * 1_000.0 / (SLOT_MS * slots.len() as u64) as f64
        };
        Rates {
            slot_ms,
            per_s: slots.chunks(joined).map(rate).collect(),
        }
    }
}

/// Rates over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rates {
    pub(crate) slot_ms: u64,
    pub(crate) per_s: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_histograms_equal_one_of_all_times() {
        let (mut one, mut other, mut all) = (Times::new(), Times::new(), Times::new());
        for ms in 1..=1_000 {
            let part = if ms % 3 == 0 { &mut one } else { &mut other };
            part.record_ns(ms * 1_000_000);
            all.record_ns(ms * 1_000_000);
        }
        one.merge(&other);
        assert_eq!(one.summary(), all.summary());
        let summary = all.summary();
        assert_eq!(summary.count, 1_000);
        assert!(summary.p50_us.abs_diff(500_000) <= 500, "{summary:?}");
        assert!(summary.p99_us.abs_diff(990_000) <= 1_000, "{summary:?}");
    }

    #[test]
    fn times_beyond_the_bounds_count_as_the_bounds() {
        let mut times = Times::new();
        assert!(times.is_empty());
        times.record_ns(0);
        times.record_ns(u64::MAX);
        assert_eq!(times.summary().min_us, 1);
        assert!(times.summary().max_us >= LONGEST_US);
        assert!(times.summary().max_us < LONGEST_US + LONGEST_US / 500);
    }

    #[test]
    fn merged_timelines_add_up_slot_by_slot() {
        let (mut one, mut other) = (Timeline::default(), Timeline::default());
        one.add(25_000_000, 3);
        other.add(29_900_000, 4);
        other.add(50_000_000, 5);
        one.merge(&other);
        let rates = one.rates();
        assert_eq!(rates.slot_ms, 10);
        assert_eq!(rates.per_s, [700.0, 0.0, 0.0, 500.0]);
        assert!(Timeline::default().rates().per_s.is_empty());
    }

    #[test]
    fn a_long_timeline_is_joined_and_keeps_its_rate() {
        let mut timeline = Timeline::default();
        (0..100_001).for_each(|slot| timeline.add(slot * 10_000_000, 7));
        let rates = timeline.rates();
        assert!(rates.per_s.len() <= RATES_MAX, "{}", rates.per_s.len());
        assert!(rates.per_s.iter().all(|rate| (rate - 700.0).abs() < 1e-9));
    }
}
