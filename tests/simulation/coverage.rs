//! What was met, and how often; and what a long run must have met.

use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    /// Something was met once more.
    pub fn meet(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// Something was met so many times more.
    pub fn add(&mut self, what: &str, times: u64) {
        match self.0.get_mut(what) {
            Some(count) => *count += times,
            None => drop(self.0.insert(what.to_owned(), times)),
        }
    }

    /// Everything that another run has met.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.add(what, *times);
        }
    }

    /// What was met, and how often, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, times)| (&**what, *times))
    }

    /// What a long run must meet and has not.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let met = |what: &&&str| self.0.get(**what).is_none_or(|times| *times == 0);
        EXPECTED.iter().filter(met).copied().collect()
    }

    /// How many things a long run must meet.
    #[must_use]
    pub const fn expected() -> usize {
        EXPECTED.len()
    }
}

/// What thousands of seeds meet when everything works as it should.
const EXPECTED: &[&str] = &[];
