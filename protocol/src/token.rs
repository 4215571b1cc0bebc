//! Resume tokens: where a client goes on, in bytes that it keeps and need not understand.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 0 | u8 | version | 1 |
//! | 1 | u8 | kind | 0 offsets of topics, 1 sequences of logs |
//! | 2 | u16 | count | places, at least 1 |
//! | 4 | | places | one after the other |
//! | end - 4 | u32 | checksum | CRC-32C over everything before |
//!
//! A place is `u64` epoch, `u64` number of what comes next, and for kind 0 `u8` n and n bytes of topic, for kind 1 `u16` log.
//! The topic may be empty if the token has one place: then it is the topic of the request that carries the token. A token
//! has at most 16,384 bytes. A log that a token leaves out is delivered from its oldest record on. As text a token is base64url
//! (RFC 4648, section 5) without padding.
//!
//! A token says nothing of files and positions, so that it holds through everything that keeps an epoch: restarts, another
//! machine, and the rewriting of segments. The numbers of logs mean something in one data directory or cluster only. A broker
//! that does not know a place any more answers as it answers a `Subscribe` with an old offset or epoch: it begins with the
//! oldest message kept, and says so.

use crate::bytes::{read_u16, read_u32, read_u64};
use crate::checksum::crc32c;
use crate::command::{Numbered, Place};
use crate::error::TokenError;
use crate::id::{Epoch, LogId, Offset, Sequence};
use crate::limits::TOKEN_SIZE_MAX;
use crate::topic;

const VERSION: u8 = 1;
/// Bytes before the places, and behind them.
const HEAD_SIZE: usize = 4;
const CHECKSUM_SIZE: usize = 4;

/// A token whose bytes are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    by_sequence: bool,
    count: u16,
    places: &'a [u8],
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// When it is damaged, or of a kind that is not known.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, TokenError> {
        let size = bytes.len();
        if !(HEAD_SIZE + CHECKSUM_SIZE..=TOKEN_SIZE_MAX).contains(&size) {
            return Err(TokenError::Size { size });
        }
        let (content, checksum) = bytes.split_at(size - CHECKSUM_SIZE);
        if crc32c(content) != read_u32(checksum, 0) {
            return Err(TokenError::Checksum);
        }
        // From here on somebody meant it.
        let (version, kind, count) = (content[0], content[1], read_u16(content, 2));
        if version != VERSION || kind > 1 {
            return Err(TokenError::Unknown { version, kind });
        }
        let token = Self {
            by_sequence: kind == 1,
            count,
            places: &content[HEAD_SIZE..],
        };
        let mut rest = token.places;
        for _ in 0..count {
            let place = take(&mut rest, token.by_sequence)?;
            if place.name.is_empty() && !token.by_sequence && count > 1 {
                return Err(TokenError::Malformed);
            }
        }
        match count > 0 && rest.is_empty() {
            true => Ok(token),
            false => Err(TokenError::Malformed),
        }
    }

    /// The places: at least one.
    pub fn places(&self) -> impl ExactSizeIterator<Item = Place<'a>> {
        let (mut rest, by_sequence) = (self.places, self.by_sequence);
        (0..self.count)
            .map(move |_| take(&mut rest, by_sequence).expect("checked when the token was decoded"))
    }

    /// Appends a token.
    ///
    /// # Panics
    /// If there are no places, places of both kinds, several with one without a topic, or more than a token holds.
    pub fn encode(places: &[Place<'_>], out: &mut Vec<u8>) {
        let start = out.len();
        let count = u16::try_from(places.len()).expect("fewer places than bytes");
        let by_sequence = matches!(places[0].next, Numbered::Sequence { .. });
        out.extend_from_slice(&[VERSION, u8::from(by_sequence)]);
        out.extend_from_slice(&count.to_le_bytes());
        for place in places {
            assert!(count == 1 || by_sequence || !place.name.is_empty());
            put(place, by_sequence, out);
        }
        let checksum = crc32c(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
        let size = out.len() - start;
        assert!(size <= TOKEN_SIZE_MAX, "a token of {size} bytes");
    }
}

fn put(place: &Place<'_>, by_sequence: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&place.epoch.get().to_le_bytes());
    match place.next {
        Numbered::Offset(offset) => {
            assert!(!by_sequence, "a token has places of one kind");
            out.extend_from_slice(&offset.get().to_le_bytes());
            out.push(u8::try_from(place.name.len()).expect("a topic has at most 255 bytes"));
            out.extend_from_slice(place.name.as_bytes());
        }
        Numbered::Sequence { log, sequence } => {
            assert!(by_sequence, "a token has places of one kind");
            out.extend_from_slice(&sequence.get().to_le_bytes());
            out.extend_from_slice(&log.get().to_le_bytes());
        }
    }
}

/// Takes a place from the front.
fn take<'a>(rest: &mut &'a [u8], by_sequence: bool) -> Result<Place<'a>, TokenError> {
    let mut bytes = |size| {
        let (taken, left) = rest.split_at_checked(size).ok_or(TokenError::Malformed)?;
        *rest = left;
        Ok(taken)
    };
    let head = bytes(16)?;
    let (epoch, number) = (Epoch::new(read_u64(head, 0)), read_u64(head, 8));
    if by_sequence {
        return Ok(Place {
            name: "",
            epoch,
            next: Numbered::Sequence {
                log: LogId::new(read_u16(bytes(2)?, 0)),
                sequence: Sequence::new(number),
            },
        });
    }
    let size = usize::from(bytes(1)?[0]);
    let name = match bytes(size)? {
        [] => "",
        name => topic::parse(name).map_err(|_| TokenError::Malformed)?,
    };
    Ok(Place {
        name,
        epoch,
        next: Numbered::Offset(Offset::new(number)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str, epoch: u64, offset: u64) -> Place<'_> {
        Place {
            name: topic,
            epoch: Epoch::new(epoch),
            next: Numbered::Offset(Offset::new(offset)),
        }
    }

    fn encoded(places: &[Place<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        Token::encode(places, &mut out);
        out
    }

    #[test]
    fn a_token_says_where_each_topic_goes_on() {
        let sequence = |log, sequence| Place {
            name: "",
            epoch: Epoch::new(5),
            next: Numbered::Sequence {
                log: LogId::new(log),
                sequence: Sequence::new(sequence),
            },
        };
        for places in [
            vec![at("news", 7, 1000)],
            vec![at("", 7, 1000)],
            vec![at("a", 1, 0), at("b/c", u64::MAX, u64::MAX)],
            vec![sequence(3, 9), sequence(4, 0)],
        ] {
            let bytes = encoded(&places);
            let token = Token::decode(&bytes).expect("a token");
            assert_eq!(token.places().collect::<Vec<_>>(), places);
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_makes_another_token() {
        let whole = encoded(&[at("a", 1, 0), at("b/c", 2, 3)]);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Token::decode(&bytes),
                Err(TokenError::Checksum),
                "bit {bit}"
            );
        }
        for size in 0..whole.len() {
            assert!(Token::decode(&whole[..size]).is_err(), "{size} bytes");
        }
    }

    /// A token of these bytes, with a checksum that is right.
    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut bytes = content.to_vec();
        bytes.extend_from_slice(&crc32c(content).to_le_bytes());
        bytes
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_reason() {
        let unknown = |version, kind| Err(TokenError::Unknown { version, kind });
        assert_eq!(Token::decode(&sealed(&[2, 0, 1, 0])), unknown(2, 0));
        assert_eq!(Token::decode(&sealed(&[1, 2, 1, 0])), unknown(1, 2));
        let malformed = Err(TokenError::Malformed);
        assert_eq!(Token::decode(&sealed(&[1, 0, 0, 0])), malformed, "no place");
        assert_eq!(
            Token::decode(&sealed(&[1, 0, 1, 0])),
            malformed,
            "a short one"
        );
        let mut nameless = encoded(&[at("", 1, 0)]);
        nameless.truncate(nameless.len() - 4);
        nameless[2] = 2;
        nameless.extend_from_within(4..21);
        assert_eq!(
            Token::decode(&sealed(&nameless)),
            malformed,
            "two without a topic"
        );
        let mut longer = encoded(&[at("a", 1, 0)]);
        longer.truncate(longer.len() - 4);
        longer.push(0);
        assert_eq!(Token::decode(&sealed(&longer)), malformed, "a byte is left");
        let size = TOKEN_SIZE_MAX + 1;
        assert_eq!(
            Token::decode(&vec![0; size]),
            Err(TokenError::Size { size })
        );
    }
}
