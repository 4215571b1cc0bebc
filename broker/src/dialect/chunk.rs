//! Chunks of HTTP/1.1, for streams that are sent in them.

use oyez_protocol::planted::{Bug, planted};

use crate::dialect::form::Style;

/// Digits of a chunk's size: always the same number, so that the chunk's line can be written before its size is known.
const DIGITS: usize = 8;
/// The last chunk, which ends a stream.
pub(crate) const LAST: &[u8] = b"0\r\n\r\n";

/// Puts what `write` adds into a chunk, if the stream is chunked.
pub(crate) fn in_chunk<T>(
    style: Style,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    if !style.is_chunked() {
        return write(out);
    }
    let line = out.len();
    out.extend_from_slice(&[b'0'; DIGITS]);
    out.extend_from_slice(b"\r\n");
    let begin = out.len();
    let written = write(out);
    let mut size = out.len() - begin;
    if size > 4 << 10 && planted(Bug::ChunkTooShort) {
        size -= 1;
    }
    let digits = format!("{size:0DIGITS$x}");
    out[line..line + DIGITS].copy_from_slice(digits.as_bytes());
    if out.len() == begin {
        out.truncate(line); // An empty one would be the last.
    } else {
        out.extend_from_slice(b"\r\n");
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(style: Style, bytes: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        in_chunk(style, &mut out, |out| out.extend_from_slice(bytes));
        out.split_off(6)
    }

    #[test]
    fn a_chunk_says_how_long_it_is() {
        assert_eq!(written(Style::CHUNKED, b"hello"), b"00000005\r\nhello\r\n");
        assert!(written(Style::CHUNKED, &[b'x'; 70_000]).starts_with(b"00011170\r\nxx"));
        assert_eq!(written(Style::default(), b"hello"), b"hello");
        assert_eq!(written(Style::CHUNKED, b""), b"", "it would end the stream");
    }
}
