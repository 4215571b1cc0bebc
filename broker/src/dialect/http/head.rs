//! The head of a request, which comes before its body. Everything that two programs could read in two ways is refused.

use crate::dialect::command::DecodeProgress;
use crate::dialect::status::{self, Status};

/// Longest head of a request, in bytes.
pub(super) const HEAD_SIZE_MAX: usize = 16 << 10;
/// Longest target of a request, in bytes: the longest topic, each byte of it escaped, and its parameters.
const TARGET_SIZE_MAX: usize = 8 << 10;
/// Most header fields of a request.
pub(super) const FIELDS_MAX: usize = 64;

/// A header field, as it came.
pub(super) type Field<'a> = httparse::Header<'a>;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// The body has this many bytes, perhaps none.
    Sized(u64),
    /// The body is in chunks; the last one is marked.
    Chunked,
}

/// Why a request is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHead {
    pub(super) status: Status,
    pub(super) message: &'static str,
}

const fn bad(message: &'static str) -> BadHead {
    BadHead {
        status: status::BAD_REQUEST,
        message,
    }
}

const fn too_large(message: &'static str) -> BadHead {
    BadHead {
        status: status::HEAD_TOO_LARGE,
        message,
    }
}

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'f, 'a> {
    pub(super) method: &'a str,
    /// Path and parameters.
    pub(super) target: &'a str,
    /// Name, and perhaps port, of the server that is asked; empty where HTTP/1.0 leaves it out.
    pub(super) host: &'a str,
    /// The client speaks HTTP/1.0: it knows no chunks, and one request a connection.
    pub(super) is_1_0: bool,
    /// The client will ask again on the same connection.
    pub(super) keeps_alive: bool,
    /// The client waits to be told that its body is wanted.
    pub(super) expects: bool,
    pub(super) framing: Framing,
    pub(super) fields: &'f [Field<'a>],
}

impl<'a> Head<'_, 'a> {
    /// The value of a field that may occur once at most.
    pub(super) fn field(&self, name: &str) -> Option<&'a [u8]> {
        let mut named = self.fields.iter().filter(|field| is_named(field, name));
        named.next().map(|field| field.value)
    }

    /// The value of a field that may occur once at most, as text without blanks around it.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let value = std::str::from_utf8(self.field(name)?).ok()?;
        Some(value.trim_ascii())
    }
}

pub(super) fn is_named(field: &Field<'_>, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

/// Returns where the head ends that `input` begins with, behind its empty line; `None` if it has not come whole.
///
/// # Errors
/// When the head is too long, or its lines do not end in CR LF.
pub(super) fn end(input: &[u8], progress: &mut DecodeProgress) -> Result<Option<usize>, BadHead> {
    let searched = &input[..input.len().min(HEAD_SIZE_MAX)];
    // Back by as many bytes as a cut line end may have.
    let from = (progress.searched as usize)
        .saturating_sub(3)
        .min(searched.len());
    for (index, byte) in searched.iter().enumerate().skip(from) {
        let before = index.checked_sub(1).map(|index| searched[index]);
        match byte {
            b'\n' if before != Some(b'\r') => {
                return Err(bad("a line of the head ends without a carriage return"));
            }
            b'\n' if index >= 3 && searched[..index].ends_with(b"\r\n\r") => {
                return Ok(Some(index + 1));
            }
            0 => return Err(bad("the head holds a NUL")),
            b'\n' => {}
            _ if before == Some(b'\r') => {
                return Err(bad("a carriage return stands within a line of the head"));
            }
            _ => {}
        }
    }
    if input.len() >= HEAD_SIZE_MAX {
        return Err(too_large("the head is longer than 16 KiB"));
    }
    progress.searched = u32::try_from(searched.len()).expect("a head is short");
    Ok(None)
}

/// Reads a whole head. `fields` is where its header fields are put.
///
/// # Errors
/// Why the request is not served.
pub(super) fn read<'f, 'a>(
    head: &'a [u8],
    fields: &'f mut [Field<'a>; FIELDS_MAX],
) -> Result<Head<'f, 'a>, BadHead> {
    let mut request = httparse::Request::new(fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the head is not a request")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(too_large("the head has more than 64 fields"));
        }
        Err(httparse::Error::Version) => {
            return Err(BadHead {
                status: status::VERSION_NOT_SUPPORTED,
                message: "this server speaks HTTP/1.1 and HTTP/1.0",
            });
        }
        Err(error) => return Err(bad(why(error))),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(bad("the head is not a request"));
    };
    let fields: &'f [Field<'a>] = request.headers;
    if target.len() > TARGET_SIZE_MAX {
        return Err(BadHead {
            status: status::TARGET_TOO_LONG,
            message: "the path is longer than 8 KiB",
        });
    }
    let is_1_0 = minor == 0;
    let (host, target) = host_and_target(target, fields, is_1_0)?;
    Ok(Head {
        method,
        target,
        host,
        is_1_0,
        keeps_alive: keeps_alive(fields, is_1_0),
        expects: expects(fields, is_1_0)?,
        framing: framing(fields, is_1_0)?,
        fields,
    })
}

fn why(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field's name holds a byte that names may not have",
        httparse::Error::HeaderValue => "a field's value holds a byte that values may not have",
        httparse::Error::NewLine => "a line of the head does not end as lines do",
        _ => "the first line is not a request line",
    }
}

/// The host and the path that a request names. The target may hold the host, as in requests to proxies; the field is ignored then.
fn host_and_target<'a>(
    target: &'a str,
    fields: &[Field<'a>],
    is_1_0: bool,
) -> Result<(&'a str, &'a str), BadHead> {
    let mut named = fields.iter().filter(|field| is_named(field, "host"));
    let host = match (named.next(), named.next()) {
        (Some(field), None) => std::str::from_utf8(field.value).map_err(|_| bad(NO_HOST))?,
        (None, _) if is_1_0 => "",
        (None, _) => return Err(bad("the head names no host")),
        (Some(_), Some(_)) => return Err(bad("the head names the host twice")),
    };
    let host = host.trim_ascii();
    if !host.bytes().all(is_of_a_host) {
        return Err(bad(NO_HOST));
    }
    if target.starts_with('/') || target == "*" {
        return Ok((host, target));
    }
    let absolute = strip_scheme(target).ok_or(bad("the target is not a path"))?;
    let path = absolute.find(['/', '?']).unwrap_or(absolute.len());
    let (host, target) = absolute.split_at(path);
    if host.is_empty() || !host.bytes().all(is_of_a_host) {
        return Err(bad(NO_HOST));
    }
    Ok((host, if target.is_empty() { "/" } else { target }))
}

const NO_HOST: &str = "the host is not a name";

/// Returns what follows `http://` or `https://`, in upper or lower case.
fn strip_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (first, rest) = target.split_at_checked(scheme.len())?;
        first.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Whether a byte may stand in a host and its port. There are no user names and no escapes: two programs could read them in two
/// ways.
const fn is_of_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
}

fn keeps_alive(fields: &[Field<'_>], is_1_0: bool) -> bool {
    let (mut closes, mut keeps) = (false, false);
    for field in fields.iter().filter(|field| is_named(field, "connection")) {
        for word in field.value.split(|byte| *byte == b',') {
            closes |= word.trim_ascii().eq_ignore_ascii_case(b"close");
            keeps |= word.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
        }
    }
    !closes && (keeps || !is_1_0)
}

fn expects(fields: &[Field<'_>], is_1_0: bool) -> Result<bool, BadHead> {
    let mut expected = fields.iter().filter(|field| is_named(field, "expect"));
    match expected.next() {
        None => Ok(false),
        // An expectation in HTTP/1.0 is ignored (RFC 9110, 10.1.1).
        Some(_) if is_1_0 => Ok(false),
        Some(field)
            if field
                .value
                .trim_ascii()
                .eq_ignore_ascii_case(b"100-continue") =>
        {
            Ok(true)
        }
        Some(_) => Err(BadHead {
            status: status::EXPECTATION_FAILED,
            message: "the only expectation that this server knows is 100-continue",
        }),
    }
}

/// Returns how long the body is. A proxy in front that reads a length in another way would take a part of the body for a request:
/// only one length, given once, is accepted.
fn framing(fields: &[Field<'_>], is_1_0: bool) -> Result<Framing, BadHead> {
    let named = |name: &'static str| fields.iter().filter(move |field| is_named(field, name));
    let (mut lengths, mut codings) = (named("content-length"), named("transfer-encoding"));
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() || codings.next().is_some() {
        return Err(bad("the head says twice how long the body is"));
    }
    match (length, coding) {
        (None, None) => Ok(Framing::Sized(0)),
        (Some(_), Some(_)) => Err(bad("the head says in two ways how long the body is")),
        (None, Some(_)) if is_1_0 => Err(bad("HTTP/1.0 knows no chunks")),
        (None, Some(coding)) if coding.value.eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        (None, Some(_)) => Err(BadHead {
            status: status::NOT_IMPLEMENTED,
            message: "the only transfer encoding that this server knows is chunked, alone",
        }),
        (Some(length), None) => {
            let digits = length.value;
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(digits).ok().filter(|_| is_number);
            let length = text.and_then(|text| text.parse().ok());
            length
                .map(Framing::Sized)
                .ok_or(bad("the length of the body is not a number"))
        }
    }
}
