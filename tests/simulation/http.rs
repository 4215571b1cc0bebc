//! What clients over HTTP say and hear, as bytes and values. What is heard is held to the letter: anything that is not as the
//! broker says it is a failure of the broker.

use std::time::Duration;

use oyez_client::ConnectionError;
use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, Frame, decode};

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let field = fields.find(|field| field.0 == name)?;
        Some(&field.1)
    }

    /// Whether the connection ends behind the response.
    pub(super) fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }

    /// The class of its status, as it is counted.
    pub(super) fn class(&self) -> String {
        format!("http {}xx", self.status / 100)
    }
}

/// A response with all of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

/// The head that `input` begins with, and its size; none if it has not come whole.
///
/// # Errors
/// When it is none.
pub(super) fn head(input: &[u8]) -> Result<Option<(Head, usize)>, String> {
    let Some(end) = find(input, b"\r\n\r\n") else {
        return match input.len() > 4_096 {
            true => Err("the head of a response has no end".to_owned()),
            false => Ok(None),
        };
    };
    let text = std::str::from_utf8(&input[..end]).map_err(|_| "a head that is no text")?;
    let wrong = || format!("a head that is none: {text:?}");
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let rest = line.strip_prefix("HTTP/1.1 ").ok_or_else(wrong)?;
    let (status, name) = rest.split_once(' ').ok_or_else(wrong)?;
    let status: u16 = status.parse().map_err(|_| wrong())?;
    if !(100..600).contains(&status) || name.is_empty() {
        return Err(wrong());
    }
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(wrong)?;
        let name = name.to_ascii_lowercase();
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let is_value = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !is_name || !is_value || fields.iter().any(|field| field.0 == name) {
            return Err(wrong());
        }
        fields.push((name, value.to_owned()));
    }
    Ok(Some((Head { status, fields }, end + 4)))
}

/// The response that `input` begins with, and its size; none if it has not come whole.
///
/// # Errors
/// When it is none.
pub(super) fn answer(input: &[u8]) -> Result<Option<(Answer, usize)>, String> {
    let Some((head, size)) = head(input)? else {
        return Ok(None);
    };
    if head.status == 100 {
        let body = Vec::new();
        return Ok(Some((Answer { head, body }, size)));
    }
    if head.field("date").is_none() {
        return Err(format!("a response without a date: {head:?}"));
    }
    let length = head
        .field("content-length")
        .and_then(|text| text.parse().ok());
    let length: usize = length.ok_or_else(|| format!("a response without an end: {head:?}"))?;
    let Some(body) = input.get(size..size + length) else {
        return Ok(None);
    };
    let body = body.to_vec();
    Ok(Some((Answer { head, body }, size + length)))
}

/// The goodbye that all of `input` is: a broker that goes before it has read a request does not know that it is one.
pub(super) fn goodbye(input: &[u8]) -> Option<ConnectionError> {
    let Ok(Decoded::Frame { frame, size }) = decode(input, &Limits::HARD) else {
        return None;
    };
    let Frame::Goodbye(goodbye) = frame else {
        return None;
    };
    (size == input.len()).then(|| ConnectionError::Goodbye {
        code: goodbye.code,
        retry_after: Duration::ZERO,
        reason: goodbye.reason.to_owned(),
    })
}

/// Takes chunks apart.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// What has come and was not taken.
    input: Vec<u8>,
    /// Bytes of the chunk that has begun which are to come, with the end of its line.
    left: usize,
    pub(super) is_over: bool,
}

impl Chunks {
    /// Adds what has come, and gives what it holds.
    ///
    /// # Errors
    /// When it is no chunks.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.input.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut at = 0;
        while at < self.input.len() {
            let rest = &self.input[at..];
            if self.is_over {
                return Err(format!("{} bytes follow the last chunk", rest.len()));
            }
            if self.left > 2 {
                let size = rest.len().min(self.left - 2);
                out.extend_from_slice(&rest[..size]);
                (self.left, at) = (self.left - size, at + size);
                continue;
            }
            if self.left > 0 {
                if rest.len() < 2 {
                    break;
                }
                if !rest.starts_with(b"\r\n") {
                    return Err("a chunk is not as long as its line says".to_owned());
                }
                (self.left, at) = (0, at + 2);
                continue;
            }
            let Some(end) = find(rest, b"\r\n") else {
                if rest.len() > 20 {
                    return Err("a chunk does not begin with its length".to_owned());
                }
                break;
            };
            let digits = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            let size = usize::from_str_radix(digits, 16);
            let size = size.map_err(|_| format!("{digits:?} is no length of a chunk"))?;
            if size == 0 {
                if rest.len() < end + 4 {
                    break;
                }
                if &rest[end..end + 4] != b"\r\n\r\n" {
                    return Err("the last chunk is followed by something".to_owned());
                }
                (self.is_over, at) = (true, at + end + 4);
                continue;
            }
            (self.left, at) = (size + 2, at + end + 2);
        }
        self.input.drain(..at);
        Ok(out)
    }

    /// Whether what has come ends where a chunk does.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.input.is_empty()
    }
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

/// The bytes that base64 stands for, with `+`, `/` and padding, or, without padding, with `-` and `_`.
pub(super) fn base64(text: &[u8], is_url: bool) -> Option<Vec<u8>> {
    let text = match is_url {
        true => text,
        false if text.len().is_multiple_of(4) => {
            let text = text.strip_suffix(b"=").unwrap_or(text);
            text.strip_suffix(b"=").unwrap_or(text)
        }
        false => return None,
    };
    let (last, last_but_one) = if is_url { (b'_', b'-') } else { (b'/', b'+') };
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text {
        let value = match *byte {
            byte @ b'A'..=b'Z' => byte - b'A',
            byte @ b'a'..=b'z' => byte - b'a' + 26,
            byte @ b'0'..=b'9' => byte - b'0' + 52,
            byte if byte == last_but_one => 62,
            byte if byte == last => 63,
            _ => return None,
        };
        (bits, count) = (bits << 6 | u32::from(value), count + 6);
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // What is left over says nothing.
    (bits == 0 && count < 6).then_some(out)
}
