//! Numbers that must not be mixed up, each its own type.

use core::fmt;
use core::str::FromStr;

use crate::error::EpochError;

/// Digits of an epoch as text.
const EPOCH_DIGITS: usize = 16;

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

    };
}

/// A number that people read as one.
macro_rules! decimal {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
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
    ///
    /// As text it is 16 hexadecimal digits everywhere: it is no quantity, and JSON numbers would lose its low bits.
    ///
    /// ```
    /// use oyez_protocol::Epoch;
    ///
    /// let epoch: Epoch = "2555deaa3983cda3".parse()?;
    /// assert_eq!(epoch.to_string(), "2555deaa3983cda3");
    /// # Ok::<(), oyez_protocol::error::EpochError>(())
    /// ```
    Epoch(u64)
}
number! {
    /// Number of a log within its data directory.
    LogId(u16)
}

decimal!(Offset Position Sequence LogId);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0EPOCH_DIGITS$x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = EpochError;

    /// Reads 1 to 16 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, EpochError> {
        let is_epoch =
            text.len() <= EPOCH_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_epoch);
        number.map(Self).ok_or(EpochError)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_sixteen_hexadecimal_digits_both_ways() {
        let epoch = Epoch::new(0x2a_0000_00ff);
        assert_eq!(epoch.to_string(), "0000002a000000ff");
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_eq!("FF".parse(), Ok(Epoch::new(255)));
        for text in ["", "+f", "-1", "0x1", "2555deaa3983cda3f", "g", "1 "] {
            assert_eq!(text.parse::<Epoch>(), Err(EpochError), "{text}");
        }
        assert_eq!(Offset::new(255).to_string(), "255");
    }
}
