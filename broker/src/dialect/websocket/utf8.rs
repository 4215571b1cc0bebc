//! Checks UTF-8 that comes in pieces, which may be cut within a character.

/// The state of a text at the end of what has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8 {
    /// The beginning of a character whose rest has not come.
    begun: [u8; 4],
    size: usize,
}

impl Utf8 {
    /// Takes more of the text. Returns whether it may still be valid.
    pub(crate) fn go_on(&mut self, mut bytes: &[u8]) -> bool {
        while self.size > 0 {
            let Some((byte, rest)) = bytes.split_first() else {
                return true;
            };
            bytes = rest;
            self.begun[self.size] = *byte;
            self.size += 1;
            match std::str::from_utf8(&self.begun[..self.size]) {
                Ok(_) => self.size = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_none() => {
                let rest = &bytes[error.valid_up_to()..];
                self.begun[..rest.len()].copy_from_slice(rest);
                self.size = rest.len();
                true
            }
            Err(_) => false,
        }
    }

    /// Whether the text may end here.
    pub(crate) const fn is_whole(&self) -> bool {
        self.size == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_may_be_cut_anywhere() {
        let text = "κόσμε \u{10ffff} \u{800} plain";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut utf8 = Utf8::default();
                for piece in [
                    &text.as_bytes()[..first],
                    &text.as_bytes()[first..second],
                    &text.as_bytes()[second..],
                ] {
                    assert!(utf8.go_on(piece), "{first} {second}");
                }
                assert!(utf8.is_whole());
            }
        }
    }

    #[test]
    fn invalid_text_is_found_with_its_first_wrong_byte() {
        for (text, wrong) in [
            (&b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80"[..], 6),
            (b"a\x80", 1),
            (b"\xed\xa0\x80", 1),
            (b"\xc0\xaf", 0),
            (b"\xe2\x82a", 2),
        ] {
            let mut utf8 = Utf8::default();
            let mut goes_on = |byte: &u8| utf8.go_on(std::slice::from_ref(byte));
            assert_eq!(text.iter().take_while(|byte| goes_on(byte)).count(), wrong);
        }
        let mut utf8 = Utf8::default();
        assert!(utf8.go_on(b"a\xe2\x82") && !utf8.is_whole());
    }
}
