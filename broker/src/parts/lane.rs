//! The lanes of records between shards: those of sessions that say little have one of their own, so that they do not wait
//! behind the others.

/// Records of sessions that say little go ahead of those that others send in floods. All records of one session under way are in
/// one lane, or first in that of little and then in that of much, where the later ones wait for the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Little,
    Much,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Little, Self::Much];
}
