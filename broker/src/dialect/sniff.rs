//! Which dialect a connection speaks, by its first bytes.
//!
//! | first bytes | dialect |
//! |---|---|
//! | bytes 2 and 3 zero, byte 4 the kind of a hello | native |
//! | letters, as methods begin, or an empty line | HTTP |
//! | `16 03` | TLS, which is refused |
//! | `10`, a length, `00 04 M Q T T` or as much of it as there is room for | MQTT, which is refused |
//! | `PROXY ` or the signature of its version 2 | the header of a PROXY protocol; the dialect is decided by what follows it |
//! | anything else | native, which refuses it: it may be a hello that was damaged on its way |

use crate::dialect::command::Dialect;
use crate::dialect::proxy;

/// Bytes that dialects are told apart by. The shortest request and the shortest hello have more.
pub(crate) const SNIFF_SIZE: usize = 8;

/// Kind of a native hello.
const HELLO_KIND: u8 = 2;

/// Returns the dialect of a connection that begins with `input`; `None` if that is too short to tell.
pub(crate) fn sniff(input: &[u8]) -> Option<Dialect> {
    let first: &[u8; SNIFF_SIZE] = input.first_chunk()?;
    if proxy::begins(first) {
        return Some(Dialect::Proxy);
    }
    Some(match first {
        [_, _, 0, 0, HELLO_KIND, ..] => Dialect::Native,
        [0x16, 0x03, ..] => Dialect::Tls,
        [0x10, rest @ ..] if begins_as_a_connect(rest) => Dialect::Mqtt,
        [b'\r', b'\n', rest @ ..] if begins_as_a_request(rest) => Dialect::Http,
        first if begins_as_a_request(first) => Dialect::Http,
        _ => Dialect::Native,
    })
}

/// Whether bytes are a length, 1 to 4 bytes of which the last is below 128, and the name of MQTT, `MQTT` or once `MQIsdp`.
fn begins_as_a_connect(bytes: &[u8]) -> bool {
    let length = bytes.iter().position(|byte| *byte < 0x80);
    let name = length.map_or(&[][..], |last| &bytes[last + 1..]);
    let begins = |whole: &[u8]| name.len() >= 3 && name.iter().zip(whole).all(|(a, b)| a == b);
    begins(b"\0\x04MQTT") || begins(b"\0\x06MQIsdp")
}

/// Whether bytes are those of a method, or of a method and what follows it.
fn begins_as_a_request(bytes: &[u8]) -> bool {
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_graphic = |byte: &u8| matches!(byte, b'!'..=b'~' | b' ' | b'\r' | b'\n');
    !method.is_empty() && method.iter().all(u8::is_ascii_uppercase) && bytes.iter().all(is_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_a_connection_speaks() {
        let hello = |first: u8| [first, 0x50, 0, 0, HELLO_KIND, 0, 0, 0];
        let cases: &[(&[u8], Dialect)] = &[
            // A hello may begin like anything else: its length comes first.
            (&hello(b'P'), Dialect::Native),
            (&hello(b'G'), Dialect::Native),
            (&hello(0x10), Dialect::Native),
            (&hello(0x16), Dialect::Native),
            (b"GET / HT", Dialect::Http),
            (b"OPTIONS ", Dialect::Http),
            (b"PROPFIND", Dialect::Http),
            (b"POST /\xc3\xa9", Dialect::Native),
            (b"PRI * HT", Dialect::Http),
            (b"\r\nGET / ", Dialect::Http),
            (b"GET /\r\n\r", Dialect::Http),
            (&[0x16, 3, 1, 2, 0, 1, 0, 1], Dialect::Tls),
            (&[0x16, 3, 3, 0, 60, 1, 0, 0], Dialect::Tls),
            (b"PROXY TC", Dialect::Proxy),
            (b"\r\n\r\n\0\r\nQ", Dialect::Proxy),
            (b"\x10\x0c\x00\x04MQTT", Dialect::Mqtt),
            (b"\x10\x80\x01\x00\x04MQT", Dialect::Mqtt),
            (b"\x10\x0e\x00\x06MQIs", Dialect::Mqtt),
            // A damaged hello, and noise.
            (&[0x50, 0, 0, 0, 3, 0, 0, 0], Dialect::Native),
            (b"get / ht", Dialect::Native),
            (b" GET / H", Dialect::Native),
            (&[0xff; 8], Dialect::Native),
            (&[0; 8], Dialect::Native),
        ];
        for (first, dialect) in cases {
            assert_eq!(sniff(first), Some(*dialect), "{first:?}");
            let mut longer = first.to_vec();
            longer.extend_from_slice(b"and more");
            assert_eq!(sniff(&longer), Some(*dialect), "{first:?}");
            for cut in 0..SNIFF_SIZE {
                assert_eq!(sniff(&first[..cut]), None, "{first:?}");
            }
        }
    }
}
