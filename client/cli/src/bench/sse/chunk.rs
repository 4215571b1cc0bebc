//! The parts of a response that streams: its head, and its chunks.

use super::shown;

/// Longest head, and largest chunk, that are believed to come.
const HEAD_MAX: usize = 16 << 10;
const CHUNK_MAX: usize = 16 << 20;
const DIGITS_MAX: usize = 8;
const LINE_END: &[u8] = b"\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";
const VERSION: &[u8] = b"HTTP/1.1 ";

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// The head of a response that streams events in chunks.
    Head,
    Chunk(&'a [u8]),
}

/// The part at the start of `input`, and its size; none until it is whole.
///
/// A head begins with a letter that is no hexadecimal digit, so the bytes alone tell which it is.
///
/// # Errors
/// When the server refuses to stream, ends the stream, or sends what is no part, in words.
pub(crate) fn part(input: &[u8]) -> Result<Option<(Part<'_>, usize)>, String> {
    match input.first() {
        None => Ok(None),
        Some(b'H') => head(input),
        Some(_) => chunk(input),
    }
}

fn head(input: &[u8]) -> Result<Option<(Part<'_>, usize)>, String> {
    let is_head = input.iter().zip(VERSION).all(|(byte, due)| byte == due);
    let searched = &input[..input.len().min(HEAD_MAX)];
    let mut places = searched.windows(HEAD_END.len());
    match places.position(|bytes| bytes == HEAD_END) {
        _ if !is_head => Err(unexpected("a response", input)),
        None if searched.len() == HEAD_MAX => Err(unexpected("the end of a head", input)),
        None => Ok(None),
        Some(end) => {
            let size = end + HEAD_END.len();
            check_head(&input[..end], &input[size..])?;
            Ok(Some((Part::Head, size)))
        }
    }
}

/// Whether events will come in chunks. What has come of the body says why not.
fn check_head(head: &[u8], body: &[u8]) -> Result<(), String> {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let status = lines.next().unwrap_or_default();
    if !status[VERSION.len().min(status.len())..].starts_with(b"200 ") {
        let (status, body) = (shown(status), shown(body.trim_ascii()));
        return Err(format!(
            "the server refuses to stream: it answers {status} and {body}"
        ));
    }
    let (mut are_events, mut are_chunks) = (false, false);
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(unexpected("a field of a head", line));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-type") {
            are_events = value.starts_with(b"text/event-stream");
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            are_chunks = value.eq_ignore_ascii_case(b"chunked");
        }
    }
    if are_events && are_chunks {
        Ok(())
    } else {
        Err(unexpected("a stream of events in chunks", head))
    }
}

fn chunk(input: &[u8]) -> Result<Option<(Part<'_>, usize)>, String> {
    let no_chunk = || Err(unexpected("a chunk", input));
    let mut digits = 0;
    let mut size = 0;
    while let Some(value) = input.get(digits).copied().and_then(hexadecimal) {
        if digits == DIGITS_MAX {
            return no_chunk();
        }
        size = size << 4 | value;
        digits += 1;
    }
    let start = digits + LINE_END.len();
    let line_end = &input[digits..input.len().min(start)];
    if digits == 0 || size > CHUNK_MAX || !LINE_END.starts_with(line_end) {
        return no_chunk();
    }
    if line_end.len() < LINE_END.len() {
        return Ok(None);
    }
    if size == 0 {
        return Err("lost: the server ended the stream".to_owned());
    }
    let end = start + size;
    match input.get(end..end + LINE_END.len()) {
        Some(LINE_END) => Ok(Some((
            Part::Chunk(&input[start..end]),
            end + LINE_END.len(),
        ))),
        Some(_) => Err(unexpected("the end of a chunk", &input[end..])),
        None => Ok(None),
    }
}

fn hexadecimal(byte: u8) -> Option<usize> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| digit.try_into().ok())
}

fn unexpected(what: &str, came: &[u8]) -> String {
    let came = shown(came);
    format!("the server sends what has no place in a stream: {what} was to come, and {came} came")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nDate: now\r\ncontent-type: text/event-stream\r\n\
        Transfer-Encoding:chunked\r\n\r\n";

    #[test]
    fn a_part_is_none_until_it_is_whole() {
        let parts: [(&[u8], Part<'_>); 4] = [
            (HEAD, Part::Head),
            (b"00000003\r\n:\n\n\r\n", Part::Chunk(b":\n\n")),
            (b"3\r\nabc\r\n", Part::Chunk(b"abc")),
            (b"0a\r\n0123456789\r\n", Part::Chunk(b"0123456789")),
        ];
        for (bytes, expected) in parts {
            for cut in 0..bytes.len() {
                assert_eq!(part(&bytes[..cut]), Ok(None), "{cut} of {expected:?}");
            }
            assert_eq!(part(bytes), Ok(Some((expected, bytes.len()))));
            let more = [bytes, b"and more"].concat();
            assert_eq!(part(&more), Ok(Some((expected, bytes.len()))));
        }
    }

    #[test]
    fn what_came_instead_is_told() {
        let long = [b"HTTP/1.1 200 OK\r\nA: ", &[b'a'; HEAD_MAX][..]].concat();
        for (bytes, told) in [
            (
                &b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n{\"error\":1}\n"[..],
                "404 Not Found\" and \"{",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
                "a stream of events",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
                "in chunks",
            ),
            (
                b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
                "a field of a head was to come, and \"no field\" came",
            ),
            (b"HTTP/1.1\n\r\n\r\n", "a response"),
            (b"HTTP/2 ", "a response was to come, and \"HTTP/2 \" came"),
            (b"HELLO", "a response"),
            (&long, "the end of a head"),
            (
                b"\0\0\0\x20",
                "a chunk was to come, and \"\\x00\\x00\\x00 \" came",
            ),
            (b"data: x\n\n", "a chunk"),
            (b"\r\n", "a chunk"),
            (b"000000003\r\n", "a chunk"),
            (b"3;name=value\r\n", "a chunk"),
            (b"3\n:\n\n\n", "a chunk"),
            (b"ffffffff\r\n", "a chunk"),
            (
                b"3\r\nabcd\r\n",
                "the end of a chunk was to come, and \"d\\r\\n\" came",
            ),
            (b"0\r\n\r\n", "the server ended the stream"),
        ] {
            let error = part(bytes).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
