//! What a broker sends to a subscriber, for a bare server that sends the same, and for tests.

use super::sum::data;
use super::token::Next;

/// Appends a head, with as many bytes as that of the broker.
pub fn head(out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
        Content-Type: text/event-stream\r\nX-Content-Type-Options: nosniff\r\n\
        Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\
        Transfer-Encoding: chunked\r\n\r\n",
    );
}

/// Appends the chunk that a stream begins with.
pub fn begin(next: Next, out: &mut Vec<u8>) {
    chunk(out, |out| {
        out.extend_from_slice(b"retry: 2000\n");
        id(next, out);
        out.extend_from_slice(b"event: $place\ndata: {}\n\n");
    });
}

/// Appends a record's chunk; `first` is the place of its first message.
pub fn record<'a>(first: Next, payloads: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    chunk(out, |out| {
        for (offset, payload) in (first.offset + 1..).zip(payloads) {
            id(Next { offset, ..first }, out);
            if std::str::from_utf8(payload).is_err() {
                out.extend_from_slice(b"event: $binary\n");
            }
            for line in data(payload).split('\n') {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
            out.push(b'\n');
        }
    });
}

fn id(next: Next, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    next.write(out);
    out.push(b'\n');
}

fn chunk(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let line = out.len();
    out.extend_from_slice(b"00000000\r\n");
    let begin = out.len();
    write(out);
    let digits = format!("{:08x}", out.len() - begin);
    out[line..line + digits.len()].copy_from_slice(digits.as_bytes());
    out.extend_from_slice(b"\r\n");
}
