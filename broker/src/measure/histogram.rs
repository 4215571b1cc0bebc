//! Durations of one shard, counted in buckets that grow with the value: written by the shard alone, read by the shard that
//! answers a `Query`.

use serde::Serialize;

use crate::measure::counter::Counter;

/// Base-2 logarithm of the buckets per doubling: a quantile is exact to within a quarter of its value.
const STEPS_LOG2: u32 = 2;
/// Buckets for values up to 2^31 microseconds, half an hour; longer ones count as that.
const BUCKETS: usize = 30 << STEPS_LOG2;

/// A histogram of microseconds.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [Counter; BUCKETS],
    longest_us: Counter,
    total_us: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            longest_us: Counter::default(),
            total_us: Counter::default(),
        }
    }
}

/// Quantiles of a histogram, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Quantiles {
    count: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
    total: u64,
}

impl Histogram {
    pub(crate) fn record(&self, us: u64) {
        self.buckets[bucket(us)].add(1);
        self.total_us.add(us);
        if us > self.longest_us.get() {
            self.longest_us.set(us);
        }
    }

    /// Quantiles of several histograms taken together, in microseconds, rounded up to the end of their bucket.
    pub(crate) fn quantiles<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Quantiles {
        let counts: Vec<u64> = (0..BUCKETS)
            .map(|index| all.clone().map(|one| one.buckets[index].get()).sum())
            .collect();
        let count: u64 = counts.iter().sum();
        let total = all.clone().map(|one| one.total_us.get()).sum();
        let max = all.map(|one| one.longest_us.get()).max().unwrap_or(0);
        let at = |per_mille: u64| {
            let rank = (count * per_mille).div_ceil(1000);
            let mut seen = 0;
            let found = counts.iter().position(|in_bucket| {
                seen += in_bucket;
                seen >= rank
            });
            found.map_or(0, end).min(max)
        };
        Quantiles {
            count,
            p50: at(500),
            p99: at(990),
            p999: at(999),
            max,
            total,
        }
    }
}

impl Histogram {
    /// How many of the values of several histograms are below each of these powers of two, and at the end how many there are; and
    /// their sum, in microseconds.
    pub(crate) fn below_powers<'a>(
        all: impl Iterator<Item = &'a Self> + Clone,
        powers: std::ops::RangeInclusive<u32>,
    ) -> (Vec<u64>, u64) {
        let below = |end: usize| -> u64 {
            let counts = |one: &Self| -> u64 { one.buckets[..end].iter().map(Counter::get).sum() };
            all.clone().map(counts).sum()
        };
        // The octaves begin with a bucket of their own.
        let ends = powers.map(|power| bucket(1 << power)).chain([BUCKETS]);
        let counts = ends.map(below).collect();
        (counts, all.map(|one| one.total_us.get()).sum())
    }
}

/// The bucket of a value: exact for the first few, then by its highest bits.
fn bucket(us: u64) -> usize {
    let octave = us.max(1).ilog2().saturating_sub(STEPS_LOG2);
    let index = (us >> octave) + (u64::from(octave) << STEPS_LOG2);
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The greatest value of a bucket.
fn end(index: usize) -> u64 {
    let steps = 1u64 << STEPS_LOG2;
    let index = index as u64;
    let octave = (index / steps).saturating_sub(1);
    let within = index - (octave << STEPS_LOG2);
    ((within + 1) << octave) - 1
}

#[cfg(test)]
impl Histogram {
    /// How many values were recorded, and their sum.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let all = Self::quantiles(std::iter::once(self));
        (all.count, all.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_within_a_quarter_above_it() {
        let mut last = 0;
        for us in (0..4096).chain([10_000, 123_456, 5_000_000, 1 << 30]) {
            let index = bucket(us);
            assert!(index >= last, "{us}");
            last = index;
            assert!(
                end(index) >= us && end(index) <= us + us / 4 + 1,
                "{us}: {}",
                end(index)
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_all_shards_together() {
        let (calm, busy) = (Histogram::default(), Histogram::default());
        for _ in 0..990 {
            calm.record(10);
        }
        for _ in 0..10 {
            busy.record(5_000);
        }
        let told = Histogram::quantiles([&calm, &busy].into_iter());
        assert_eq!((told.count, told.max), (1000, 5_000));
        assert_eq!(told.total, 990 * 10 + 10 * 5_000);
        assert!((10..=12).contains(&told.p99), "{told:?}");
        assert_eq!(told.p999, 5_000);
    }
}
