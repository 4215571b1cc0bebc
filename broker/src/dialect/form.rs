//! The forms that records are sent in, as values: a session's shard keeps them, and tells its feeds apart by them.

/// How records look to the sessions that they are sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) style: Style,
}

/// How records are encoded in a form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// As they lie in the log.
    #[default]
    Native,
    /// Server-sent events.
    Events,
    /// An object of JSON for each message, on a line of its own.
    Lines,
    /// Payloads.
    Raw,
}

/// Options that tell streams of one kind apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Style(u8);

impl Style {
    /// Records lie in chunks of HTTP/1.1.
    pub(crate) const CHUNKED: Self = Self(1);
    /// Every payload is base64, not only those that are not text.
    pub(crate) const BASE64: Self = Self(2);
    /// The stream has an end of its own, so that no other stream shares its chains.
    pub(crate) const BOUNDED: Self = Self(4);
    /// The stream is one payload, with nothing behind it.
    pub(crate) const ALONE: Self = Self(8);
    /// The stream has several topics, so that each message names its topic.
    pub(crate) const SEVERAL: Self = Self(16);
    /// Records lie in messages of WebSocket: a run of native records in one, anything else in one each.
    pub(crate) const FRAMED: Self = Self(32);

    /// Returns this style, with `other` added if `is_so`.
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
    /// Native records, in messages of WebSocket.
    pub(crate) const RUNS: Self = Self {
        kind: Kind::Native,
        style: Style::FRAMED,
    };
    /// Objects of JSON, each in a message of WebSocket.
    pub(crate) const OBJECTS: Self = Self {
        kind: Kind::Lines,
        style: Style::FRAMED,
    };

    /// Whether the stream refers to large messages by where they can be read.
    pub(crate) const fn refers(self) -> bool {
        match self.kind {
            Kind::Events => true,
            Kind::Lines => self.style.is_framed(),
            Kind::Native | Kind::Raw => false,
        }
    }

    /// Whether a record is the same bytes in this form as in the log.
    pub(crate) const fn is_native(self) -> bool {
        matches!(self.kind, Kind::Native)
    }
}

/// Messages of a record, by their numbers within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) first: u16,
    /// The number behind the last; more than `first`.
    pub(crate) end: u16,
}

impl Part {
    /// Of a record with `count` messages, the first of which is number `begin` of its topic: the messages from number `from` on
    /// and before `until`; `None` if there are none.
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

    /// Packs the part into a number, which is not 0.
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
