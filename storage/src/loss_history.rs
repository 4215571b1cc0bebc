//! The losses that earlier starts have reported: lost records, and positions of missing bytes. They are not reported
//! again. The state records those of the last start, footers those of every start. Pure.

use std::ops::Range;

use oyez_protocol::Sequence;

use crate::state::ReportedLosses;
use crate::values::Gap;

/// Reported losses, in no order.
#[derive(Clone, Debug, Default)]
pub(crate) struct LossHistory {
    by_state: ReportedLosses,
    /// Sequences of lost records, by footers.
    by_footers: Vec<Range<u64>>,
}

impl LossHistory {
    pub(crate) fn new(by_state: ReportedLosses) -> Self {
        Self {
            by_state,
            by_footers: Vec::new(),
        }
    }

    /// Adds the gaps that a footer records.
    pub(crate) fn add_footer(&mut self, gaps: &[Gap]) {
        let sequences = gaps.iter().map(sequences);
        let lost = sequences.filter(|lost| !lost.is_empty());
        self.by_footers.extend(lost);
    }

    /// The parts of a loss that were not reported before.
    pub(crate) fn unreported(&self, loss: &Gap) -> Vec<Gap> {
        let footers = self.by_footers.iter().cloned();
        uncovered(self.by_state.losses().chain(footers), loss)
    }

    /// Whether footers record all of a loss.
    pub(crate) fn is_in_footers(&self, loss: &Gap) -> bool {
        uncovered(self.by_footers.iter().cloned(), loss).is_empty()
    }

    /// Whether the bytes between two positions were reported as missing.
    pub(crate) fn has_missing(&self, positions: &Range<u64>) -> bool {
        let mut known = self.by_state.missing();
        known.any(|range| range.start <= positions.start && positions.end <= range.end)
    }
}

fn sequences(gap: &Gap) -> Range<u64> {
    gap.first_sequence.get()..gap.next_sequence.get()
}

/// The parts of a loss that no range covers.
fn uncovered(covered: impl Iterator<Item = Range<u64>>, loss: &Gap) -> Vec<Gap> {
    let Range { start, end } = sequences(loss);
    let mut covered: Vec<_> = covered
        .filter(|known| known.start < end && start < known.end)
        .collect();
    covered.sort_unstable_by_key(|known| known.start);
    let part = |lost: Range<u64>| Gap {
        first_sequence: Sequence::new(lost.start),
        next_sequence: Sequence::new(lost.end),
        ..*loss
    };
    let (mut parts, mut next) = (Vec::new(), start);
    for known in covered {
        if next < known.start {
            parts.push(part(next..known.start));
        }
        next = next.max(known.end);
    }
    if next < end {
        parts.push(part(next..end));
    }
    parts
}

#[cfg(test)]
mod tests {
    use oyez_protocol::Position;

    use super::*;

    fn loss(lost: Range<u64>) -> Gap {
        Gap {
            from: Position::new(8),
            to: Position::new(16),
            first_sequence: Sequence::new(lost.start),
            next_sequence: Sequence::new(lost.end),
        }
    }

    #[test]
    fn a_loss_is_unreported_if_neither_the_state_nor_any_footer_records_it() {
        let mut history = LossHistory::new(ReportedLosses::of(&[loss(20..24)], &[]));
        history.add_footer(&[loss(10..12), loss(24..30), loss(40..40)]);
        assert_eq!(history.unreported(&loss(20..30)), []);
        assert_eq!(history.unreported(&loss(9..12)), [loss(9..10)]);
        assert_eq!(
            history.unreported(&loss(8..32)),
            [loss(8..10), loss(12..20), loss(30..32)]
        );
        assert_eq!(history.unreported(&loss(40..41)), [loss(40..41)]);
        assert!(history.is_in_footers(&loss(25..29)) && !history.is_in_footers(&loss(23..25)));
    }

    #[test]
    fn missing_bytes_are_no_lost_records() {
        let missing = 4096..8192;
        let history = LossHistory::new(ReportedLosses::of(
            &[loss(1..2)],
            std::slice::from_ref(&missing),
        ));
        assert!(history.has_missing(&missing) && history.has_missing(&(5000..8192)));
        assert!(!history.has_missing(&(4000..8192)) && !history.has_missing(&(1..2)));
        assert_eq!(history.unreported(&loss(4096..8192)), [loss(4096..8192)]);
    }
}
