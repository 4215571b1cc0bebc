//! Extras: what a publisher says about a whole record besides its topic.
//!
//! Each is `type u8, length u8, value`, padded with zeros to 8 bytes. A receiver may ignore a type with the high bit set
//! that it does not know; any other unknown type makes a record unacceptable. No type is defined yet that must be
//! understood.

use crate::error::RecordError;
use crate::limits::FRAME_ALIGN;

/// Bit of an extra's type that lets a reader ignore it.
const IGNORABLE: u8 = 0x80;

/// One typed extra of a record. A receiver may ignore a type with the high bit set that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    /// The type.
    pub kind: u8,
    /// Its value.
    pub value: &'a [u8],
}

impl Extra<'_> {
    /// Whether a receiver that does not know the type may ignore the extra.
    #[must_use]
    pub(crate) const fn is_ignorable(&self) -> bool {
        self.kind & IGNORABLE != 0
    }

    /// Bytes that it takes in a record.
    pub(crate) const fn padded_size(&self) -> usize {
        (2 + self.value.len()).next_multiple_of(FRAME_ALIGN)
    }
}

/// Iterator over the extras of a record, in their order. It ends at one that is malformed, which a verified record
/// does not hold.
#[derive(Clone, Debug)]
pub struct Extras<'a> {
    rest: &'a [u8],
    malformed: Option<u8>,
}

impl<'a> Extras<'a> {
    /// An iterator over the extras of a record, in whole units of eight bytes.
    pub(crate) const fn new(encoded: &'a [u8]) -> Self {
        Self {
            rest: encoded,
            malformed: None,
        }
    }

    /// Refuses malformed extras and those that must be understood and are not known.
    pub(crate) fn check(mut self) -> Result<(), RecordError> {
        if let Some(extra) = self.find(|extra| !extra.is_ignorable()) {
            return Err(RecordError::Extra { kind: extra.kind });
        }
        match self.malformed {
            Some(kind) => Err(RecordError::Extra { kind }),
            None => Ok(()),
        }
    }
}

impl<'a> Iterator for Extras<'a> {
    type Item = Extra<'a>;

    fn next(&mut self) -> Option<Extra<'a>> {
        // Whole units of eight bytes: a type and a length are there if anything is.
        let (kind, size) = (*self.rest.first()?, usize::from(*self.rest.get(1)?));
        let padded = (2 + size).next_multiple_of(FRAME_ALIGN);
        let well_formed =
            padded <= self.rest.len() && self.rest[2 + size..padded].iter().all(|b| *b == 0);
        if !well_formed {
            self.malformed = Some(kind);
            self.rest = &[];
            return None;
        }
        let value = &self.rest[2..2 + size];
        self.rest = &self.rest[padded..];
        Some(Extra { kind, value })
    }
}
