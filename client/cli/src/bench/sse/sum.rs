//! A number that stands for the payloads of a record, as they are read out of its events.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oyez_protocol::checksum::{crc32c, crc32c_append};

/// The sum of a record's payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(u32);

impl Sum {
    /// Adds the checksum of the next payload's data.
    pub(crate) fn add(&mut self, data: u32) {
        self.0 = crc32c_append(self.0, &data.to_le_bytes());
    }

    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

/// The sum of what a browser is given for these payloads.
pub(crate) fn of(payloads: &[&[u8]]) -> u32 {
    let mut sum = Sum::default();
    for payload in payloads {
        sum.add(crc32c(data(payload).as_bytes()));
    }
    sum.get()
}

/// The data of a payload's event: text whose lines end with a line feed, or base64.
pub(crate) fn data(payload: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(payload) {
        Ok(text) if text.contains('\r') => {
            Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
        }
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(STANDARD.encode(payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_what_a_browser_is_given() {
        for (payload, expected) in [
            (&b""[..], ""),
            (b"a\r\nb\rc\n", "a\nb\nc\n"),
            (b"\r\r\n", "\n\n"),
            (b"\xff\xfe\n", "//4K"),
        ] {
            assert_eq!(data(payload), expected);
        }
    }

    #[test]
    fn the_sum_is_of_these_payloads_in_this_order() {
        let sum = of(&[b"a", b"b"]);
        assert_eq!(sum, of(&[b"a", b"b"]));
        for others in [&[&b"b"[..], b"a"][..], &[b"a"], &[b"ab", b""], &[b"a\nb"]] {
            assert_ne!(sum, of(others), "{others:?}");
        }
    }
}
