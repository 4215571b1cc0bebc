//! The interface of another server's protocol, and what such protocols have in common: lines, sizes in digits, slots in
//! digits. Pure.

use std::ops::Range;

/// Longest payload that is accepted.
pub(super) const PAYLOAD_MAX: usize = 16 << 20;
/// Longest line of a protocol that has lines.
const LINE_MAX: usize = 64 << 10;
pub(super) const LINE_END: &[u8] = b"\r\n";
/// A slot as a publication carries it in a protocol of text: hexadecimal digits.
pub(super) const SLOT_DIGITS: usize = 8;

/// How to speak a protocol.
pub(super) trait Dialect: Send + Sync + 'static {
    const NAME: &'static str;

    /// Characters that a topic may not contain.
    const FORBIDDEN: &'static [char];

    /// Publications without an answer that a connection may have.
    const RECORDS_MAX: u32;

    /// See [`Target::answers_at_once`](oyez_cli::bench::Target::answers_at_once).
    const ANSWERS_AT_ONCE: bool = true;

    /// Whether a WebSocket session is requested, and [opened](Said::Open) or already complete, before anything else is
    /// sent.
    const KNOCKS: bool = false;

    /// Whether a publisher names the topic.
    const HAS_TOPICS: bool = true;

    /// Appends what a subscriber sends: hello, and its subscription.
    fn join(topic: Option<&str>, out: &mut Vec<u8>);

    /// Appends what a publisher of these topics sends first.
    fn greet(topics: &[String], out: &mut Vec<u8>);

    /// Appends the messages, and what the server answers when it has taken them in.
    fn compose(topic: &str, payloads: &[&[u8]], out: &mut Vec<u8>);

    /// Returns the payload of the message at the start of `publication`, and the size of that message; `None` where no
    /// more follow.
    fn payload(publication: &[u8]) -> Option<(Range<usize>, usize)>;

    /// Writes the slot that the answer brings back; `last` is where the last message begins.
    fn number(publication: &mut [u8], last: usize, slot: u32);

    /// Appends the answer to a ping.
    fn pong(out: &mut Vec<u8>);

    /// Decodes the first whole message in `input`. Returns its meaning and its size; `None` until it is whole.
    ///
    /// # Errors
    /// When the server refuses something or the bytes are invalid, in words.
    fn decode(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String>;
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Message(&'a [u8]),
    /// The session of WebSocket that was asked for begins.
    Open,
    /// The connection stands.
    Ready,
    /// The connection stands, and so does the subscription where there is one.
    Subscribed,
    /// The publication with this slot is taken in; without one, the oldest of its connection.
    Answer(Option<u32>),
    Ping,
    Nothing,
}

/// The line at the start of `input` without its end, and its size with it; none until it is whole.
pub(super) fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, String> {
    let searched = &input[..input.len().min(LINE_MAX)];
    match searched.windows(2).position(|pair| pair == b"\r\n") {
        Some(size) => Ok(Some((&input[..size], size + 2))),
        None if searched.len() == LINE_MAX => {
            Err("the server sends a line without an end".to_owned())
        }
        None => Ok(None),
    }
}

/// A decimal size of at most [`PAYLOAD_MAX`].
pub(super) fn size(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let size: usize = text.parse().ok()?;
    (size <= PAYLOAD_MAX && digits.first().is_some_and(u8::is_ascii_digit)).then_some(size)
}

/// Writes a slot over the digits of another.
pub(super) fn write_slot(digits: &mut [u8], slot: u32) {
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        let value = slot >> (4 * place) & 0xf;
        *digit = char::from_digit(value, 16).map_or(b'0', |digit| digit as u8);
    }
}

/// Reads what [`write_slot`] wrote.
pub(super) fn read_slot(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    (digits.len() == SLOT_DIGITS)
        .then(|| u32::from_str_radix(text, 16).ok())
        .flatten()
}

/// What a server says, for an error.
pub(super) fn quoted(text: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    format!(
        "{:?}",
        String::from_utf8_lossy(&text[..text.len().min(SHOWN_MAX)])
    )
}
