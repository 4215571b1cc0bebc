//! The lanes of records between shards: those of sessions that say little have one of their own, so that they do not wait
//! behind the others.

/// Records of sessions that say little go ahead of those that others send in floods. What of one session is under way is
/// in one lane, or in that of little and then in that of much: there it waits for what went before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Little,
    Much,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Little, Self::Much];
}
