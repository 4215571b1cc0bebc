//! Numbers that must not be mixed up, each its own type.

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the bare number.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Number of a message in its topic, from 0, dense.
    Offset(u64)
}
number! {
    /// Byte place in a log.
    Position(u64)
}
number! {
    /// Number of a record in its log, dense. Travels in 48 bits.
    Sequence(u64)
}
number! {
    /// The incarnation of a log's history: it changes only when visible history was, or may have been, lost.
    /// 0 on the wire means "not known".
    Epoch(u64)
}
number! {
    /// Number of a log within its data directory.
    LogId(u16)
}

impl Offset {
    /// The offset `messages` further on; it stops at the greatest, since offsets come from the wire.
    #[must_use]
    pub const fn plus(self, messages: u64) -> Self {
        Self(self.0.saturating_add(messages))
    }
}

impl Position {
    /// The position `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl Sequence {
    /// The sequence of the record after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
