//! Frames of WebSocket: what a client says, and what it has heard.

/// Begins a text message in one frame.
const TEXT: u8 = 0x81;
/// A frame that is masked.
const MASKED: u8 = 0x80;

/// A short text message as clients send it. Its mask is zeros, so that it reads as it is.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![TEXT];
    match u8::try_from(text.len()) {
        Ok(size) if size < 126 => frame.push(MASKED | size),
        _ => {
            let size = u16::try_from(text.len()).expect("a command is short");
            frame.push(MASKED | 126);
            frame.extend(size.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// The text messages that are whole, a line for each.
pub(crate) fn texts(mut rest: &[u8]) -> Vec<u8> {
    let mut texts = Vec::new();
    while let Some((first, payload, behind)) = front(rest) {
        if first == TEXT {
            texts.extend_from_slice(payload);
            texts.push(b'\n');
        }
        rest = behind;
    }
    texts
}

/// The first frame of what the broker sends, and what is behind it.
fn front(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&size, rest) = rest.split_first()?;
    let (size, rest) = match size {
        126 => {
            let (size, rest) = rest.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*size)), rest)
        }
        127 => {
            let (size, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*size), rest)
        }
        size => (size.into(), rest),
    };
    let size = usize::try_from(size).expect("a frame fits into memory");
    let (payload, behind) = rest.split_at_checked(size)?;
    Some((first, payload, behind))
}
