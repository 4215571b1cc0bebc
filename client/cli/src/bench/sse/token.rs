//! The id of an event: a resume token of one place, as text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::token::Token;
use oyez_protocol::{Epoch, Offset};

use super::shown;

/// Room for a token of a topic that the request names: 25 bytes.
const TOKEN_BYTES: usize = 32;

/// What comes behind an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The history that the number belongs to.
    pub epoch: u64,
    /// Number of the next message in its topic.
    pub offset: u64,
}

impl Next {
    /// Reads an id.
    ///
    /// # Errors
    /// When it is none of a stream of one topic, in words.
    pub(crate) fn read(id: &[u8]) -> Result<Self, String> {
        Self::decode(id).ok_or_else(|| format!("an event came whose id is no token: {}", shown(id)))
    }

    fn decode(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        let size = URL_SAFE_NO_PAD.decode_slice(id, &mut bytes).ok()?;
        let token = Token::decode(&bytes[..size]).ok()?;
        let place = token.places().next()?;
        match place.next {
            Numbered::Offset(offset) => Some(Self {
                epoch: place.epoch.get(),
                offset: offset.get(),
            }),
            Numbered::Sequence { .. } => None,
        }
    }

    /// Appends it as an id.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let place = Place {
            name: "",
            epoch: Epoch::new(self.epoch),
            next: Numbered::Offset(Offset::new(self.offset)),
        };
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        Token::encode(&[place], &mut token);
        out.extend_from_slice(URL_SAFE_NO_PAD.encode(token).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_comes_behind_its_event() {
        let next = Next {
            epoch: u64::MAX - 1,
            offset: 1 << 40,
        };
        let mut id = Vec::new();
        next.write(&mut id);
        assert_eq!(id.len(), 34);
        assert_eq!(Next::read(&id), Ok(next));
        for place in 0..id.len() {
            let mut damaged = id.clone();
            damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
            assert!(Next::read(&damaged).is_err(), "{place}");
            assert!(Next::read(&id[..place]).is_err(), "{place}");
        }
    }

    #[test]
    fn what_is_no_token_is_shown() {
        for id in ["", "7", "****", &"A".repeat(34), &"A".repeat(5_000)] {
            let error = Next::read(id.as_bytes()).unwrap_err();
            assert!(error.contains("is no token: \""), "{error}");
        }
    }
}
