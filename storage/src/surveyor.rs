//! Surveys a log's directory: reads the state and the footers, and scans the segments without a footer. It changes nothing
//! but the names of misplaced segments.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use oyez_protocol::checksum::crc32c;
use oyez_protocol::planted::{Bug, planted};

use crate::disk::{Disk, read_file};
use crate::error::OpenError;
use crate::footer::{FOOTER_BYTES_MAX, Footer, FooterHead};
use crate::format::{BLOCK_BYTES, BLOCK_HEADER_SIZE, FORMAT_VERSION, FileFault};
use crate::frames::{Owner, TopicNames};
use crate::listing::Listing;
use crate::loss_history::LossHistory;
use crate::misplaced::MisplacedSegments;
use crate::names::{footer_name, segment_name};
use crate::options::Durability;
use crate::recovery::{Assembler, Scanned, cut_block};
use crate::scan::{scan_block, used_bytes};
use crate::state::{
    CARRIED, CARRIED_BYTES_MAX, Carried, Floor, STATE, STATE_BYTES_MAX, STATE_COPY, State,
};
use crate::survey::{Aside, Blank, OnDisk, RecoveredSegment, Sealed, Survey};
use crate::values::Gap;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Bytes of one read after a larger read has failed.
const PIECE: usize = 4096;

/// Surveys a log's directory.
pub(crate) struct Surveyor<'a> {
    pub disk: &'a mut dyn Disk,
    pub path: &'a Path,
    pub log: u16,
    pub dir_id: u64,
    pub durability: Durability,
    /// Buffer for a block's bytes.
    pub buffer: Vec<u8>,
}

impl Surveyor<'_> {
    fn io(&self, name: &str) -> impl FnOnce(io::Error) -> OpenError + use<> {
        let path = self.path.join(name);
        |source| OpenError::Io { path, source }
    }

    fn owner(&self) -> Owner {
        Owner {
            log: self.log,
            dir_id: self.dir_id,
        }
    }

    pub(crate) fn run(mut self) -> Result<Survey, OpenError> {
        self.buffer.resize(BLOCK, 0);
        let entries = self.disk.list(self.path).map_err(self.io(""))?;
        let mut listing = Listing::of(self.path, &entries);
        let mut survey = self.small_files(&listing)?;
        survey.foreign.append(&mut listing.foreign);
        survey.set_aside.append(&mut listing.set_aside);
        survey.obsolete.append(&mut listing.unfinished);
        for (path, bytes) in listing.unfinished_segments.drain(..) {
            match self.is_zero(&path, bytes)? {
                true => survey.obsolete.push(path),
                false => survey.set_aside(path, "it was being made and is not empty"),
            }
        }
        let owner = self.owner();
        MisplacedSegments {
            disk: &mut *self.disk,
            path: self.path,
            owner,
        }
        .restore_names(&mut listing);
        let floor = survey.floor();
        let segments = self.segments(&listing, floor, &mut survey)?;
        self.lone_footers(&listing, &mut survey);
        survey.check_named(&listing);
        self.assemble(survey, segments)
    }

    /// The state and the table of carried topics.
    fn small_files(&mut self, listing: &Listing) -> Result<Survey, OpenError> {
        let boot_id = self.boot_id()?;
        let (state, mut to_set_aside) = self.state(listing)?;
        let mut damaged =
            !to_set_aside.is_empty() || state.is_none() && !listing.segments.is_empty();
        let wanted = state.map_or(0, |state| state.carried);
        let carried = self.carried(listing.carried, wanted);
        if carried.is_none() {
            damaged = true;
            if listing.carried {
                let path = self.path.join(CARRIED);
                let why = "the table of carried topics is damaged or too old";
                to_set_aside.push(Aside { path, why });
            }
        }
        let (table, topics) = carried.unwrap_or_default();
        let sequence = state.map_or(0, |state| state.sequence);
        Ok(Survey {
            state,
            loss_history: LossHistory::new(state.map(|state| state.reported).unwrap_or_default()),
            damaged,
            missing: Vec::new(),
            carried: table,
            topics,
            segments: Vec::new(),
            blanks: Vec::new(),
            obsolete: Vec::new(),
            to_set_aside,
            set_aside: Vec::new(),
            foreign: Vec::new(),
            assembler: Assembler {
                expected: None,
                acknowledged: 0,
                is_cut: false,
                cut_bytes: 0,
                losses: Vec::new(),
                near: state.map_or(0, |state| state.incarnation),
            },
            proven: sequence,

            scanned_bytes: 0,
            limit: state.map_or(0, |state| state.end.next_multiple_of(BLOCK_BYTES)),
            boot_id,
            newest: 0,
            copies_removed: 0,
        })
    }

    /// The boot id. Only a written log depends on it, to know whether the machine went down.
    fn boot_id(&mut self) -> Result<u128, OpenError> {
        match self.disk.boot_id() {
            Ok(boot_id) => Ok(boot_id),
            Err(_) if self.durability != Durability::Written => Ok(0),
            Err(source) => Err(self.io("boot_id")(source)),
        }
    }

    /// The state that was written last; or, if no copy is intact, the files to set aside.
    fn state(&mut self, listing: &Listing) -> Result<(Option<State>, Vec<Aside>), OpenError> {
        let (mut own, mut foreign, mut to_set_aside) = (Vec::new(), None, Vec::new());
        for (name, is_there) in [(STATE, listing.state), (STATE_COPY, listing.state_copy)] {
            let path = self.path.join(name);
            if !is_there {
                continue;
            }
            let content = self.small(name, STATE_BYTES_MAX);
            match content.map_or(Err(FileFault::Damaged), |bytes| State::decode(&bytes)) {
                Ok(state) if state.log == self.log && state.dir_id == self.dir_id => {
                    own.push(state);
                }
                Ok(_) => foreign = Some(path),
                Err(FileFault::Version(found)) => {
                    return Err(OpenError::Version {
                        path,
                        found,
                        expected: FORMAT_VERSION,
                    });
                }
                Err(FileFault::Damaged) => {
                    let why = "no copy of the log's state is whole";
                    to_set_aside.push(Aside { path, why });
                }
            }
        }
        match (
            own.into_iter().max_by_key(|state| state.generation),
            foreign,
        ) {
            (Some(state), _) => Ok((Some(state), Vec::new())),
            (None, Some(path)) => Err(OpenError::Foreign { path }),
            (None, None) => Ok((None, to_set_aside)),
        }
    }

    /// The table of carried topics; `None` if it is damaged, too old, or missing.
    fn carried(&mut self, is_there: bool, wanted: u64) -> Option<(Option<Bytes>, Carried)> {
        if !is_there {
            return (wanted == 0).then(Default::default);
        }
        let content = self.small(CARRIED, CARRIED_BYTES_MAX).ok()?;
        let carried = Carried::decode(&content).ok()?;
        (carried.generation >= wanted).then_some((Some(content.into()), carried))
    }

    fn small(&mut self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        read_file(self.disk, &self.path.join(name), bytes_max)
    }

    /// Whether a file holds nothing but zeroes.
    fn is_zero(&mut self, path: &Path, bytes: u64) -> Result<bool, OpenError> {
        let mut at = 0;
        while at < bytes {
            let read = match self.disk.read(path, at, &mut self.buffer) {
                // An unreadable file is not known to be blank.
                Err(error) if is_unreadable(&error) => return Ok(false),
                Err(source) => {
                    let path = path.to_owned();
                    return Err(OpenError::Io { path, source });
                }
                Ok(read) => read,
            };
            if read == 0 || used_bytes(&self.buffer[..read]) > 0 {
                return Ok(read == 0);
            }
            at += read as u64;
        }
        Ok(true)
    }

    fn segments(
        &mut self,
        listing: &Listing,
        floor: Option<Floor>,
        survey: &mut Survey,
    ) -> Result<BTreeMap<u64, OnDisk>, OpenError> {
        let mut segments = BTreeMap::new();
        let mut reached = 0;
        for (&base, &bytes) in &listing.segments {
            let footer = listing.footers.contains(&base);
            let dropped = |floor: Floor| base + bytes.max(1) <= floor.position;
            if floor.is_some_and(dropped) {
                // Retention was removing it.
                survey.obsolete.push(self.path.join(segment_name(base)));
                survey.obsolete.push(self.path.join(footer_name(base)));
                continue;
            }
            if survey.is_unused_spare(base, bytes)
                && (self.begins_blank(base) || planted(Bug::UnlinksAUsedSegment))
            {
                // The rest of its bytes is checked before it is used.
                survey.blanks.push(Blank {
                    base,
                    bytes,
                    path: self.path.join(segment_name(base)),
                });
                continue;
            }
            let footer = footer.then(|| self.footer(base)).flatten();
            let has_footer = footer.is_some();
            if let Some((_, head)) = &footer {
                survey.loss_history.add_footer(&head.gaps);
                survey.proven = survey.proven.max(head.next_sequence);
                survey.limit = survey.limit.max(base + head.segment_bytes);
            }
            let found = match footer {
                Some((footer, head)) if head.segment_bytes == bytes && self.stands_right(base) => {
                    OnDisk::Sealed(self.sealed(base, footer, head)?)
                }
                _ => OnDisk::Scanned(self.scan((base, bytes), reached, survey)?),
            };
            if let OnDisk::Scanned(scanned) = &found
                && !has_footer
            {
                survey.note_missing_parts(scanned);
            }
            reached = reached.max(found.has_reached());
            segments.insert(base, found);
        }
        Ok(segments)
    }

    /// Whether a segment has only zeroes in place of its first block header. A used segment has a header, even if an older
    /// state does not know of its use.
    fn begins_blank(&mut self, base: u64) -> bool {
        let mut header = [0; BLOCK_HEADER_SIZE];
        let path = self.path.join(segment_name(base));
        let read = self.disk.read(&path, 0, &mut header);
        read.is_ok_and(|read| used_bytes(&header[..read]) == 0)
    }

    /// A segment's footer, if it is intact and belongs to the segment. Without it the segment is scanned.
    fn footer(&mut self, base: u64) -> Option<(Footer, FooterHead)> {
        let bytes = self.small(&footer_name(base), FOOTER_BYTES_MAX).ok()?;
        let (footer, head) = Footer::open(bytes)?;
        let ours = head.dir_id == self.dir_id && head.log == self.log && head.base == base;
        ours.then_some((footer, head))
    }

    /// Whether a segment's first block header, if it is intact, names this segment.
    fn stands_right(&mut self, base: u64) -> bool {
        let mut header = [0; BLOCK_HEADER_SIZE];
        let path = self.path.join(segment_name(base));
        let read = self.disk.read(&path, 0, &mut header);
        let intact = read.is_ok_and(|read| read == BLOCK_HEADER_SIZE);
        let Some(header) = crate::format::BlockHeader::decode(&header).filter(|_| intact) else {
            return true;
        };
        self.owner().owns(&header) && header.position() == base
    }

    fn sealed(&mut self, base: u64, footer: Footer, head: FooterHead) -> Result<Sealed, OpenError> {
        let name = segment_name(base);
        let path: Arc<Path> = Arc::from(self.path.join(&name));
        let map = self.disk.map(&path).map_err(self.io(&name))?;
        Ok(Sealed {
            path,
            map,
            footer,
            head,
        })
    }

    fn scan_sealed(&mut self, sealed: &Sealed, survey: &mut Survey) -> Result<Scanned, OpenError> {
        let place = (sealed.head.base, sealed.map.len());
        self.scan(place, sealed.head.first_sequence, survey)
    }

    /// Scans a segment of so many bytes at `base`. Those before it have reached the sequence `least`.
    fn scan(
        &mut self,
        (base, bytes): (u64, u64),
        mut least: u64,
        survey: &mut Survey,
    ) -> Result<Scanned, OpenError> {
        let path: Arc<Path> = Arc::from(self.path.join(segment_name(base)));
        let mut segment = Scanned {
            base,
            path: Arc::clone(&path),
            len: bytes,
            blocks: Vec::new(),
            names: TopicNames::default(),
            missing: Vec::new(),
        };
        for at in (0..bytes).step_by(BLOCK) {
            let want = usize::try_from(bytes - at).map_or(BLOCK, |left| left.min(BLOCK));
            let lost = self.read_block(&path, at, want)?;
            let owner = self.owner();
            let bytes = &self.buffer[..want];
            let mut block = scan_block(bytes, base + at, owner, &mut segment.names, least);
            least = least.max(block.has_reached());
            // Unreadable bytes do not count as blank: they may be readable again at the next start.
            if let Some(last) = lost.last() {
                block.used_end = block.used_end.max(base + at + last.end as u64);
            }
            let positions =
                |piece: Range<usize>| base + at + piece.start as u64..base + at + piece.end as u64;
            segment.missing.extend(lost.into_iter().map(positions));
            segment.blocks.push(block);
        }
        survey.scanned_bytes += segment.scanned_bytes();
        Ok(segment)
    }

    /// Reads a block into the buffer. Unreadable and missing bytes become zeroes; returns their ranges.
    fn read_block(
        &mut self,
        path: &Path,
        at: u64,
        want: usize,
    ) -> Result<Vec<Range<usize>>, OpenError> {
        let mut lost = Vec::new();
        let mut step = want;
        let mut done = 0;
        while done < want {
            let end = want.min(done + step);
            match self
                .disk
                .read(path, at + done as u64, &mut self.buffer[done..end])
            {
                Ok(read) => {
                    if read < end - done {
                        lost.push(done + read..end);
                    }
                    self.buffer[done + read..end].fill(0);
                    done = end;
                }
                Err(error) if is_unreadable(&error) => {
                    if step > PIECE && !planted(Bug::UnreadableHidesTheRest) {
                        step = PIECE;
                        continue;
                    }
                    lost.push(done..end);
                    self.buffer[done..end].fill(0);
                    done = end;
                }
                Err(source) => {
                    let path = path.to_owned();
                    return Err(OpenError::Io { path, source });
                }
            }
        }
        Ok(lost)
    }

    /// Takes in the footers whose segment is gone. Those above the floor name the records that are lost.
    fn lone_footers(&mut self, listing: &Listing, survey: &mut Survey) {
        let known = listing.segments.keys().next().copied();
        for &base in &listing.footers {
            if listing.segments.contains_key(&base) {
                continue;
            }
            let path = self.path.join(footer_name(base));
            let dropped = match survey.floor() {
                Some(floor) => base < floor.position,
                // Version 1 removed a segment before its footer.
                None => known.is_some_and(|first| base < first),
            };
            if dropped {
                survey.obsolete.push(path);
                continue;
            }
            let footer = self.footer(base);
            let bytes = footer.map_or(BLOCK_BYTES, |(_, head)| {
                survey.loss_history.add_footer(&head.gaps);
                survey.proven = survey.proven.max(head.next_sequence);
                survey.limit = survey.limit.max(base + head.segment_bytes);
                head.segment_bytes
            });
            survey.note_missing(base, base + bytes);
            survey.set_aside(path, "its segment is gone");
        }
    }

    fn assemble(
        &mut self,
        mut survey: Survey,
        segments: BTreeMap<u64, OnDisk>,
    ) -> Result<Survey, OpenError> {
        let used = survey.sort(self.path, segments);
        // A segment that was cut may end anywhere.
        survey.limit = survey.limit.next_multiple_of(BLOCK_BYTES);
        survey.note_acknowledged(&used, self.durability);
        let firsts: Vec<Option<u64>> = used.iter().map(OnDisk::first_sequence).collect();
        for (number, segment) in used.into_iter().enumerate() {
            let next = firsts[number + 1..].iter().flatten().min().copied();
            let part = self.part(segment, next, &mut survey)?;
            survey.segments.push(part);
        }
        if let Some(lost) = survey.assembler.finish(survey.limit) {
            self.record_loss(&lost, &mut survey)?;
        }
        Ok(survey)
    }

    /// Adds a loss behind the last segment to that segment's footer, so that the next start does not report it again.
    fn record_loss(&mut self, lost: &Gap, survey: &mut Survey) -> Result<(), OpenError> {
        let mut kept = match survey.segments.pop() {
            None => return Ok(()),
            Some(RecoveredSegment::Kept(kept)) => kept,
            Some(RecoveredSegment::Sealed(sealed)) => {
                let mut alone = Assembler {
                    expected: Some(sealed.head.first_sequence),
                    acknowledged: sealed.head.next_sequence,
                    is_cut: false,
                    cut_bytes: 0,
                    losses: Vec::new(),
                    near: sealed.head.incarnation,
                };
                // Its own lost records are in its footer already.
                let next = Some(sealed.head.next_sequence);
                alone.add(self.scan_sealed(&sealed, survey)?, next)
            }
        };
        kept.end_with(lost);
        survey.segments.push(RecoveredSegment::Kept(kept));
        Ok(())
    }

    fn part(
        &mut self,
        segment: OnDisk,
        mut next: Option<u64>,
        survey: &mut Survey,
    ) -> Result<RecoveredSegment, OpenError> {
        let scanned = match segment {
            OnDisk::Scanned(scanned) => scanned,
            OnDisk::Sealed(sealed) if survey.assembler.lost_below(sealed.head.first_sequence) => {
                // Records before it are missing. It is scanned, so that its new footer will record the gap.
                let end = sealed.head.next_sequence;
                next = Some(next.map_or(end, |next| next.min(end)));
                self.scan_sealed(&sealed, survey)?
            }
            OnDisk::Sealed(sealed) => {
                survey.assembler.pass(sealed.head.next_sequence);
                return Ok(RecoveredSegment::Sealed(sealed));
            }
        };
        let mut kept = survey.assembler.add(scanned, next);
        if let Some((number, block)) = cut_block(&kept) {
            let path = Arc::clone(&kept.path);
            let bytes = kept.sums[number].bytes as usize;
            self.read_block(&path, block - kept.base, bytes)?;
            kept.sums[number].crc = crc32c(&self.buffer[..bytes]);
        }
        Ok(RecoveredSegment::Kept(kept))
    }
}

/// Whether an error means that the medium cannot read back what was written, rather than that a file is missing or not
/// accessible.
fn is_unreadable(error: &io::Error) -> bool {
    let codes = [libc::EIO, libc::EBADMSG, libc::EUCLEAN, libc::ENODATA];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}
