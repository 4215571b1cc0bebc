//! Keeps a subscription's place in its topic: what to request after a loss, and what of a delivery is new. Pure.

use std::sync::Arc;

use oyez_protocol::command::{Numbered, Start, Subscription};
use oyez_protocol::event::{self, Outcome, Subscribed};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{Epoch, Offset};

use crate::delivery::{Delivery, Gap, GapCause, NewEpoch, Skip};
use crate::error::{ConnectionError, SubscribeError};

/// A subscription's place in its topic.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    topic: Arc<str>,
    start: Start,
    epoch: Option<Epoch>,
    next: Option<Offset>,
}

/// What to deliver for a hole: first what lies before it, then the hole itself.
pub(crate) type Told = [Option<Delivery>; 2];

/// Which part of a delivered record is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fresh {
    /// Number of messages at its front that were delivered before, or lie before the start.
    pub(crate) skip: usize,
    /// Messages before it that never came.
    pub(crate) gap: Option<Gap>,
}

impl Cursor {
    pub(crate) const fn new(topic: Arc<str>, start: Start, epoch: Option<Epoch>) -> Self {
        let next = match start {
            Start::Offset(offset) => Some(offset),
            Start::Latest | Start::Earliest => None,
        };
        Self {
            topic,
            start,
            epoch,
            next,
        }
    }

    pub(crate) const fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The offset that comes next; `None` before the broker has confirmed a subscription that begins at an end.
    pub(crate) const fn next(&self) -> Option<Offset> {
        self.next
    }

    /// The topic's epoch, as far as it is known.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch.unwrap_or_default()
    }

    /// The request to the broker, at first and after each loss.
    pub(crate) fn request(&self) -> Subscription<'_> {
        let start = self.next.map_or(self.start, |next| {
            Start::Offset(next.plus(u64::from(planted(Bug::ResumesOneTooFar))))
        });
        Subscription::new(&self.topic, start, self.next.and(self.epoch))
    }

    /// Takes the broker's answer, and returns what to deliver about the place where delivery begins.
    ///
    /// # Errors
    /// When it refused.
    pub(crate) fn subscribed(
        &mut self,
        answer: &Subscribed,
    ) -> Result<Option<Delivery>, SubscribeError> {
        if !answer.outcome.is_done() {
            return Err(self.refused(answer.outcome));
        }
        let known = self.epoch.replace(answer.epoch);
        let Some(wanted) = self.next else {
            self.next = Some(answer.next);
            return Ok(None);
        };
        if let Some(old) = known.filter(|old| answer.epoch_changed || *old != answer.epoch) {
            self.next = Some(answer.next);
            return Ok(Some(Delivery::NewEpoch(NewEpoch {
                topic: Arc::clone(&self.topic),
                old,
                new: answer.epoch,
                expected: wanted,
                next: answer.next,
            })));
        }
        let cause = if answer.dropped {
            GapCause::Retention
        } else {
            GapCause::Unexplained
        };
        Ok(self.skip_to(answer.next, cause).map(Delivery::Gap))
    }

    /// The error for a topic that the broker does not deliver, or not any more.
    pub(crate) fn refused(&self, outcome: Outcome) -> SubscribeError {
        SubscribeError::Refused {
            topic: Arc::clone(&self.topic),
            outcome,
        }
    }

    /// Moves past a record of `count` messages from `offset`. Returns what of it is new; `None` when nothing is.
    pub(crate) fn record(&mut self, offset: Offset, count: u16) -> Option<Fresh> {
        let end = offset.get().saturating_add(u64::from(count));
        let gap = self.skip_to(offset, GapCause::Unexplained);
        let next = self.next?.get();
        if end <= next {
            return None;
        }
        self.next = Some(Offset::new(end));
        let skip = usize::try_from(next - offset.get()).expect("less than the record's messages");
        Some(Fresh { skip, gap })
    }

    /// Moves past messages that will not come. Returns what to deliver about it, if any of them was awaited.
    ///
    /// # Errors
    /// When they are not of a topic.
    pub(crate) fn gap(&mut self, gap: &event::Gap<'_>) -> Result<Told, ConnectionError> {
        let (before, missing) = self.step_over(&gap.hole, gap.cause.into())?;
        let missing = missing.filter(|_| !planted(Bug::AcceptsGapsSilently));
        Ok([before, missing.map(Delivery::Gap)])
    }

    /// Moves past messages that expired, were replaced or were deleted. Returns what to deliver about it, if any of them
    /// was awaited.
    ///
    /// # Errors
    /// When they are not of a topic.
    pub(crate) fn skip(&mut self, skip: &event::Skip<'_>) -> Result<Told, ConnectionError> {
        let (before, skipped) = self.step_over(&skip.hole, GapCause::Unexplained)?;
        let skipped = skipped.map(|gap| Skip {
            topic: gap.topic,
            from: gap.from,
            to: gap.to,
            cause: skip.cause.into(),
        });
        Ok([before, skipped.map(Delivery::Skip)])
    }

    /// Moves past a hole. Messages before it that did not come are a gap of their own; a hole of another epoch leads
    /// into that epoch.
    fn step_over(
        &mut self,
        hole: &event::Hole<'_>,
        cause: GapCause,
    ) -> Result<(Option<Delivery>, Option<Gap>), ConnectionError> {
        let (Numbered::Offset(from), to) = (hole.from, Offset::new(hole.to)) else {
            let what = "a hole in a log, where one in a topic was to be";
            return Err(ConnectionError::Unexpected { what });
        };
        if let Some((old, expected)) = self.epoch.zip(self.next)
            && old != hole.epoch
        {
            (self.epoch, self.next) = (Some(hole.epoch), Some(to));
            let change = NewEpoch {
                topic: Arc::clone(&self.topic),
                old,
                new: hole.epoch,
                expected,
                next: to,
            };
            return Ok((Some(Delivery::NewEpoch(change)), None));
        }
        let before = self.skip_to(from, GapCause::Unexplained);
        Ok((before.map(Delivery::Gap), self.skip_to(to, cause)))
    }

    /// The gap of a record that cannot be read: from its first new message up to the cursor.
    pub(crate) fn unreadable(&self, offset: Offset, skip: usize) -> Gap {
        Gap {
            topic: Arc::clone(&self.topic),
            from: offset.plus(skip as u64),
            to: self.next.unwrap_or(offset),
            cause: GapCause::Unreadable,
        }
    }

    fn skip_to(&mut self, to: Offset, cause: GapCause) -> Option<Gap> {
        let from = self.next.filter(|next| *next < to)?;
        self.next = Some(to);
        Some(Gap {
            topic: Arc::clone(&self.topic),
            from,
            to,
            cause,
        })
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::command::Begin;
    use oyez_protocol::{LogId, Sequence};

    use super::*;
    use crate::delivery::SkipCause;

    fn hole(from: u64, to: u64) -> event::Hole<'static> {
        event::Hole {
            name: "a",
            from: Numbered::Offset(offset(from)),
            to,
            epoch: Epoch::new(7),
        }
    }

    const fn offset(number: u64) -> Offset {
        Offset::new(number)
    }

    const fn answer(next: u64, epoch: u64) -> Subscribed {
        Subscribed {
            id: 1,
            entry: 0,
            outcome: Outcome::Ok,
            retry_after_ms: 0,
            next: offset(next),
            earliest: offset(0),
            head: offset(1000),
            epoch: Epoch::new(epoch),
            log: None,
            more_logs: false,
            epoch_changed: false,
            dropped: false,
        }
    }

    fn cursor(start: Start) -> Cursor {
        Cursor::new(Arc::from("a"), start, None)
    }

    fn at(next: u64) -> Cursor {
        let mut cursor = cursor(Start::Latest);
        assert_eq!(cursor.subscribed(&answer(next, 7)).unwrap(), None);
        cursor
    }

    #[test]
    fn a_loss_is_resumed_at_the_cursor_and_with_the_epoch() {
        let mut cursor = cursor(Start::Latest);
        assert_eq!(
            cursor.request(),
            Subscription::new("a", Start::Latest, None)
        );
        cursor.subscribed(&answer(40, 7)).unwrap();
        cursor.record(offset(40), 3).unwrap();
        let (start, epoch) = (Start::Offset(offset(43)), Some(Epoch::new(7)));
        assert_eq!(cursor.request(), Subscription::new("a", start, epoch));
    }

    #[test]
    fn even_before_the_first_message_the_place_is_kept() {
        let begin = Begin::At(Start::Offset(offset(40)));
        assert_eq!(at(40).request().begin, begin);
    }

    #[test]
    fn repeats_are_dropped_and_records_trimmed() {
        let mut cursor = at(10);
        let fresh = |skip| Some(Fresh { skip, gap: None });
        assert_eq!(cursor.record(offset(8), 2), None);
        assert_eq!(cursor.record(offset(8), 4), fresh(2));
        assert_eq!(cursor.record(offset(8), 4), None);
        assert_eq!(cursor.record(offset(12), 1), fresh(0));
        assert_eq!(cursor.next(), Some(offset(13)));
    }

    #[test]
    fn a_start_inside_a_record_is_kept_although_delivery_begins_before_it() {
        let mut cursor = cursor(Start::Offset(offset(5)));
        assert_eq!(cursor.subscribed(&answer(3, 7)).unwrap(), None);
        assert_eq!(cursor.record(offset(3), 4).unwrap().skip, 2);
    }

    #[test]
    fn a_gap_begins_where_delivery_stood() {
        let mut cursor = at(10);
        let wire = |from, to| event::Gap {
            cause: event::GapCause::Damage,
            hole: hole(from, to),
        };
        let told = cursor.gap(&wire(2, 10)).unwrap();
        assert_eq!(told, [None, None], "nothing awaited is missing");
        let [None, Some(Delivery::Gap(gap))] = cursor.gap(&wire(8, 20)).unwrap() else {
            panic!("a gap is to be told");
        };
        assert_eq!(
            (gap.from, gap.to, gap.cause),
            (offset(10), offset(20), GapCause::Damage)
        );
        assert_eq!(cursor.record(offset(20), 1).unwrap().gap, None);
    }

    #[test]
    fn a_skip_is_delivered_and_what_is_missing_before_it_is_a_gap() {
        let wire = |from, to| event::Skip {
            cause: event::SkipCause::Superseded,
            hole: hole(from, to),
        };
        let skipped = |from, to| {
            Some(Delivery::Skip(Skip {
                topic: Arc::from("a"),
                from: offset(from),
                to: offset(to),
                cause: SkipCause::Superseded,
            }))
        };
        let mut cursor = at(10);
        assert_eq!(
            cursor.skip(&wire(2, 10)).unwrap(),
            [None, None],
            "none was awaited"
        );
        assert_eq!(cursor.skip(&wire(10, 12)).unwrap(), [None, skipped(10, 12)]);
        assert_eq!(cursor.skip(&wire(8, 13)).unwrap(), [None, skipped(12, 13)]);
        let [gap, skip] = cursor.skip(&wire(15, 20)).unwrap();
        let Some(Delivery::Gap(gap)) = gap else {
            panic!("{gap:?}");
        };
        let expected = (offset(13), offset(15), GapCause::Unexplained);
        assert_eq!((gap.from, gap.to, gap.cause), expected);
        assert_eq!(skip, skipped(15, 20));
        assert_eq!(cursor.record(offset(20), 1).unwrap().gap, None);
    }

    #[test]
    fn a_hole_of_another_epoch_leads_into_that_and_one_of_a_log_has_no_place() {
        let mut cursor = at(10);
        let cause = event::GapCause::Damage;
        let hole = event::Hole {
            epoch: Epoch::new(8),
            ..hole(10, 12)
        };
        let [Some(Delivery::NewEpoch(change)), None] =
            cursor.gap(&event::Gap { cause, hole }).unwrap()
        else {
            panic!("a new epoch is to be told");
        };
        assert_eq!((change.old.get(), change.new.get()), (7, 8));
        assert_eq!((change.expected, change.next), (offset(10), offset(12)));
        assert_eq!(cursor.request().epoch, Some(Epoch::new(8)));
        let from = Numbered::Sequence {
            log: LogId::new(1),
            sequence: Sequence::new(12),
        };
        let hole = event::Hole { from, ..hole };
        assert!(cursor.gap(&event::Gap { cause, hole }).is_err());
        assert_eq!(cursor.next(), Some(offset(12)));
    }

    #[test]
    fn a_hole_between_records_is_never_passed_over_silently() {
        let mut cursor = at(10);
        let fresh = cursor.record(offset(12), 1).unwrap();
        let gap = fresh.gap.unwrap();
        assert_eq!(
            (gap.from, gap.to, gap.cause),
            (offset(10), offset(12), GapCause::Unexplained)
        );
        assert_eq!(fresh.skip, 0);
    }

    #[test]
    fn what_retention_dropped_while_the_client_was_away_is_a_gap() {
        let mut cursor = at(10);
        let dropped = Subscribed {
            dropped: true,
            ..answer(25, 7)
        };
        match cursor.subscribed(&dropped).unwrap() {
            Some(Delivery::Gap(gap)) => {
                assert_eq!(
                    (gap.from, gap.to, gap.cause),
                    (offset(10), offset(25), GapCause::Retention)
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_epoch_is_delivered_and_its_offsets_hold() {
        let mut cursor = at(10);
        let changed = Subscribed {
            epoch_changed: true,
            ..answer(2, 8)
        };
        match cursor.subscribed(&changed).unwrap() {
            Some(Delivery::NewEpoch(new)) => {
                assert_eq!((new.old.get(), new.new.get()), (7, 8));
                assert_eq!((new.expected, new.next), (offset(10), offset(2)));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(cursor.record(offset(2), 1).unwrap().skip, 0);
        assert_eq!(cursor.request().epoch, Some(Epoch::new(8)));
    }

    #[test]
    fn a_refusal_names_topic_and_outcome() {
        let refused = Subscribed {
            outcome: Outcome::OffsetAhead,
            ..answer(0, 0)
        };
        let error = cursor(Start::Earliest).subscribed(&refused).unwrap_err();
        assert!(error.to_string().contains("`a`"), "{error}");
        assert!(error.to_string().contains("beyond the newest"), "{error}");
    }

    #[test]
    fn an_offset_at_the_end_of_numbers_does_not_wrap() {
        let mut cursor = at(10);
        assert!(cursor.record(offset(u64::MAX - 1), 9).is_some());
        assert_eq!(cursor.next(), Some(offset(u64::MAX)));
    }
}
