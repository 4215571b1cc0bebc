//! The names of the files in a log's directory.

use std::path::{Path, PathBuf};

use crate::state::{CARRIED, STATE, STATE_COPY};

/// The kind of file that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    State,
    StateCopy,
    Carried,
    /// A segment, by its base position.
    Segment(u64),
    /// Its footer.
    Footer(u64),
    /// A segment that was being prepared.
    UnfinishedSegment,
    /// Another file that was being written.
    Unfinished,
    /// A file that was set aside.
    Aside,
    /// A file that is not the log's.
    Foreign,
}

/// Suffix of files that were not completely written.
const UNFINISHED: &str = ".new";
/// Separates the name of a file that was set aside from a number.
const ASIDE: &str = ".damaged-";
/// Most names that are tried for a file that is set aside.
pub(crate) const ASIDE_MAX: u32 = 1000;

impl Kind {
    pub(crate) fn of(name: &str) -> Self {
        if let Some((_, number)) = name.rsplit_once(ASIDE)
            && number.parse::<u32>().is_ok()
        {
            return Self::Aside;
        }
        if let Some(finished) = name.strip_suffix(UNFINISHED) {
            return match Self::of(finished) {
                Self::Segment(_) => Self::UnfinishedSegment,
                Self::State | Self::StateCopy | Self::Carried | Self::Footer(_) => Self::Unfinished,
                _ => Self::Foreign,
            };
        }
        match name {
            STATE => Self::State,
            STATE_COPY => Self::StateCopy,
            CARRIED => Self::Carried,
            _ => match name.rsplit_once('.') {
                Some((digits, "seg")) => base_of(digits).map_or(Self::Foreign, Self::Segment),
                Some((digits, "idx")) => base_of(digits).map_or(Self::Foreign, Self::Footer),
                _ => Self::Foreign,
            },
        }
    }
}

/// Base positions are smaller. No log has so many bytes, and sums of a base and a length cannot overflow.
const BASE_MAX: u64 = 1 << 62;

fn base_of(digits: &str) -> Option<u64> {
    let ours = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let whole = digits.len() == 16 && digits.bytes().all(ours);
    let base = whole.then(|| u64::from_str_radix(digits, 16).ok());
    base.flatten().filter(|base| *base < BASE_MAX)
}

/// Name of the segment at a base position.
pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:016x}.seg")
}

/// Name of its footer.
pub(crate) fn footer_name(base: u64) -> String {
    format!("{base:016x}.idx")
}

/// A name for a file that is set aside.
pub(crate) fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{ASIDE}{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_exactly_our_spelling_are_ours() {
        let base = "00000000000a0000";
        assert_eq!(Kind::of(&format!("{base}.seg")), Kind::Segment(0xa_0000));
        assert_eq!(Kind::of(&segment_name(7)), Kind::Segment(7));
        assert_eq!(Kind::of(&footer_name(7)), Kind::Footer(7));
        assert_eq!(
            Kind::of(&format!("{base}.seg.new")),
            Kind::UnfinishedSegment
        );
        assert_eq!(Kind::of("state.new"), Kind::Unfinished);
        assert_eq!(Kind::of("state.copy"), Kind::StateCopy);
        assert_eq!(Kind::of(&format!("{base}.idx.damaged-3")), Kind::Aside);
        for name in [
            "00000000000A0000.seg",
            "+0000000000a0000.seg",
            "a0000.seg",
            "x.new",
            "x",
            "x.damaged-y",
            "state.new.new",
            "ffffffffffe00000.seg",
        ] {
            assert_eq!(Kind::of(name), Kind::Foreign, "{name}");
        }
    }
}
