//! Keeping the cores awake while publishers wait for every single record.
//!
//! A durable record passes through five wake-ups until its publisher may send the next one: of the shard, of the kernel's
//! worker that writes it, of the worker twice more by the disk, and of the shard again. In between the cores have nothing
//! to do and fall asleep, and waking up one that the host has to give back takes longer than all that the broker does.
//! *Two cores of a virtual machine, publish to acknowledgement, median: 262 us with cores that sleep, 132 this way, 116
//! with cores that never sleep.*
//!
//! So the broker asks the kernel for cores that wake up at once, for as long as that matters: a log that had acknowledged
//! everything gets its next record soon after, many times in a row. A log that always has more on its way never looks like that,
//! nor does one that gets a record now and then. A log that gets a record every few hundred microseconds does, even where no
//! publisher waits: its shard is woken up as often. The request holds for the whole machine and costs power, so it ends soon
//! after the last such record.

use std::io;

use oyez_sys::latency::WakeLatency;
use tracing::warn;

use crate::parts::due::Due;

/// Longest time from the acknowledgement of everything to the next record for which a publisher counts as waiting: the way there
/// and back on a fast network, wake-ups included. A publisher further away gains little.
const ANSWER_US: u64 = 250;
/// Records in a row that must come so soon before the broker asks for awake cores.
const ROUNDS: u32 = 16;
/// How long the cores stay awake after the last such record.
const HOLD_MS: u64 = 10;

/// How soon the publishers of one log answer acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// When the log had last acknowledged everything.
    settled_us: u64,
    /// Records in a row that followed soon on an acknowledgement.
    quick: u32,
}

impl Answers {
    /// Notes that the log has acknowledged records.
    pub(crate) fn settled(&mut self, now_us: u64) {
        self.settled_us = now_us;
    }

    /// Notes that the log got a record while no other waited in it. Returns how many such records in a row came soon.
    pub(crate) fn came(&mut self, now_us: u64) -> u32 {
        let soon = now_us.saturating_sub(self.settled_us) <= ANSWER_US;
        self.quick = if soon {
            self.quick.saturating_add(1)
        } else {
            0
        };
        self.quick
    }
}

/// Decides when cores are to be awake. Pure: time is an argument.
#[derive(Debug, Default)]
pub(crate) struct WakeHold {
    until_ms: Option<u64>,
    always: bool,
}

impl WakeHold {
    /// A hold that never ends.
    pub(crate) fn for_ever() -> Self {
        Self {
            always: true,
            ..Self::default()
        }
    }

    /// Notes that a log has got `quick` quick answers in a row. While the hold lasts, one is enough to prolong it, so that a disk
    /// that takes a little longer now and then does not end it.
    pub(crate) fn answered(&mut self, quick: u32, now_ms: u64) {
        if quick >= ROUNDS || (quick > 0 && self.until_ms.is_some()) {
            self.until_ms = Some(now_ms + HOLD_MS);
        }
    }

    /// Whether cores are to be awake now.
    pub(crate) fn lasts(&mut self, now_ms: u64) -> bool {
        self.until_ms = self.until_ms.filter(|until_ms| *until_ms > now_ms);
        self.always || self.until_ms.is_some()
    }
}

/// The hold of a shard, and the request to the kernel that follows from it.
#[derive(Debug, Default)]
pub(crate) struct Awake {
    hold: WakeHold,
    /// `None` where the kernel cannot be asked, or is not to be.
    latency: Option<WakeLatency>,
    asked: bool,
    /// When [`Awake::keep`] was called last.
    kept_ms: u64,
}

impl Awake {
    /// Opens the kernel's device, and asks for awake cores at once if the hold says so.
    pub(crate) fn open(hold: WakeHold, now_ms: u64) -> io::Result<Self> {
        let mut awake = Self {
            hold,
            latency: Some(WakeLatency::open()?),
            ..Self::default()
        };
        awake.keep(now_ms)?;
        Ok(awake)
    }

    /// See [`WakeHold::answered`].
    pub(crate) fn answered(&mut self, quick: u32, now_ms: u64) {
        if self.latency.is_some() {
            self.hold.answered(quick, now_ms);
        }
    }

    /// When the cores may sleep again.
    pub(crate) fn due(&self) -> Due {
        self.hold.until_ms.map_or(Due::Idle, Due::At)
    }

    /// Asks for awake cores, or lets them sleep again. Returns the milliseconds since the last call if the cores were awake, else
    /// 0.
    pub(crate) fn keep_up(&mut self, now_ms: u64) -> u64 {
        self.keep(now_ms).unwrap_or_else(|error| {
            warn!("cores can no longer be kept awake while publishers wait: {error}");
            *self = Self::default();
            0
        })
    }

    /// Asks the kernel for what the hold says, if that has changed.
    fn keep(&mut self, now_ms: u64) -> io::Result<u64> {
        let Some(latency) = &mut self.latency else {
            return Ok(0);
        };
        let since_ms = std::mem::replace(&mut self.kept_ms, now_ms);
        let awake_ms = if self.asked { now_ms - since_ms } else { 0 };
        let lasts = self.hold.lasts(now_ms);
        if lasts != self.asked {
            latency.ask(lasts)?;
            self.asked = lasts;
        }
        Ok(awake_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_in_a_row_count() {
        let mut answers = Answers::default();
        answers.settled(1_000);
        assert_eq!(answers.came(1_000 + ANSWER_US), 1);
        answers.settled(2_000);
        assert_eq!(answers.came(2_000), 2);
        answers.settled(3_000);
        assert_eq!(answers.came(3_001 + ANSWER_US), 0);
        answers.settled(4_000);
        assert_eq!(answers.came(4_001), 1);
    }

    #[test]
    fn the_first_record_of_a_log_answers_nothing() {
        assert_eq!(Answers::default().came(ANSWER_US + 1), 0);
    }

    #[test]
    fn a_hold_begins_after_many_quick_answers_and_ends_after_a_while_without() {
        let mut hold = WakeHold::default();
        hold.answered(ROUNDS - 1, 1_000);
        assert!(!hold.lasts(1_000));
        hold.answered(ROUNDS, 1_000);
        assert!(hold.lasts(1_000));
        assert_eq!(hold.until_ms, Some(1_000 + HOLD_MS));
        hold.answered(0, 1_005);
        assert_eq!(hold.until_ms, Some(1_000 + HOLD_MS), "too slow");
        hold.answered(1, 1_005);
        assert!(hold.lasts(1_004 + HOLD_MS), "one more is enough");
        assert!(!hold.lasts(1_005 + HOLD_MS));
        assert_eq!(hold.until_ms, None);
        hold.answered(1, 2_000);
        assert!(!hold.lasts(2_000), "the next one has to be earned again");
    }

    #[test]
    fn a_hold_for_ever_waits_for_no_answers() {
        let mut hold = WakeHold::for_ever();
        assert!(hold.lasts(0) && hold.lasts(u64::MAX));
        assert_eq!(hold.until_ms, None);
    }
    #[test]
    fn where_nothing_can_be_asked_for_nothing_is_due() {
        let mut awake = Awake::default();
        awake.answered(ROUNDS, 1_000);
        assert_eq!(awake.due(), Due::Idle);
        assert_eq!(awake.keep_up(1_000), 0);
        awake.hold.answered(ROUNDS, 1_000);
        assert_eq!(awake.due(), Due::At(1_000 + HOLD_MS));
    }
}
