//! Faults by chance: of a thousand operations so many fail, drawn from a seed.

use super::fault::{Fault, OpKind};

/// A small generator, so that a seed means the same everywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("fewer than the sides")
    }
}

/// How many of a thousand operations of a kind fail, by fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odds {
    /// Those that fail with `EIO`.
    pub eio: u16,
    /// Those that fail with `ENOSPC`. Applies to operations that take space: a write, a new segment, a replaced file, and a file
    /// that is overwritten, whose length may differ.
    pub enospc: u16,
    /// Those that stop after a byte or more, and before their last one. Applies to writes.
    pub short: u16,
}

/// How often operations fail by chance. The faults are a function of the seed and of the calls of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chances {
    /// The seed that the faults are drawn from.
    pub seed: u64,
    /// Of writes.
    pub write: Odds,
    /// Of syncs, those that belong to a write among them.
    pub sync: Odds,
    /// Of new segments.
    pub prepare: Odds,
    /// Of replaced files.
    pub put: Odds,
    /// Of files that are overwritten.
    pub overwrite: Odds,
    /// Of new names, besides `opening`.
    pub rename: Odds,
    /// Of removed files.
    pub unlink: Odds,
    /// Of populates.
    pub populate: Odds,
    /// Of a thousand blocking calls (other than [`Disk::boot_id`](crate::Disk::boot_id)), those that fail with `EIO`.
    pub opening: u16,
}

impl Chances {
    /// The odds of a kind of operations.
    #[must_use]
    pub fn odds(&self, step: OpKind) -> Odds {
        match step {
            OpKind::Write => self.write,
            OpKind::Sync => self.sync,
            OpKind::Prepare => self.prepare,
            OpKind::Put => self.put,
            OpKind::Overwrite => self.overwrite,
            OpKind::Rename => self.rename,
            OpKind::Unlink => self.unlink,
            OpKind::Populate => self.populate,
        }
    }
}

/// Chances, with the state of their generator.
#[derive(Clone, Debug, Default)]
pub(super) struct Luck {
    chances: Chances,
    dice: Dice,
}

impl Luck {
    pub(super) fn new(chances: Chances) -> Self {
        let dice = Dice(chances.seed);
        Self { chances, dice }
    }

    /// The fault of an operation of so many bytes, if it has one. Draws no number if no fault is possible.
    pub(super) fn fault(&mut self, step: OpKind, len: usize) -> Option<Fault> {
        let odds = self.chances.odds(step);
        let takes_space = matches!(
            step,
            OpKind::Write | OpKind::Prepare | OpKind::Put | OpKind::Overwrite
        );
        let eio = usize::from(odds.eio);
        let enospc = eio + usize::from(if takes_space { odds.enospc } else { 0 });
        let is_write = step == OpKind::Write && len > 1;
        let short = enospc + usize::from(if is_write { odds.short } else { 0 });
        if short == 0 {
            return None;
        }
        match self.dice.roll(1000) {
            drawn if drawn < eio => Some(Fault::Error(libc::EIO)),
            drawn if drawn < enospc => Some(Fault::Error(libc::ENOSPC)),
            drawn if drawn < short => Some(Fault::Short(1 + self.dice.roll(len - 1))),
            _ => None,
        }
    }

    /// Whether a call that blocks fails.
    pub(super) fn fails_opening(&mut self) -> bool {
        let opening = usize::from(self.chances.opening);
        opening > 0 && self.dice.roll(1000) < opening
    }

    /// A number below `among`.
    pub(super) fn pick(&mut self, among: usize) -> usize {
        self.dice.roll(among)
    }
}
