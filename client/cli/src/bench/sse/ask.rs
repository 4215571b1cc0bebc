//! The request of a subscriber.

use std::fmt::Display;

use super::token::Next;

/// What a subscriber asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a, H> {
    pub(crate) host: H,
    pub(crate) topic: &'a str,
    /// Where it had come to, when it comes back.
    pub(crate) from: Option<Next>,
}

impl<H: Display> Ask<'_, H> {
    /// Appends the request.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"GET /");
        escape(self.topic, out);
        let host = format!("/sse HTTP/1.1\r\nHost: {}\r\n", self.host);
        out.extend_from_slice(host.as_bytes());
        out.extend_from_slice(b"Accept: text/event-stream\r\n");
        if let Some(next) = self.from {
            out.extend_from_slice(b"Last-Event-ID: ");
            next.write(out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a topic as the path that names it.
pub(crate) fn escape(topic: &str, out: &mut Vec<u8>) {
    for byte in topic.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte);
            }
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(topic: &str, from: Option<Next>) -> String {
        let host = "[::1]:80";
        let mut out = Vec::new();
        Ask { host, topic, from }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_subscriber_asks_for_its_topic() {
        let expected = "GET /a%20b/%C3%A9%25/3/sse HTTP/1.1\r\nHost: [::1]:80\r\nAccept: text/event-stream\r\n\r\n";
        assert_eq!(request("a b/é%/3", None), expected);
    }

    #[test]
    fn who_comes_back_says_where_it_was() {
        let next = Next {
            epoch: 1,
            offset: 2,
        };
        let request = request("a", Some(next));
        let (_, id) = request.split_once("Last-Event-ID: ").unwrap();
        assert_eq!(Next::read(id.trim_end().as_bytes()), Ok(next));
        assert!(id.ends_with("\r\n\r\n"));
    }
}
