//! The body of a request: of a given size, or in chunks (RFC 9112, 7.1).

use oyez_protocol::planted::{Bug, planted};

use crate::dialect::command::DecodeProgress;
use crate::dialect::http::head::Framing;
use crate::dialect::status::{self, Status};

/// Longest line that begins a chunk, with its extensions, in bytes.
const LINE_SIZE_MAX: usize = 256;
/// Most bytes of the fields behind the last chunk.
const TRAILERS_SIZE_MAX: usize = 4 << 10;
const LINE_END: &[u8] = b"\r\n";

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The input has to be this long at least before more is known.
    Need(usize),
    /// The body is whole, and the request ends here.
    Whole {
        /// Bytes of the whole request.
        size: usize,
    },
}

/// Why a body is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadBody {
    pub(super) status: Status,
    pub(super) message: &'static str,
}

const TOO_LARGE: BadBody = BadBody {
    status: status::TOO_LARGE,
    message: "the body is larger than this broker takes",
};

const TOO_MANY_CHUNKS: BadBody = BadBody {
    status: status::TOO_LARGE,
    message: "the lines of the body's chunks take more bytes than a body may have",
};

const fn bad_chunks(message: &'static str) -> BadBody {
    BadBody {
        status: status::BAD_REQUEST,
        message,
    }
}

/// Looks how much has come of the body that follows a head of `head` bytes in `input`.
///
/// # Errors
/// When the body is too long, or is malformed.
pub(super) fn find(
    input: &[u8],
    head: usize,
    (framing, max): (Framing, usize),
    progress: &mut DecodeProgress,
) -> Result<Body, BadBody> {
    match framing {
        Framing::Sized(size) => {
            let size = usize::try_from(size).ok().filter(|size| *size <= max);
            let size = head + size.ok_or(TOO_LARGE)?;
            Ok(match input.len() < size {
                true => Body::Need(size),
                false => Body::Whole { size },
            })
        }
        Framing::Chunked => find_chunks(input, head, max, progress),
    }
}

/// Adds the payload of a whole body to `out`.
pub(super) fn copy(input: &[u8], head: usize, framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Sized(_) => out.extend_from_slice(&input[head..]),
        Framing::Chunked => {
            let mut rest = &input[head..];
            while let Ok(Some(line)) = read_line(rest)
                && line.chunk > 0
            {
                let (chunk, after) = rest[line.size..].split_at(line.chunk);
                out.extend_from_slice(chunk);
                rest = &after[LINE_END.len()..];
                if planted(Bug::TakesOneChunk) {
                    return;
                }
            }
        }
    }
}

/// Goes on where it stopped the last time, so that a body in many pieces is not read from its beginning for each of them.
fn find_chunks(
    input: &[u8],
    head: usize,
    max: usize,
    progress: &mut DecodeProgress,
) -> Result<Body, BadBody> {
    let mut at = head.max(progress.chunks as usize);
    let mut payload = progress.payload as usize;
    loop {
        let Some(line) = read_line(&input[at..])? else {
            return Ok(Body::Need(input.len() + 1));
        };
        // Bytes that are not payload are kept until the body is whole, too.
        if at + line.size - head - payload > max {
            return Err(TOO_MANY_CHUNKS);
        }
        if line.chunk == 0 {
            return find_end(input, at + line.size);
        }
        if line.chunk > max - payload {
            return Err(TOO_LARGE);
        }
        let chunk_end = at + line.size + line.chunk;
        let next = chunk_end + LINE_END.len();
        if input.len() < next {
            return Ok(Body::Need(next));
        }
        if &input[chunk_end..next] != LINE_END {
            return Err(bad_chunks("a chunk is not as long as its line says"));
        }
        (at, payload) = (next, payload + line.chunk);
        let narrow = |value| u32::try_from(value).expect("input is bounded");
        (progress.chunks, progress.payload) = (narrow(at), narrow(payload));
    }
}

/// The line that begins a chunk.
struct Line {
    /// Bytes of the line with its end.
    size: usize,
    /// Bytes of the chunk behind it; 0 in the last one.
    chunk: usize,
}

/// Reads the line at the front of `input`; `None` if it has not come whole. Extensions are ignored, as they must be.
fn read_line(input: &[u8]) -> Result<Option<Line>, BadBody> {
    let searched = &input[..input.len().min(LINE_SIZE_MAX)];
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let Some(end) = searched.iter().position(is_end) else {
        return match searched.len() {
            LINE_SIZE_MAX => Err(bad_chunks("the line of a chunk is longer than 256 bytes")),
            _ => Ok(None),
        };
    };
    match input.get(end..end + LINE_END.len()) {
        None if input[end] == b'\r' => return Ok(None),
        Some(LINE_END) => {}
        _ => {
            return Err(bad_chunks("the line of a chunk does not end as lines do"));
        }
    }
    let line = &input[..end];
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (size, rest) = line.split_at(digits.count());
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    let extended = &rest[blanks.count()..];
    let text = std::str::from_utf8(size).unwrap_or_default();
    // More digits are more bytes than any body may have.
    let chunk = usize::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() <= 8);
    match chunk {
        Some(chunk)
            if extended.is_empty() == rest.is_empty()
                && extended.first().is_none_or(|byte| *byte == b';') =>
        {
            Ok(Some(Line {
                size: end + LINE_END.len(),
                chunk,
            }))
        }
        _ => Err(bad_chunks("a chunk does not say how long it is")),
    }
}

/// Finds the empty line behind the last chunk. Fields before it are ignored.
fn find_end(input: &[u8], mut at: usize) -> Result<Body, BadBody> {
    let begin = at;
    loop {
        let rest = &input[at..];
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let end = rest.iter().position(is_end);
        let line = end.map(|end| rest.get(end..end + LINE_END.len()));
        let (end, is_whole) = match (end, line) {
            (Some(end), Some(Some(LINE_END))) => (end, true),
            (Some(end), Some(None)) if rest[end] == b'\r' => (end, false),
            (None, _) => (rest.len(), false),
            _ => {
                return Err(bad_chunks(
                    "a line behind the chunks does not end as lines do",
                ));
            }
        };
        if at + end - begin > TRAILERS_SIZE_MAX {
            return Err(bad_chunks(
                "more than 4 KiB of fields follow the last chunk",
            ));
        }
        if !is_whole {
            return Ok(Body::Need(input.len() + 1));
        }
        at += end + LINE_END.len();
        if end == 0 {
            return Ok(Body::Whole { size: at });
        }
    }
}
