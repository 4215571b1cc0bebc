//! Messages that are text: their names in letters, then lines that follow from them, with all that a stream of events could
//! take for something else.

use super::message::MessageId;

/// Bytes of a text at least: its first line.
pub(super) const TEXT_SIZE_MIN: usize = 40;
/// What a text begins with, and no other payload.
const MARK: u8 = b'#';

/// What texts are made of.
const PIECES: [&str; 16] = [
    "oyez",
    " ",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    ": ",
    "data: ",
    "id: 1\n",
    "\u{e4}",
    "\u{20ac}",
    "\u{1f600}",
    "\u{feff}",
    "\0",
    "\n\r",
    "event: $gap\n",
];

/// The text of a message, of `size` bytes.
pub(super) fn text(id: MessageId, size: usize) -> String {
    let MessageId {
        topic,
        publisher,
        number,
    } = id;
    let mut out = format!("#{topic}.{publisher}.{number}.{size}\n");
    let mut state =
        u64::from(number) << 16 | u64::from(publisher) << 8 | u64::from(topic) | 1 << 63;
    while out.len() < size {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let piece = PIECES[usize::try_from(state >> 60).expect("four bits")];
        match out.len() + piece.len() <= size {
            true => out.push_str(piece),
            false => out.push('x'),
        }
        // Letters between, which do not repeat.
        let word = format!("{:x}", state >> 32);
        let room = size - out.len();
        out.push_str(&word[..word.len().min(room)]);
    }
    out
}

/// The message that a text is; none when it is not one, to the last byte.
pub(super) fn read(bytes: &[u8]) -> Option<MessageId> {
    let (id, size) = name(bytes)?;
    (size == bytes.len() && text(id, size).as_bytes() == bytes).then_some(id)
}

/// The text that a browser sees as `seen`, to which all ends of lines are one.
pub(super) fn restored(seen: &str) -> Option<String> {
    let (id, size) = name(seen.as_bytes())?;
    let text = text(id, size);
    (text.replace("\r\n", "\n").replace('\r', "\n") == seen).then_some(text)
}

/// The name that a text begins with, and its size.
fn name(bytes: &[u8]) -> Option<(MessageId, usize)> {
    let rest = bytes.strip_prefix(&[MARK])?;
    let line = rest.split(|byte| *byte == b'\n').next()?;
    let mut parts = std::str::from_utf8(line).ok()?.split('.');
    let mut part = || parts.next();
    let id = MessageId {
        topic: part()?.parse().ok()?,
        publisher: part()?.parse().ok()?,
        number: part()?.parse().ok()?,
    };
    let size = part()?.parse().ok()?;
    // As large as no message is: it was not made here.
    (size < 1 << 24).then_some((id, size))
}
