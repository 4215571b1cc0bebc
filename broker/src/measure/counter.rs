//! A number for people to read; the broker decides nothing by it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread changes and others read; relaxed, because nothing is decided by it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        // One writer: a load and a store are cheaper than a locked addition.
        self.0.store(self.get() + amount, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, amount: u64) {
        self.0
            .store(self.get().saturating_sub(amount), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
