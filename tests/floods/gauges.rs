//! The broker's statistics during a flood.

use serde_json::Value;

/// A gauge, and the field that says what it may be at most.
const CAPPED: [&str; 3] = ["input_bytes", "output_bytes", "questions"];

/// The most that the broker has shown of something that has a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capped {
    pub(crate) most: u64,
    pub(crate) cap: u64,
}

impl Capped {
    pub(crate) const fn holds(self) -> bool {
        self.most <= self.cap
    }
}

/// The maxima of all samples; `None` for a value that the broker does not report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) samples: usize,
    pub(crate) subscriptions: u64,
    pub(crate) connections: u64,
    /// Processor time of the longest turn since the broker's start.
    pub(crate) turn_cpu_us: Option<u64>,
    /// In the order of [`CAPPED`].
    capped: [Option<Capped>; CAPPED.len()],
}

impl Gauges {
    pub(crate) fn take(&mut self, stats: &Value) {
        self.samples += 1;
        let total = |name: &str| stats[name].as_u64().unwrap_or(0);
        self.subscriptions = self.subscriptions.max(total("subscriptions"));
        self.connections = self.connections.max(total("connections"));
        self.turn_cpu_us = self.turn_cpu_us.max(stats["turn_cpu_us_max"].as_u64());
        for (kept, name) in self.capped.iter_mut().zip(CAPPED) {
            let now = stats[name].as_u64();
            let cap = stats[format!("{name}_max")].as_u64();
            if let Some((now, cap)) = now.zip(cap) {
                let most = kept.map_or(now, |kept| kept.most.max(now));
                *kept = Some(Capped { most, cap });
            }
        }
    }

    pub(crate) fn capped(&self) -> impl Iterator<Item = (&'static str, Option<Capped>)> {
        CAPPED.into_iter().zip(self.capped)
    }
}

/// A counter that every broker has.
pub(crate) fn counter(stats: &Value, name: &str) -> u64 {
    stats[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no counter {name} in {stats}"))
}
