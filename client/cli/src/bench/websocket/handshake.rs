//! How a session begins: a request over HTTP, and its answer.

use std::fmt::Display;

use crate::bench::sse::ask::escape;
use crate::bench::sse::shown;
use crate::bench::sse::token::Next;

/// The subprotocol under which messages hold frames of Oyez.
pub const SUBPROTOCOL: &str = "oyez.v2";
/// What a client asks, between its host and its subprotocol. The key is that of the RFC's example for all: it
/// proves that the server knows the protocol, and is no secret.
const WISH: &str = "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// What the answer to that key is (RFC 6455, 1.3).
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Longest head that is believed to come.
const HEAD_MAX: usize = 16 << 10;
const HEAD_END: &[u8] = b"\r\n\r\n";
const STATUS: &[u8] = b"HTTP/1.1 101 ";

/// Where a session is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// Where any topic can be subscribed to.
    Any,
    /// That of a topic.
    Topic {
        /// Its name.
        name: &'a str,
        /// Where a subscriber had come to that comes back.
        from: Option<Next>,
    },
    /// That of another server, as it is written.
    Root,
}

/// Appends the request for a session, under a subprotocol if there is one.
pub fn ask(path: Path<'_>, host: impl Display, subprotocol: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"GET /");
    match path {
        Path::Any => out.extend_from_slice(b"api/v1/ws"),
        Path::Topic { name, from } => {
            escape(name, out);
            out.extend_from_slice(b"/ws");
            if let Some(Next { epoch, offset }) = from {
                let query = format!("?from=offset:{offset}&epoch={epoch:016x}");
                out.extend_from_slice(query.as_bytes());
            }
        }
        Path::Root => {}
    }
    out.extend_from_slice(format!(" HTTP/1.1\r\nHost: {host}{WISH}").as_bytes());
    if let Some(name) = subprotocol {
        out.extend_from_slice(format!("Sec-WebSocket-Protocol: {name}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The size of the answer at the start of `input` that begins a session under this subprotocol; none until it is whole.
///
/// # Errors
/// When the server refuses, or answers something else than was asked, in words.
pub(crate) fn begun(input: &[u8], subprotocol: Option<&str>) -> Result<Option<usize>, String> {
    let searched = &input[..input.len().min(HEAD_MAX)];
    let mut places = searched.windows(HEAD_END.len());
    let Some(end) = places.position(|bytes| bytes == HEAD_END) else {
        return match searched.len() {
            HEAD_MAX => Err("the server answers with a head that has no end".to_owned()),
            _ => Ok(None),
        };
    };
    let size = end + HEAD_END.len();
    let head = &input[..end];
    if !head.starts_with(STATUS) {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or(head);
        let (status, body) = (shown(line), shown(input[size..].trim_ascii()));
        return Err(format!(
            "the server refuses a WebSocket: it answers {status} and {body}"
        ));
    }
    if field(head, "sec-websocket-accept") != Some(ACCEPT.as_bytes()) {
        let head = shown(head);
        return Err(format!(
            "the server answers another key than that of the request: {head}"
        ));
    }
    let chosen = field(head, "sec-websocket-protocol");
    if chosen != subprotocol.map(str::as_bytes) || field(head, "sec-websocket-extensions").is_some()
    {
        let head = shown(head);
        return Err(format!(
            "the server chooses a subprotocol or an extension that was not asked for: {head}"
        ));
    }
    Ok(Some(size))
}

/// The value of a field, by its name in small letters.
fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (found, value) = line.split_at(colon);
        let is_it = found.eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| value[1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::websocket::answer;

    fn request(path: Path<'_>, subprotocol: Option<&str>) -> String {
        let mut out = Vec::new();
        ask(path, "[::1]:80", subprotocol, &mut out);
        String::from_utf8(out).unwrap()
    }

    const BEHIND: &str = " HTTP/1.1\r\nHost: [::1]:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    #[test]
    fn a_session_is_asked_for() {
        let any = format!("GET /api/v1/ws{BEHIND}Sec-WebSocket-Protocol: oyez.v2\r\n\r\n");
        assert_eq!(request(Path::Any, Some(SUBPROTOCOL)), any);
        let name = "a b/3";
        let topic = format!("GET /a%20b/3/ws{BEHIND}\r\n");
        assert_eq!(request(Path::Topic { name, from: None }, None), topic);
        let from = Some(Next {
            epoch: 0xab,
            offset: 7,
        });
        let again = format!("GET /a%20b/3/ws?from=offset:7&epoch=00000000000000ab{BEHIND}\r\n");
        assert_eq!(request(Path::Topic { name, from }, None), again);
        assert_eq!(request(Path::Root, None), format!("GET /{BEHIND}\r\n"));
    }

    #[test]
    fn an_answer_is_none_until_it_is_whole() {
        for subprotocol in [None, Some(SUBPROTOCOL)] {
            let mut head = Vec::new();
            answer::head(subprotocol, &mut head);
            for cut in 0..head.len() {
                assert_eq!(begun(&head[..cut], subprotocol), Ok(None), "{cut}");
            }
            let more = [&head[..], b"\x81\x00"].concat();
            assert_eq!(begun(&more, subprotocol), Ok(Some(head.len())));
            let other = subprotocol.is_none().then_some(SUBPROTOCOL);
            let error = begun(&head, other).unwrap_err();
            assert!(error.contains("not asked for"), "{error}");
        }
    }

    #[test]
    fn what_is_answered_instead_is_told() {
        let long = [b"HTTP/1.1 101 ", &[b'a'; HEAD_MAX][..]].concat();
        for (bytes, told) in [
            (
                &b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n{\"error\":1}\n"[..],
                "refuses a WebSocket: it answers \"HTTP/1.1 404 Not Found\" and \"{",
            ),
            (b"HTTP/1.1 101 Yes\r\n\r\n", "another key"),
            (
                b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: x\r\n\r\n",
                "another key",
            ),
            (
                b"HTTP/1.1 101 Yes\r\nsec-websocket-accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                "an extension that was not asked for",
            ),
            (&long, "no end"),
        ] {
            let error = begun(bytes, None).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
