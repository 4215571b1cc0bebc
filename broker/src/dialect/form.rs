//! The forms that records are sent in, as values: what a session's shard keeps of them, and tells its feeds apart by.

/// How records look to those that they are sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As they are.
    #[default]
    Native,
    /// As server-sent events.
    Events(Events),
}

/// What tells the server-sent events of one stream from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Events {
    /// They lie in chunks of HTTP/1.1.
    pub(crate) chunked: bool,
    /// Every payload is base64, not only those that are no text.
    pub(crate) base64: bool,
}

impl Form {
    /// Whether a record is the same bytes in it as in the log.
    pub(crate) const fn is_native(self) -> bool {
        matches!(self, Self::Native)
    }
}
