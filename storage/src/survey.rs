//! What a log's directory holds: the state file, footers, and a scan of the segments that have none. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, Map};
use crate::error::OpenError;
use crate::footer::{Footer, FooterHead};
use crate::format::{BLOCK_BYTES, FORMAT_VERSION, block_start};
use crate::log::{footer_name, segment_name};
use crate::options::Durability;
use crate::recovery::{Assembler, Kept, Unsealed};
use crate::state::{CARRIED, Carried, STATE, State, StateFault, decode_carried};

/// A segment with its footer.
pub(crate) struct Sealed {
    pub path: Arc<Path>,
    pub map: Arc<Map>,
    pub footer: Footer,
    pub head: FooterHead,
}

enum OnDisk {
    Sealed(Sealed),
    Unsealed(Unsealed),
}

impl OnDisk {
    /// The incarnation that wrote the segment, if any of its blocks tells.
    fn incarnation(&self) -> Option<u32> {
        match self {
            Self::Sealed(sealed) => Some(sealed.head.incarnation),
            Self::Unsealed(unsealed) => unsealed.first().map(|block| block.header.incarnation),
        }
    }

    /// Sequence after the last record that can be read.
    fn next_sequence(&self) -> u64 {
        match self {
            Self::Sealed(sealed) => sealed.head.next_sequence,
            Self::Unsealed(unsealed) => {
                let blocks = unsealed.blocks.iter().flatten();
                blocks.map(|block| block.next_sequence).max().unwrap_or(0)
            }
        }
    }
}

/// A segment that goes into the log.
pub(crate) enum Part {
    Sealed(Sealed),
    Kept(Kept),
}

/// A segment that was prepared and never used.
pub(crate) struct Blank {
    pub base: u64,
    pub bytes: u64,
    pub path: Arc<Path>,
}

/// What was found, put together.
pub(crate) struct Survey {
    pub state: Option<State>,
    /// A file is damaged in a way that hides what is lost: one besides the segments, or a segment that was shortened.
    pub damaged: bool,
    pub carried: Option<Arc<Map>>,
    pub topics: Carried,
    pub parts: Vec<Part>,
    pub blanks: Vec<Blank>,
    /// Files that mean nothing: unfinished ones, footers without a segment, what an interrupted recovery left.
    pub rubbish: Vec<PathBuf>,
    pub assembler: Assembler,
    /// Records with a smaller sequence are known to be durable.
    pub durable: u64,
    pub scanned_bytes: u64,
    pub rebuilt: u64,
    /// Position after every segment there is.
    pub limit: u64,
    /// The run of the machine; 0 if it cannot be told and the log does not depend on it.
    pub boot_id: u128,
    /// The latest incarnation among the segments that go into the log.
    pub newest: u32,
    /// Segments among the rubbish: copies that an interrupted recovery left.
    pub copies_removed: u64,
}

/// Looks into a log's directory.
pub(crate) struct Surveyor<'a> {
    pub disk: &'a mut dyn Disk,
    pub path: &'a Path,
    pub log: u16,
    pub dir_id: u64,
    pub durability: Durability,
}

impl Surveyor<'_> {
    fn io(&self, name: &str) -> impl FnOnce(io::Error) -> OpenError + use<> {
        let path = self.path.join(name);
        |source| OpenError::Io { path, source }
    }

    pub(crate) fn run(mut self) -> Result<Survey, OpenError> {
        let entries = self.disk.list(self.path).map_err(self.io(""))?;
        let names: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let boot_id = self.boot_id()?;
        let (state, state_damaged) = self.state(names.contains(STATE))?;
        let (carried, topics, carried_damaged) = self.carried(names.contains(CARRIED))?;
        let mut rubbish: Vec<PathBuf> = Vec::new();
        let mut segments = BTreeMap::new();
        let (mut shortened, mut fragments_end) = (false, 0);
        for entry in &entries {
            match base_of(&entry.name) {
                Some(base) if entry.bytes >= BLOCK_BYTES => {
                    let found = self.segment(base, &names)?;
                    let whole = entry.bytes.is_multiple_of(BLOCK_BYTES);
                    shortened |= !whole && matches!(found, OnDisk::Unsealed(_));
                    segments.insert(base, found);
                }
                // Nothing of it can be read, and nothing says that it held nothing: it stays. What it held is missing
                // between other segments, or it was cut since the state file was written.
                Some(base) => {
                    fragments_end = fragments_end.max(base + BLOCK_BYTES);
                    shortened |= state.is_none_or(|state| base >= state.end);
                }
                None if entry.name.ends_with(".new") => rubbish.push(self.path.join(&entry.name)),
                None => {}
            }
        }
        rubbish.extend(self.lone_footers(&names));
        let survey = Survey {
            state,
            damaged: carried_damaged
                || state_damaged
                || shortened
                || state.is_none() && !segments.is_empty(),
            carried,
            topics,
            parts: Vec::new(),
            blanks: Vec::new(),
            rubbish,
            assembler: Assembler {
                expected: None,
                acknowledged: 0,
                durable: 0,
                is_cut: false,
                cut_bytes: 0,
                gaps: Vec::new(),
            },
            durable: state.map_or(0, |state| state.sequence),
            scanned_bytes: 0,
            rebuilt: 0,
            limit: state
                .map_or(0, |state| state.end.next_multiple_of(BLOCK_BYTES))
                .max(fragments_end),
            boot_id,
            newest: 0,
            copies_removed: 0,
        };
        Ok(survey.assemble(self.path, segments))
    }

    /// Only a written log asks whether the machine went down in between.
    fn boot_id(&mut self) -> Result<u128, OpenError> {
        match self.disk.boot_id() {
            Ok(boot_id) => Ok(boot_id),
            Err(_) if self.durability != Durability::Written => Ok(0),
            Err(source) => Err(self.io("boot_id")(source)),
        }
    }

    /// Footers whose segment is gone.
    fn lone_footers(&self, names: &BTreeSet<&str>) -> Vec<PathBuf> {
        let footers = names.iter().filter(|name| name.ends_with(".idx"));
        footers
            .filter(|name| !names.contains(name.replace(".idx", ".seg").as_str()))
            .map(|name| self.path.join(name))
            .collect()
    }

    fn state(&mut self, exists: bool) -> Result<(Option<State>, bool), OpenError> {
        if !exists {
            return Ok((None, false));
        }
        let path = self.path.join(STATE);
        let map = self.disk.map(&path).map_err(self.io(STATE))?;
        match State::decode(map.all()) {
            Ok(state) if state.log != self.log || state.dir_id != self.dir_id => {
                Err(OpenError::Foreign { path })
            }
            Ok(state) => Ok((Some(state), false)),
            Err(StateFault::Version(found)) => Err(OpenError::Version {
                path,
                found,
                expected: FORMAT_VERSION,
            }),
            Err(StateFault::Damaged) => Ok((None, true)),
        }
    }

    fn carried(&mut self, exists: bool) -> Result<(Option<Arc<Map>>, Carried, bool), OpenError> {
        if !exists {
            return Ok((None, Carried::new(), false));
        }
        let map = self
            .disk
            .map(&self.path.join(CARRIED))
            .map_err(self.io(CARRIED))?;
        Ok(match decode_carried(map.all()) {
            Some(topics) => (Some(map), topics, false),
            None => (None, Carried::new(), true),
        })
    }

    fn segment(&mut self, base: u64, names: &BTreeSet<&str>) -> Result<OnDisk, OpenError> {
        let path: Arc<Path> = Arc::from(self.path.join(segment_name(base)));
        let map = self.disk.map(&path).map_err(self.io(&segment_name(base)))?;
        let name = footer_name(base);
        if names.contains(name.as_str()) {
            // An unreadable footer is as good as none: the segment has everything.
            let footer = self.disk.map(&self.path.join(&name)).ok();
            if let Some((footer, head)) = footer.and_then(Footer::open) {
                if head.dir_id != self.dir_id || head.log != self.log || head.base != base {
                    return Err(OpenError::Foreign {
                        path: self.path.join(name),
                    });
                }
                if head.segment_bytes == block_start(map.len()) {
                    return Ok(OnDisk::Sealed(Sealed {
                        path,
                        map,
                        footer,
                        head,
                    }));
                }
            }
        }
        let unsealed = Unsealed::scan(base, Arc::clone(&path), map);
        let ours = |block: &crate::scan::BlockScan| {
            block.header.dir_id == self.dir_id
                && block.header.log == self.log
                && block.header.number * BLOCK_BYTES == block.base
        };
        if !unsealed.blocks.iter().flatten().all(ours) {
            return Err(OpenError::Foreign {
                path: path.to_path_buf(),
            });
        }
        Ok(OnDisk::Unsealed(unsealed))
    }
}

fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|d| d.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

impl Survey {
    fn assemble(mut self, dir: &Path, segments: BTreeMap<u64, OnDisk>) -> Self {
        let mut used = Vec::with_capacity(segments.len());
        let copies_from = self.copies_from(&segments);
        for (base, segment) in segments {
            self.limit = self.limit.max(match &segment {
                OnDisk::Sealed(sealed) => base + sealed.map.len(),
                OnDisk::Unsealed(unsealed) => unsealed.limit(),
            });
            match &segment {
                OnDisk::Unsealed(unsealed) if unsealed.is_blank() => self.blanks.push(Blank {
                    base,
                    bytes: unsealed.map.len(),
                    path: Arc::clone(&unsealed.path),
                }),
                _ if segment.incarnation() < copies_from.or(Some(u32::MAX)) => {
                    self.newest = self.newest.max(segment.incarnation().unwrap_or(0));
                    used.push(segment);
                }
                _ => {
                    self.copies_removed += 1;
                    self.rubbish.push(dir.join(segment_name(base)));
                    self.rubbish.push(dir.join(footer_name(base)));
                }
            }
        }
        let mut suspected = 0;
        let firsts: Vec<Option<u64>> = used.iter().map(first_sequence).collect();
        for (number, segment) in used.iter_mut().enumerate() {
            if let OnDisk::Unsealed(unsealed) = segment {
                unsealed.superseded_from = firsts.get(number + 1).copied().flatten();
                for block in unsealed.blocks.iter().flatten() {
                    self.durable = self.durable.max(block.marked);
                    // Where the next segment's beginning is known, it says what is missing here.
                    if unsealed.superseded_from.is_none() {
                        suspected = suspected.max(block.suspected);
                    }
                }
            }
        }
        for segment in &used {
            if let OnDisk::Sealed(sealed) = segment {
                self.durable = self.durable.max(sealed.head.next_sequence);
            }
        }
        self.assembler.durable = self.durable;
        self.assembler.acknowledged = self.durable.max(suspected);
        if used.is_empty() {
            self.assembler.expected = self.state.map(|state| state.sequence);
        }
        for (number, segment) in used.into_iter().enumerate() {
            let next = firsts.get(number + 1).copied().flatten();
            self.add(segment, next);
        }
        self.assembler.finish(self.limit);
        self
    }

    /// The incarnation from which on segments are copies that an interrupted recovery left. Copies hold nothing that the
    /// committed segments lack. Segments that do say that the state file is not the log's latest, and nothing is removed
    /// on its word.
    fn copies_from(&mut self, segments: &BTreeMap<u64, OnDisk>) -> Option<u32> {
        let committed = self.state?.incarnation;
        let reach = |later: bool| {
            let of_kind = segments.values().filter(|segment| {
                segment
                    .incarnation()
                    .is_some_and(|i| (i > committed) == later)
            });
            of_kind.map(OnDisk::next_sequence).max()
        };
        let later = reach(true)?;
        if later > reach(false).unwrap_or(0) {
            self.damaged = true;
            return None;
        }
        Some(committed.saturating_add(1))
    }

    /// Adds a segment. The next one begins with the sequence `next`, if that is known.
    fn add(&mut self, segment: OnDisk, next: Option<u64>) {
        let expected = self.assembler.expected;
        let unsealed = match segment {
            OnDisk::Sealed(sealed) if expected.is_some_and(|e| e < sealed.head.first_sequence) => {
                // Records before it are missing. It is read again, so that its new footer will tell of the gap.
                let mut unsealed = Unsealed::scan(sealed.head.base, sealed.path, sealed.map);
                unsealed.superseded_from = next;
                self.assembler.is_cut = false;
                unsealed
            }
            OnDisk::Sealed(sealed) => {
                self.assembler.expected = Some(sealed.head.next_sequence);
                // What is sealed was durable, whatever a segment before it has lost.
                self.assembler.is_cut = false;
                self.parts.push(Part::Sealed(sealed));
                return;
            }
            OnDisk::Unsealed(unsealed) => unsealed,
        };
        self.scanned_bytes += unsealed.scanned_bytes();
        let kept = self.assembler.add(&unsealed);
        self.rebuilt += 1;
        self.parts.push(Part::Kept(kept));
    }

    /// Whether acknowledged records are missing.
    pub(crate) fn is_lossy(&self) -> bool {
        self.damaged || !self.assembler.gaps.is_empty()
    }
}

/// Sequence that a segment begins with, if its beginning is intact.
fn first_sequence(segment: &OnDisk) -> Option<u64> {
    match segment {
        OnDisk::Sealed(sealed) => Some(sealed.head.first_sequence),
        OnDisk::Unsealed(unsealed) => unsealed
            .blocks
            .first()?
            .as_ref()
            .map(|block| block.header.first_sequence),
    }
}
