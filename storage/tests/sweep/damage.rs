//! One damage, chosen by a seed: a flipped bit, a truncation, a zeroed page, a file that is deleted, emptied, swapped or
//! as it was earlier.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use oyez_storage::BLOCK_BYTES;

use crate::image::{Image, Known};
use crate::layout::{Part, Sort, part_at, used};
use crate::support::Dice;
use crate::writer::Stop;

const PAGE: usize = 4096;

/// The kinds, as they share each 29 seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Flip,
    Truncate,
    Zero,
    Delete,
    Empty,
    Swap,
    Older,
}

/// Seeds in which every kind has its share: 20 flips, 5 truncations, 2 zeroed pages, one file deleted, emptied or
/// swapped, one file as it was earlier.
pub(crate) const ROUND: u64 = 29;

impl Kind {
    fn of(seed: u64) -> Self {
        match seed % ROUND {
            0..20 => Self::Flip,
            20..25 => Self::Truncate,
            25..27 => Self::Zero,
            27 => [Self::Delete, Self::Empty, Self::Swap][(seed / ROUND % 3) as usize],
            _ => Self::Older,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Truncate => "truncate",
            Self::Zero => "zero page",
            Self::Delete => "delete",
            Self::Empty => "empty",
            Self::Swap => "swap",
            Self::Older => "older copy",
        }
    }
}

/// The files of a case, damaged.
pub(crate) type Damaged<'a> = BTreeMap<String, Cow<'a, [u8]>>;

#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) kind: Kind,
    /// The part that was hit, for the table.
    pub(crate) hit: &'static str,
    /// The whole story.
    pub(crate) about: String,
    /// Bytes that were changed or moved.
    changed: Vec<(String, Range<usize>)>,
    /// The damage loses no record, and a start can see that: a new epoch or a gap would be a false alarm.
    pub(crate) is_harmless: bool,
    /// The rest is as consistent as if the lost part had never been written.
    pub(crate) is_hidden: bool,
}

impl Damage {
    /// None at all.
    pub(crate) fn none() -> Self {
        Self {
            kind: Kind::Flip,
            hit: "nothing",
            about: "nothing is damaged".to_owned(),
            changed: Vec::new(),
            is_harmless: true,
            is_hidden: false,
        }
    }

    /// Some bytes of a file.
    pub(crate) fn of(file: &str, changed: Range<usize>) -> Self {
        Self {
            changed: vec![(file.to_owned(), changed)],
            is_harmless: false,
            ..Self::none()
        }
    }

    /// The name that the content of a file had before names were swapped.
    pub(crate) fn origin<'a>(&'a self, file: &'a str) -> &'a str {
        let swapped = self.kind == Kind::Swap && self.changed.iter().any(|(f, _)| f == file);
        let mut others = self.changed.iter().map(|(other, _)| other.as_str());
        let other = others.find(|other| swapped && *other != file);
        other.unwrap_or(file)
    }

    /// Whether any byte of a record is damaged.
    pub(crate) fn hits(&self, image: &Image, known: &Known) -> bool {
        let (file, range) = image.place(known);
        self.changed.iter().any(|(other, changed)| {
            other == file && changed.start < range.end && range.start < changed.end
        })
    }
}

/// Damages the files of an image.
pub(crate) fn inflict<'a>(image: &'a Image, seed: u64, files: &mut Damaged<'a>) -> Damage {
    let mut hand = Hand {
        image,
        dice: Dice::of(seed + 1),
        kind: Kind::of(seed),
    };
    // What the image does not have, such as a page below the last mark, is left to a flip.
    let damage = match hand.kind {
        Kind::Flip => None,
        Kind::Truncate => hand.truncate(files),
        Kind::Zero => hand.zero_page(files),
        Kind::Delete | Kind::Empty | Kind::Swap => hand.misplace(files),
        Kind::Older => hand.go_back(files),
    };
    damage.unwrap_or_else(|| {
        hand.kind = Kind::Flip;
        hand.flip(files)
    })
}

struct Hand<'a> {
    image: &'a Image,
    dice: Dice,
    kind: Kind,
}

impl<'a> Hand<'a> {
    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() {
            return None;
        }
        Some(of[self.dice.roll(of.len() as u64) as usize].clone())
    }

    /// One of those that exist, by weight.
    fn weighted<T: Copy>(&mut self, of: &[(T, u64)], exists: impl Fn(T) -> bool) -> T {
        let of: Vec<(T, u64)> = of.iter().copied().filter(|(t, _)| exists(*t)).collect();
        let mut rest = self.dice.roll(of.iter().map(|(_, weight)| weight).sum());
        for (which, weight) in &of {
            if rest < *weight {
                return *which;
            }
            rest -= weight;
        }
        unreachable!("the weights end above the roll")
    }

    /// Damage to a range of a file.
    fn damage(&self, file: &str, changed: Range<usize>) -> Damage {
        let sort = self.image.sort(file);
        Damage {
            kind: self.kind,
            hit: sort.name(),
            is_harmless: sort == Sort::Footer || self.image.has_second_copy(file),
            ..Damage::of(file, changed)
        }
    }

    /// Damage to what `now` has other than the image.
    fn difference(&self, file: &str, now: &[u8]) -> Damage {
        let changed = differences(&self.image.files[file], now).into_iter();
        Damage {
            changed: changed.map(|range| (file.to_owned(), range)).collect(),
            ..self.damage(file, 0..0)
        }
    }

    /// Nine in ten in used bytes, half of these in headers.
    fn flip(&mut self, files: &mut Damaged<'a>) -> Damage {
        let headers = [
            (Part::RecordHeader, 6),
            (Part::BlockHeader, 4),
            (Part::Mark, 4),
            (Part::FooterHeader, 3),
            (Part::State, 3),
            (Part::Pad, 2),
            (Part::Meta, 1),
            (Part::Carried, 4),
            (Part::Other, 1),
        ];
        let bodies = [
            (Part::RecordBody, 7),
            (Part::FooterTable, 2),
            (Part::Superseded, 1),
        ];
        let (file, at) = match self.dice.roll(20) {
            0..2 => self.anywhere(),
            2..11 => self.within(&headers),
            _ => self.within(&bodies),
        };
        let bit = self.dice.roll(8);
        let bytes = files.get_mut(&file).expect("a file of the image").to_mut();
        let before = bytes[at];
        bytes[at] ^= 1 << bit;
        let after = bytes[at];
        let part = part_at(&self.image.spans[&file], at);
        let harmless = [Part::BlockHeader, Part::Mark, Part::Pad, Part::Unused];
        let damage = self.damage(&file, at..at + 1);
        Damage {
            hit: part.name(),
            about: format!(
                "{file}: bit {bit} of byte {at} ({part:?}), {before:#04x} to {after:#04x}"
            ),
            is_harmless: damage.is_harmless || harmless.contains(&part),
            ..damage
        }
    }

    fn anywhere(&mut self) -> (String, usize) {
        let total: usize = self.image.files.values().map(Vec::len).sum();
        let mut at = self.dice.roll(total as u64) as usize;
        for (file, bytes) in &self.image.files {
            if at < bytes.len() {
                return (file.clone(), at);
            }
            at -= bytes.len();
        }
        unreachable!("the place is below the sum of the sizes")
    }

    fn within(&mut self, parts: &[(Part, u64)]) -> (String, usize) {
        let image = self.image;
        let of = |part: Part| {
            let all = image.spans.iter();
            all.flat_map(|(file, spans)| spans.iter().map(move |span| (file, span)))
                .filter(move |(_, span)| span.part == part && !span.at.is_empty())
        };
        let part = self.weighted(parts, |part| of(part).next().is_some());
        let spans: Vec<_> = of(part).collect();
        let (file, span) = self.pick(&spans).expect("the part exists");
        let at = span.at.start + self.dice.roll(span.at.len() as u64) as usize;
        (file.clone(), at)
    }

    /// A file of a sort that the image has enough of.
    fn file(&mut self, least: usize) -> Option<String> {
        let sorts = [
            (Sort::Segment, 8),
            (Sort::Footer, 3),
            (Sort::State, 2),
            (Sort::Meta, 1),
            (Sort::Carried, 4),
            (Sort::Other, 1),
        ];
        let of = |image: &Image, sort| -> Vec<String> {
            let names = image.files.keys().filter(|name| image.sort(name) == sort);
            names.cloned().collect()
        };
        let image = self.image;
        let enough = |sort| of(image, sort).len() >= least;
        sorts.iter().any(|(sort, _)| enough(*sort)).then_some(())?;
        let sort = self.weighted(&sorts, enough);
        self.pick(&of(image, sort))
    }

    fn truncate(&mut self, files: &mut Damaged<'a>) -> Option<Damage> {
        let file = self.file(1)?;
        let bytes = &self.image.files[&file];
        let (len, used) = (bytes.len() as u64, used(&self.image.spans[&file]) as u64);
        let multiple = |dice: &mut Dice, of: u64| dice.roll(len.div_ceil(of)) * of;
        let cut = match self.dice.roll(6) {
            0 => 0,
            1 => self.dice.roll(len),
            2 => self.dice.roll(used.max(1)),
            3 => multiple(&mut self.dice, BLOCK_BYTES),
            4 => multiple(&mut self.dice, PAGE as u64),
            _ => len - 1,
        } as usize;
        files.insert(file.clone(), Cow::Borrowed(&bytes[..cut]));
        let mut damage = self.damage(&file, cut..usize::MAX);
        damage.about = format!("{file}: cut to {cut} of {len} bytes, {used} were used");
        Some(damage)
    }

    /// A page that is full of what was written before the log's last mark, or before its last record if it has none.
    fn zero_page(&mut self, files: &mut Damaged<'a>) -> Option<Damage> {
        let image = self.image;
        let frames = image.spans.iter().flat_map(|(file, spans)| {
            let spans = spans.iter();
            let frames = spans.filter(|s| matches!(s.part, Part::Mark | Part::RecordHeader));
            frames.map(move |span| (file.as_str(), span.at.start))
        });
        let last = frames.max()?;
        let pages = |file: &str| -> Vec<usize> {
            let below = match file.cmp(last.0) {
                Ordering::Less => used(&image.spans[file]),
                Ordering::Equal => last.1,
                Ordering::Greater => 0,
            };
            let pages = image.files[file][..below].chunks_exact(PAGE).enumerate();
            let used = pages.filter(|(_, page)| *page != [0; PAGE]);
            used.map(|(number, _)| number * PAGE).collect()
        };
        let segments = image
            .files
            .keys()
            .filter(|f| image.sort(f) == Sort::Segment);
        let segments: Vec<&String> = segments.filter(|file| !pages(file).is_empty()).collect();
        let file = self.pick(&segments)?;
        let from = self.pick(&pages(file))?;
        let bytes = files.get_mut(file).expect("a file of the image").to_mut();
        bytes[from..from + PAGE].fill(0);
        let mut damage = self.difference(file, bytes);
        damage.about = format!("{file}: the page at {from} is zero");
        Some(damage)
    }

    fn misplace(&mut self, files: &mut Damaged<'a>) -> Option<Damage> {
        let wants_pair = self.kind == Kind::Swap;
        let pair = self
            .file(2)
            .filter(|file| wants_pair && !self.others(file).is_empty());
        if pair.is_none() && self.kind == Kind::Swap {
            self.kind = Kind::Empty;
        }
        let file = pair.or_else(|| self.file(1))?;
        let mut damage = self.damage(&file, 0..usize::MAX);
        damage.about = match self.kind {
            Kind::Delete => {
                files.remove(&file);
                format!("{file} is deleted")
            }
            Kind::Empty => {
                files.insert(file.clone(), Cow::Borrowed(&[]));
                format!("{file} is empty")
            }
            _ => {
                let other = self.pick(&self.others(&file))?;
                let (one, two) = (&self.image.files[&file], &self.image.files[&other]);
                files.insert(file.clone(), Cow::Borrowed(two));
                files.insert(other.clone(), Cow::Borrowed(one));
                damage.changed.push((other.clone(), 0..usize::MAX));
                format!("{file} and {other} have each other's name")
            }
        };
        Some(damage)
    }

    /// The files of the same sort that hold something else: two copies that are alike may change names.
    fn others(&self, file: &str) -> Vec<String> {
        let image = self.image;
        let sort = image.sort(file);
        let others = image.files.iter();
        let others = others.filter(|(f, bytes)| {
            f.as_str() != file && image.sort(f) == sort && **bytes != image.files[file]
        });
        others.map(|(f, _)| f.clone()).collect()
    }

    /// A file is what it was earlier. A start cannot see that if it is the segment that was open when the process was
    /// killed: the missing records might never have been written.
    fn go_back(&mut self, files: &mut Damaged<'a>) -> Option<Damage> {
        let names: Vec<&String> = self.image.older.keys().collect();
        let file = self.pick(&names)?;
        let older = &self.image.older[file];
        files.insert(file.clone(), Cow::Borrowed(older));
        let mut damage = self.difference(file, older);
        let later = self.image.spans.range(file.clone()..).skip(1);
        let is_last = later
            .into_iter()
            .all(|(f, spans)| self.image.sort(f) != Sort::Segment || spans.is_empty());
        // Both copies may be sound, and one of them speak of a restored directory.
        damage.is_harmless = false;
        damage.is_hidden =
            self.image.stop == Stop::Kill && damage.hit == Sort::Segment.name() && is_last;
        damage.about = format!("{file} is as it was earlier");
        Some(damage)
    }
}

/// The ranges, one for each page at most, in which two versions of a file differ.
fn differences(one: &[u8], two: &[u8]) -> Vec<Range<usize>> {
    let shorter = one.len().min(two.len());
    let mut out = Vec::new();
    for from in (0..shorter).step_by(PAGE) {
        let page = from..(from + PAGE).min(shorter);
        if one[page.clone()] == two[page.clone()] {
            continue;
        }
        let differs = |at: &usize| one[*at] != two[*at];
        let first = page.clone().find(differs).unwrap_or(page.start);
        let last = page.clone().rev().find(differs).unwrap_or(first);
        out.push(first..last + 1);
    }
    if one.len() != two.len() {
        out.push(shorter..usize::MAX);
    }
    out
}
