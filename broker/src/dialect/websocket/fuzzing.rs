//! Entry point of the fuzz target of frames (`broker/fuzz`): bytes as a client sends them over WebSocket, at once and in pieces,
//! against a reader that has all of them and takes no shortcut. Only built for it, and for the unit test that runs its seeds.

use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;

use crate::dialect::command::{Command, Dialect};
use crate::dialect::http::Scratch;
use crate::dialect::http::fuzzing::{cut, rules};
use crate::dialect::websocket::unframe::{Accepts, Piece, Unframing};
use crate::dialect::websocket::{Heard, decode, hear};

/// Most bytes of a text: as few as fuzzing can exceed.
const TEXT_MAX: usize = 300;
/// What is accepted, by what is fuzzed.
const KINDS: [Accepts; 3] = [
    Accepts {
        text: true,
        binary: false,
        size_max: TEXT_MAX as u64,
    },
    Accepts {
        text: false,
        binary: true,
        size_max: u64::MAX,
    },
    Accepts {
        text: true,
        binary: true,
        size_max: TEXT_MAX as u64,
    },
];

/// The result of input.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Message {
        is_text: bool,
        bytes: Vec<u8>,
    },
    Ping(Vec<u8>),
    Pong,
    /// The last one that counts.
    Close(u16),
    Fault(u16),
    /// More may come, of a message that has begun with these bytes, or of none.
    Open {
        begun: Vec<u8>,
        is_at_rest: bool,
    },
}

/// Decodes any bytes as frames of a client. The first says what is accepted, the second how the others are cut: a naive reader has
/// the same result as the dialect at once and in pieces. Each text is a command, or refused.
///
/// # Panics
/// When it has not, or a record is malformed.
pub fn check_frames(input: &[u8]) {
    let Some(([kind, seed], input)) = input.split_first_chunk::<2>() else {
        return;
    };
    let accepts = KINDS[usize::from(*kind) % KINDS.len()];
    let expected = Naive::read(input, accepts);
    assert_eq!(unframed([input].into_iter(), accepts), expected);
    assert_eq!(unframed(cut(input, *seed), accepts), expected);
    if accepts.text && accepts.binary {
        return;
    }
    check_heard(heard([input].into_iter(), accepts), &expected, accepts);
    check_heard(heard(cut(input, *seed), accepts), &expected, accepts);
}

/// Takes the framing of WebSocket off pieces, one by one.
fn unframed<'a>(pieces: impl Iterator<Item = &'a [u8]>, accepts: Accepts) -> Vec<Told> {
    let (mut state, mut begun, mut told) = (Unframing::default(), Vec::new(), Vec::new());
    for mut input in pieces {
        loop {
            match state.next(&mut input, accepts, &mut begun) {
                Ok(Piece::Nothing) => break,
                Ok(Piece::Message { ends: false, .. }) => {}
                Ok(Piece::Message { is_text, .. }) => {
                    let bytes = std::mem::take(&mut begun);
                    told.push(Told::Message { is_text, bytes });
                }
                Ok(Piece::Ping) => told.push(Told::Ping(state.control().to_vec())),
                Ok(Piece::Pong) => told.push(Told::Pong),
                Ok(Piece::Close(code)) => {
                    told.push(Told::Close(code));
                    return told;
                }
                Err(fault) => {
                    told.push(Told::Fault(fault.code));
                    return told;
                }
            }
        }
        assert!(input.is_empty(), "what is not told is kept");
    }
    let is_at_rest = state.is_at_rest();
    assert!(!is_at_rest || begun.is_empty());
    told.push(Told::Open { begun, is_at_rest });
    told
}

/// The result of pieces for a session: what the messages hold, what is answered, and how it closes.
fn heard<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    accepts: Accepts,
) -> (Vec<u8>, Vec<u8>, Heard) {
    let (mut state, mut out, mut answers) = (Unframing::default(), Vec::new(), Vec::new());
    let dialect = match accepts.text {
        true => Dialect::Json,
        false => Dialect::WebSocket,
    };
    let mut last = Heard::default();
    for piece in pieces {
        let means = (&mut out, &mut answers);
        last = hear(&mut state, piece, (dialect, TEXT_MAX), means);
        if last.closes.is_some() {
            break;
        }
    }
    (out, answers, last)
}

/// Asserts that a session has the result of the naive reader, and takes lines of text as commands.
fn check_heard(
    (out, answers, last): (Vec<u8>, Vec<u8>, Heard),
    expected: &[Told],
    accepts: Accepts,
) {
    let (mut content, mut pongs) = (Vec::new(), Vec::new());
    for told in expected {
        match told {
            Told::Message { is_text, bytes } => {
                let blank = |byte: &u8| match byte {
                    b'\n' if *is_text => b'\r',
                    byte => *byte,
                };
                content.extend(bytes.iter().map(blank));
                content.extend(is_text.then_some(b'\n'));
            }
            Told::Ping(payload) => {
                pongs.extend([0x8a, payload.len() as u8]);
                pongs.extend(payload);
            }
            Told::Pong | Told::Open { .. } => {}
            Told::Close(code) => assert_eq!((last.closes, last.fault), (Some(*code), None)),
            Told::Fault(code) => {
                assert_eq!(last.closes, Some(*code));
                assert_eq!(last.fault.map(|fault| fault.code), Some(*code));
            }
        }
    }
    assert_eq!(answers, pongs);
    // Behind it lies the message that has begun, or what there was of one that is refused.
    let begun = out.strip_prefix(&content[..]).expect("all that was said");
    if let Some(Told::Open { begun: known, .. }) = expected.last() {
        assert_eq!((begun.len(), last.closes), (known.len(), None));
    }
    if accepts.text {
        assert!(!begun.contains(&b'\n'), "no line ends but with its message");
        take_lines(&content);
    }
}

/// Checks that each line is a command. A record that is built for it is one that a native publisher may send.
fn take_lines(lines: &[u8]) {
    let (rules, mut scratch) = (rules(Limits::DEFAULT), Scratch::default());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let (command, encoded) = decode(&line[..line.len() - 1], &rules, &mut scratch);
        match command {
            Command::Publish(record) => {
                let verified = Record::verify(record.bytes(), &rules.limits);
                assert_eq!(verified, Ok(record));
                assert!(encoded.is_some());
            }
            Command::Refuse(refusal) => assert!(!refusal.message.is_empty()),
            Command::Subscribe(_) | Command::Unsubscribe { .. } | Command::Ping { .. } => {}
            other => panic!("no line asks for {other:?}"),
        }
    }
}

/// Reads frames from the front of all that has come.
struct Naive {
    accepts: Accepts,
    told: Vec<Told>,
    /// The message that has begun: whether it is text, its bytes so far, and how many its frames have.
    message: Option<(bool, Vec<u8>, u128)>,
}

impl Naive {
    fn read(mut input: &[u8], accepts: Accepts) -> Vec<Told> {
        let mut naive = Self {
            accepts,
            told: Vec::new(),
            message: None,
        };
        let mut is_whole = true;
        while is_whole && !input.is_empty() {
            match naive.take_frame(&mut input) {
                Ok(taken) => is_whole = taken,
                Err(last) => {
                    naive.told.push(last);
                    return naive.told;
                }
            }
        }
        let is_at_rest = is_whole && naive.message.is_none();
        let begun = naive.message.map_or_else(Vec::new, |(_, bytes, _)| bytes);
        naive.told.push(Told::Open { begun, is_at_rest });
        naive.told
    }

    /// Takes a frame. Returns whether it is whole, or what ends everything.
    fn take_frame(&mut self, input: &mut &[u8]) -> Result<bool, Told> {
        const PROTOCOL: Told = Told::Fault(1002);
        let [first, second, rest @ ..] = *input else {
            return Ok(false);
        };
        let sizes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let is_masked = second & 0x80 != 0;
        let header = sizes + if is_masked { 4 } else { 0 };
        if rest.len() < header {
            return Ok(false);
        }
        let (header, rest) = rest.split_at(header);
        let (sizes, mask) = header.split_at(sizes);
        let size = match sizes {
            [] => u64::from(second & 0x7f),
            sizes => sizes
                .iter()
                .fold(0, |size, byte| size << 8 | u64::from(*byte)),
        };
        let opcode = first & 0x0f;
        let least = [0, 126, 65_536][[0, 2, 8]
            .iter()
            .position(|it| *it == sizes.len())
            .unwrap_or(0)];
        let is_control = opcode >= 8;
        let is_last = first & 0x80 != 0;
        let is_wrong = first & 0x70 != 0
            || ![0, 1, 2, 8, 9, 10].contains(&opcode)
            || !is_masked
            || !(least..1 << 63).contains(&size)
            || (is_control && (!is_last || size > 125));
        if is_wrong {
            return Err(PROTOCOL);
        }
        let here = rest.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        let is_whole = here as u64 == size;
        let plain = (0..here).map(|at| rest[at] ^ mask[at % 4]).collect();
        *input = &rest[here..];
        match (is_control, is_whole) {
            (true, true) => self.take_control(opcode, plain).map(|()| true),
            (true, false) => Ok(false),
            (false, _) => {
                self.take_part(opcode, size, plain, is_last && is_whole)?;
                Ok(is_whole)
            }
        }
    }

    fn take_control(&mut self, opcode: u8, payload: Vec<u8>) -> Result<(), Told> {
        match (opcode, &payload[..]) {
            (9, _) => self.told.push(Told::Ping(payload)),
            (10, _) => self.told.push(Told::Pong),
            (_, []) => return Err(Told::Close(1000)),
            (_, [_]) => return Err(Told::Fault(1002)),
            (_, [high, low, reason @ ..]) => {
                let code = u16::from(*high) << 8 | u16::from(*low);
                let none_says = [1004, 1005, 1006].contains(&code);
                let is_known = (1000..=1014).contains(&code) && !none_says;
                return Err(match is_known || (3000..5000).contains(&code) {
                    false => Told::Fault(1002),
                    true if std::str::from_utf8(reason).is_err() => Told::Fault(1007),
                    true => Told::Close(code),
                });
            }
        }
        Ok(())
    }

    /// Takes what has come of a frame of a message.
    fn take_part(&mut self, opcode: u8, size: u64, plain: Vec<u8>, ends: bool) -> Result<(), Told> {
        let (is_text, mut bytes, before) = match (opcode, self.message.take()) {
            (0, Some(message)) => message,
            (0, None) | (_, Some(_)) => return Err(Told::Fault(1002)),
            (opcode, None) => (opcode == 1, Vec::new(), 0),
        };
        let is_taken = match is_text {
            true => self.accepts.text,
            false => self.accepts.binary,
        };
        if !is_taken {
            return Err(Told::Fault(1003));
        }
        let size = before + u128::from(size);
        if size > u128::from(self.accepts.size_max) {
            return Err(Told::Fault(1009));
        }
        bytes.extend(plain);
        if is_text && let Err(error) = std::str::from_utf8(&bytes) {
            let goes_on = error.error_len().is_none() && !ends;
            if !goes_on {
                return Err(Told::Fault(1007));
            }
        }
        match ends {
            true => self.told.push(Told::Message { is_text, bytes }),
            false => self.message = Some((is_text, bytes, size)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_seeds_of_frames_mean_the_same_to_a_naive_reader_wherever_they_are_cut() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/frames");
        let mut count = 0;
        for seed in std::fs::read_dir(seeds).expect("a directory") {
            let seed = std::fs::read(seed.expect("an entry").path()).expect("a seed");
            for kind in 0..KINDS.len() as u8 {
                for cut in 0..=16 {
                    check_frames(&[&[kind, cut], &seed[2..]].concat());
                    // Without its end, too.
                    let size = 2 + (seed.len() - 2) * usize::from(cut) / 17;
                    check_frames(&[&[kind, cut], &seed[2..size]].concat());
                }
            }
            count += 1;
        }
        assert!(count >= 20, "{count} seeds");
    }
}
