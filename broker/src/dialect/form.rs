//! The forms that records are sent in, as values: what a session's shard keeps of them, and tells its feeds apart by.

/// How records look to those that they are sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) style: Style,
}

/// What records are sent as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// As they are.
    #[default]
    Native,
    /// Server-sent events.
    Events,
    /// An object of JSON for each message, on a line of its own.
    Lines,
    /// Payloads.
    Raw,
}

/// What tells streams of one kind from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Style(u8);

impl Style {
    /// They lie in chunks of HTTP/1.1.
    pub(crate) const CHUNKED: Self = Self(1);
    /// Every payload is base64, not only those that are no text.
    pub(crate) const BASE64: Self = Self(2);
    /// The stream has an end that is its own, so that nobody shares its chains.
    pub(crate) const BOUNDED: Self = Self(4);
    /// It is one payload, with nothing behind it.
    pub(crate) const ALONE: Self = Self(8);
    /// It is a stream of several topics, so that each message says of which it is.
    pub(crate) const SEVERAL: Self = Self(16);
    /// They lie in messages of WebSocket: a run of records as they are in one, anything else in one each.
    pub(crate) const FRAMED: Self = Self(32);

    /// This, and `other` if `is_so`.
    #[must_use]
    pub(crate) const fn with(self, other: Self, is_so: bool) -> Self {
        match is_so {
            true => Self(self.0 | other.0),
            false => self,
        }
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn is_chunked(self) -> bool {
        self.has(Self::CHUNKED)
    }

    pub(crate) const fn is_base64(self) -> bool {
        self.has(Self::BASE64)
    }

    pub(crate) const fn is_bounded(self) -> bool {
        self.has(Self::BOUNDED)
    }

    pub(crate) const fn is_alone(self) -> bool {
        self.has(Self::ALONE)
    }

    pub(crate) const fn is_framed(self) -> bool {
        self.has(Self::FRAMED)
    }

    pub(crate) const fn is_of_several(self) -> bool {
        self.has(Self::SEVERAL)
    }
}

impl Form {
    pub(crate) const NATIVE: Self = Self {
        kind: Kind::Native,
        style: Style(0),
    };
    /// As they are, in messages of WebSocket.
    pub(crate) const RUNS: Self = Self {
        kind: Kind::Native,
        style: Style::FRAMED,
    };
    /// As objects of JSON, each in a message of WebSocket.
    pub(crate) const OBJECTS: Self = Self {
        kind: Kind::Lines,
        style: Style::FRAMED,
    };

    /// Whether messages that are large are told by where they can be read.
    pub(crate) const fn refers(self) -> bool {
        match self.kind {
            Kind::Events => true,
            Kind::Lines => self.style.is_framed(),
            Kind::Native | Kind::Raw => false,
        }
    }

    /// Whether a record is the same bytes in it as in the log.
    pub(crate) const fn is_native(self) -> bool {
        matches!(self.kind, Kind::Native)
    }
}

/// Messages of a record, by their numbers within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) first: u16,
    /// Behind the last; more than `first`.
    pub(crate) end: u16,
}

impl Part {
    /// Of a record whose first message is number `begin` of its topic, and which has `count`, those from number `from` on and
    /// before `until`; `None` if there are none.
    pub(crate) fn of(begin: u64, count: u16, from: u64, until: Option<u64>) -> Option<Self> {
        let within = |number: u64| {
            let index = number.saturating_sub(begin).min(count.into());
            u16::try_from(index).expect("it is at most the count")
        };
        let part = Self {
            first: within(from),
            end: until.map_or(count, within),
        };
        (part.first < part.end).then_some(part)
    }

    /// As a number, which is not 0.
    pub(crate) const fn pack(self) -> u32 {
        (self.end as u32) << 16 | self.first as u32
    }

    pub(crate) const fn unpack(packed: u32) -> Self {
        Self {
            first: packed as u16,
            end: (packed >> 16) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_record_has_what_is_asked_for_of_it() {
        let part = |from, until| {
            let part = Part::of(10, 5, from, until)?;
            Some((part.first, part.end))
        };
        assert_eq!(part(0, None), Some((0, 5)));
        assert_eq!(part(10, Some(15)), Some((0, 5)));
        assert_eq!(part(12, None), Some((2, 5)));
        assert_eq!(part(12, Some(14)), Some((2, 4)));
        assert_eq!(part(0, Some(11)), Some((0, 1)));
        assert_eq!(part(15, None), None);
        assert_eq!(part(12, Some(12)), None);
        assert_eq!(part(0, Some(10)), None);
        let largest = Part::of(0, u16::MAX, 0, None).expect("all of it");
        assert_eq!(largest.end, u16::MAX);
    }

    #[test]
    fn a_part_comes_back_from_its_number() {
        for (first, end) in [(0, 1), (3, 9), (0, u16::MAX), (u16::MAX - 1, u16::MAX)] {
            let part = Part { first, end };
            assert!(part.pack() > 0);
            assert_eq!(Part::unpack(part.pack()), part);
        }
    }

    #[test]
    fn styles_are_told_apart() {
        let style = Style::CHUNKED
            .with(Style::BOUNDED, true)
            .with(Style::BASE64, false);
        assert!(style.is_chunked() && style.is_bounded());
        assert!(!style.is_base64() && !style.is_alone() && !style.is_of_several());
    }
}
