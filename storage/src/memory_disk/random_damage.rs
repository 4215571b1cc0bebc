//! Random damage to files at rest, chosen by a seed: flipped bits, misdirected and lost writes, and unreadable ranges. It
//! hits used and durable bytes only, and none that an operation in flight changes.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::MemoryDisk;
use super::chances::Dice;
use super::medium::{Inner, Operation};
use super::memory::SECTOR;
use crate::format::BLOCK_BYTES;

/// Ranges that a disk writes as one, in bytes.
const UNITS: [usize; 2] = [SECTOR, 4096];
/// Places that a call tries before it gives up.
const TRIES: usize = 32;

/// Damage that was done. Its text is a line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm {
    /// The file.
    pub path: PathBuf,
    /// The bytes.
    pub range: Range<u64>,
    /// What they were.
    pub was: Vec<u8>,
    /// The kind of the damage.
    pub kind: HarmKind,
}

/// The kind of a damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HarmKind {
    /// A bit of the byte is flipped.
    Rotten {
        /// Which, from the lowest.
        bit: u8,
    },
    /// The bytes are those of another place.
    Misdirected {
        /// The file of that place.
        from: PathBuf,
        /// Where in it.
        at: u64,
    },
    /// The bytes are zero.
    Lost,
    /// The bytes cannot be read.
    Unreadable,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        write!(f, "{} {start}..{end}: ", self.path.display())?;
        match &self.kind {
            HarmKind::Rotten { bit } => write!(f, "bit {bit} has flipped"),
            HarmKind::Misdirected { from, at } => {
                write!(f, "holds what belongs to {} at {at}", from.display())
            }
            HarmKind::Lost => f.write_str("lost"),
            HarmKind::Unreadable => f.write_str("unreadable"),
        }
    }
}

impl MemoryDisk {
    /// Flips a bit of one byte of a file, all picked by `choice`. `None` if it finds no file with used and durable
    /// bytes.
    #[expect(clippy::must_use_candidate, reason = "the harm counts")]
    pub fn rot(&self, choice: u64) -> Option<Harm> {
        let mut inner = self.inner.borrow_mut();
        let mut dice = Dice(choice);
        let (path, range) = inner.still(&mut dice, |_| 1)?;
        let bit = u8::try_from(dice.roll(8)).expect("a byte has eight bits");
        let file = inner.files.get_mut(&path)?;
        let was = file.map().bytes(range.clone()).to_vec();
        file.store(range.start, &[was[0] ^ (1 << bit)]);
        Some(harm(path, &range, was, HarmKind::Rotten { bit }))
    }

    /// Overwrites an aligned range of 512 or 4096 bytes with another one of the same file, or of a file of the same
    /// directory, as a misdirected write does. `None` if it finds none that differ.
    #[expect(clippy::must_use_candidate, reason = "the harm counts")]
    pub fn misdirect(&self, choice: u64) -> Option<Harm> {
        let mut inner = self.inner.borrow_mut();
        let mut dice = Dice(choice);
        (0..TRIES).find_map(|_| {
            let (path, range, from, at) = inner.misdirected(&mut dice)?;
            let bytes = inner.files[&from]
                .map()
                .bytes(at..at + range.len())
                .to_vec();
            let file = inner.files.get_mut(&path)?;
            let was = file.map().bytes(range.clone()).to_vec();
            if was == bytes {
                return None;
            }
            file.store(range.start, &bytes);
            let at = at as u64;
            Some(harm(path, &range, was, HarmKind::Misdirected { from, at }))
        })
    }

    /// Zeroes an aligned range of 512 or 4096 bytes, as if its write had never reached the medium. `None` if it finds
    /// none that is not zero.
    #[expect(clippy::must_use_candidate, reason = "the harm counts")]
    pub fn lose(&self, choice: u64) -> Option<Harm> {
        let mut inner = self.inner.borrow_mut();
        let mut dice = Dice(choice);
        (0..TRIES).find_map(|_| {
            let (path, range) = inner.still(&mut dice, unit)?;
            let file = inner.files.get_mut(&path)?;
            let was = file.map().bytes(range.clone()).to_vec();
            if was.iter().all(|byte| *byte == 0) {
                return None;
            }
            file.store(range.start, &vec![0; range.len()]);
            Some(harm(path, &range, was, HarmKind::Lost))
        })
    }

    /// Lets reads of an aligned range of 512 or 4096 bytes fail, as [`Self::fail_reads`] does. `None` if it finds none
    /// that can be read.
    pub fn unreadable(&self, choice: u64) -> Option<Harm> {
        let mut inner = self.inner.borrow_mut();
        let mut dice = Dice(choice);
        let (path, range) = inner.still(&mut dice, unit)?;
        let file = inner.files.get_mut(&path)?;
        let was = file.map().bytes(range.clone()).to_vec();
        let harm = harm(path, &range, was, HarmKind::Unreadable);
        file.unreadable.push(harm.range.clone());
        file.mark_unreadable();
        Some(harm)
    }
}

fn harm(path: PathBuf, range: &Range<usize>, was: Vec<u8>, kind: HarmKind) -> Harm {
    Harm {
        path,
        range: range.start as u64..range.end as u64,
        was,
        kind,
    }
}

fn unit(dice: &mut Dice) -> usize {
    UNITS[dice.roll(UNITS.len())]
}

/// Bytes of a block.
const BLOCK: usize = BLOCK_BYTES as usize;

/// A place in so many used bytes. A quarter of the places are beginnings of blocks, so that headers have their share.
fn place(dice: &mut Dice, used: usize) -> usize {
    let place = dice.roll(used);
    match dice.roll(4) {
        0 => place / BLOCK * BLOCK,
        _ => place,
    }
}

impl Inner {
    /// A range of a file that is used, durable, readable and not about to change. All files are equally likely, so that
    /// small ones have their share. The range is aligned to its length, and cut where the file ends.
    fn still(
        &self,
        dice: &mut Dice,
        unit: impl Fn(&mut Dice) -> usize,
    ) -> Option<(PathBuf, Range<usize>)> {
        let len = self.files.len();
        if len == 0 {
            return None;
        }
        (0..TRIES).find_map(|_| {
            let (path, file) = self.files.iter().nth(dice.roll(len))?;
            let (used, unit) = (file.used_bytes(), unit(dice));
            if used == 0 {
                return None;
            }
            let start = place(dice, used) / unit * unit;
            let range = start..(start + unit).min(file.map().all().len());
            let is_still = !self.is_on_its_way(path, &range) && file.is_sound(&range);
            is_still.then(|| (path.clone(), range))
        })
    }

    /// The range that a misdirected write hits, and the file and the place of the bytes that it brings. In one of three cases
    /// both are beginnings of blocks of one file, if a file has several.
    fn misdirected(&self, dice: &mut Dice) -> Option<(PathBuf, Range<usize>, PathBuf, usize)> {
        let files = self.files.iter();
        let several: Vec<_> = files.filter(|(_, file)| file.used > BLOCK).collect();
        if several.is_empty() || dice.roll(3) > 0 {
            let (path, range) = self.still(dice, unit)?;
            let (from, at) = self.source(&path, range.len(), dice)?;
            return Some((path, range, from, at));
        }
        let (path, file) = several[dice.roll(several.len())];
        let blocks = file.used.div_ceil(BLOCK);
        let (to, at) = (dice.roll(blocks) * BLOCK, dice.roll(blocks) * BLOCK);
        let range = to..(to + unit(dice)).min(file.map().all().len());
        let is_still = !self.is_on_its_way(path, &range) && file.is_sound(&range);
        is_still.then(|| (path.to_path_buf(), range, path.to_path_buf(), at))
    }

    /// A used range of so many bytes, in a file or in another one of its directory.
    fn source(&self, path: &Path, len: usize, dice: &mut Dice) -> Option<(PathBuf, usize)> {
        let beside = self.files.iter().filter(|(other, file)| {
            other.parent() == path.parent() && file.map().all().len() >= len && file.used > 0
        });
        let beside: Vec<_> = beside.collect();
        if beside.is_empty() {
            return None;
        }
        let (from, file) = beside[dice.roll(beside.len())];
        let aligned = len.next_power_of_two().max(SECTOR);
        let at = place(dice, file.used) / aligned * aligned;
        (at + len <= file.map().all().len()).then(|| (from.clone(), at))
    }

    /// Whether an operation that is queued or in flight changes a range of a file.
    fn is_on_its_way(&self, path: &Path, range: &Range<usize>) -> bool {
        let mut operations = self.queued.iter().chain(&self.in_flight);
        operations.any(|(_, operation)| match operation {
            Operation::Write {
                file, at, bytes, ..
            } => {
                let (start, end) = (range.start as u64, range.end as u64);
                file == path && *at < end && start < at + bytes.bytes().len() as u64
            }
            Operation::Prepare { path: other, .. }
            | Operation::Put { path: other, .. }
            | Operation::Overwrite { path: other, .. } => other == path,
            _ => false,
        })
    }
}
