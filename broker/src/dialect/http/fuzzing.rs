//! Entry points of the fuzz targets (`broker/fuzz`): bytes as the input of a connection that speaks HTTP, decoded at once and in
//! pieces. Only built for them, and for the unit test that runs their seeds.
//!
//! The dialect has a result for every input and no memory but [`DecodeProgress`], so that a request cannot depend on where its
//! bytes are cut. There is one exception: a request that is refused by its head is answered before its body has come, and ends
//! the connection then.

use oyez_protocol::limits::Limits;
use oyez_protocol::lz4;
use oyez_protocol::message::Messages;
use oyez_protocol::record::Record;

use crate::dialect::command::{Command, DecodeProgress};
use crate::dialect::exchange::Exchange;
use crate::dialect::http::{Front, Scratch, decode};
use crate::dialect::proxy::{self, Header};
use crate::dialect::rules::Rules;
use crate::dialect::status;

/// Most bytes of a head; of the line that begins a chunk; of the fields behind the last chunk.
const HEAD_SIZE_MAX: usize = 16 << 10;
const LINE_SIZE_MAX: usize = 256;
const TRAILERS_SIZE_MAX: usize = 4 << 10;
/// The head of a request whose body is fuzzed.
const CHUNKED: &[u8] =
    b"POST /demo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A request, with a copy of all that it holds.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Publish {
        topic: String,
        messages: Vec<Published>,
    },
    Refuse {
        code: u16,
        message: String,
    },
    /// A stream, or a text.
    Other(String),
}

/// A message that is published.
#[derive(Debug, PartialEq, Eq)]
struct Published {
    key: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    payload: Vec<u8>,
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// One command, or several records.
    asked: Vec<Asked>,
    /// What its answer depends on, except its number.
    exchange: Exchange,
}

/// The input of a connection, as far as it has come.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    requests: Vec<Request>,
    /// Bytes of whole requests.
    used: usize,
    /// Nothing more is read: the connection closes, or is a stream.
    is_over: bool,
}

/// Decodes any bytes as requests. The first two say how the others are cut. The requests are the same at once, in pieces of
/// random sizes, and in others.
///
/// # Panics
/// When they are not, or a record is malformed.
pub fn check_requests(input: &[u8]) {
    let Some((seeds, input)) = input.split_first_chunk::<2>() else {
        return;
    };
    let rules = rules(Limits::DEFAULT);
    let whole = hear([input].into_iter(), &rules);
    for seed in seeds {
        compare(&whole, &hear(cut(input, *seed), &rules));
    }
}

/// Decodes any bytes as a body in chunks, under small limits. The first byte says how the others are cut. A reader that takes
/// byte after byte has the same result.
///
/// # Panics
/// When it has not.
pub fn check_chunks(input: &[u8]) {
    let Some((seed, body)) = input.split_first() else {
        return;
    };
    let rules = rules(Limits {
        record_size_max: 1_024,
        raw_size_max: 256,
    });
    let input = [CHUNKED, body].concat();
    let whole = hear([&input[..]].into_iter(), &rules);
    compare(&whole, &hear(cut(&input, *seed), &rules));
    let (state, used) = Naive::read(body, rules.body_size_max());
    match (whole.requests.first(), state) {
        (None, State::Size | State::Data(_) | State::DataEnd(_) | State::Trailers) => {}
        (Some(request), State::Bad(code)) => {
            assert!(request.exchange.closes);
            assert!(matches!(request.asked[..], [Asked::Refuse { code: is, .. }] if is == code));
        }
        (Some(request), State::Whole(expected)) => {
            assert!(!request.exchange.closes && whole.used >= CHUNKED.len() + used);
            match &request.asked[..] {
                [Asked::Publish { messages, .. }] => {
                    assert!(messages.len() == 1 && messages[0].payload == expected);
                }
                [Asked::Refuse { code, .. }] => {
                    // A record has less room than a body.
                    assert!(*code == status::TOO_LARGE.code && expected.len() > 240);
                }
                other => panic!("{other:?}"),
            }
        }
        (request, state) => panic!("{request:?}, but {state:?}"),
    }
}

pub(in crate::dialect) fn rules(limits: Limits) -> Rules {
    Rules {
        hosts: vec![".example.com".to_owned()],
        origins: vec!["https://app.example.com".to_owned()],
        limits,
    }
}

/// Cuts `input` into pieces whose sizes come from a seed: all small, or small and large ones.
pub(in crate::dialect) fn cut(mut input: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let (mut state, most) = (u32::from(seed), 1 << (seed % 8));
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = 1 + (state >> 16) as usize % most;
        let (piece, rest) = input.split_at(size.min(input.len()));
        input = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Reads pieces as a shard does: a request that is not whole is kept, and tried again when there is as much as it needs.
fn hear<'a>(pieces: impl Iterator<Item = &'a [u8]>, rules: &Rules) -> Heard {
    let (mut heard, mut scratch) = (Heard::default(), Scratch::default());
    let (mut kept, mut need, mut progress) = (Vec::new(), 1, DecodeProgress::default());
    let need_max =
        HEAD_SIZE_MAX + 2 * rules.body_size_max() + 2 * LINE_SIZE_MAX + TRAILERS_SIZE_MAX;
    for piece in pieces {
        kept.extend_from_slice(piece);
        while !heard.is_over && kept.len() >= need {
            match take(&kept, &mut progress, rules, &mut scratch) {
                Err(total) => {
                    assert!(total > kept.len() && total <= need_max, "needs {total}");
                    need = total;
                }
                Ok((request, size)) => {
                    assert!(size > 0 && size <= kept.len(), "{size} bytes");
                    // A request that cannot be taken now is decoded again.
                    let again = take(&kept, &mut progress, rules, &mut scratch);
                    assert_eq!(again.as_ref(), Ok(&(request, size)));
                    let (request, _) = again.expect("it was one just now");
                    let is_stream = matches!(&request.asked[..], [Asked::Other(what)] if what.starts_with("Subscribe"));
                    heard.is_over = request.exchange.closes || is_stream;
                    heard.used += if request.exchange.closes { 0 } else { size };
                    heard.requests.push(request);
                    kept.drain(..size);
                    (need, progress) = (1, DecodeProgress::default());
                }
            }
        }
    }
    heard
}

/// The request at the front of `input` and its size, or the size that the input needs.
fn take(
    input: &[u8],
    progress: &mut DecodeProgress,
    rules: &Rules,
    scratch: &mut Scratch,
) -> Result<(Request, usize), usize> {
    match decode(input, progress, (rules, true), None, scratch) {
        Front::Need { total, expects, .. } => {
            progress.continued |= expects;
            Err(total)
        }
        Front::Request {
            commands,
            exchange,
            size,
            encoded,
        } => {
            let each = (0..commands.len()).map(|index| asked(&commands.get(index), rules));
            let asked: Vec<Asked> = each.collect();
            let publishes = |asked: &Asked| matches!(asked, Asked::Publish { .. });
            assert!(!asked.is_empty() && (encoded.is_some() || !asked.iter().all(publishes)));
            let exchange = Exchange {
                number: 0,
                ..exchange
            };
            Ok((Request { asked, exchange }, size))
        }
        Front::Upgrade {
            upgrade,
            says,
            size,
        } => {
            let other = format!("{upgrade:?} {}", String::from_utf8_lossy(says));
            let asked = vec![Asked::Other(other)];
            Ok((
                Request {
                    asked,
                    exchange: Exchange::LAST,
                },
                size,
            ))
        }
    }
}

fn asked(command: &Command<'_>, rules: &Rules) -> Asked {
    match command {
        Command::Publish(record) => published(record, rules),
        Command::Refuse(refusal) => Asked::Refuse {
            code: refusal.status.code,
            message: refusal.message.to_owned(),
        },
        other => Asked::Other(format!("{other:?}")),
    }
}

/// A record that was built is one that a native publisher may send.
fn published(record: &Record<'_>, rules: &Rules) -> Asked {
    let verified = Record::verify(record.bytes(), &rules.limits);
    assert_eq!(verified.as_ref(), Ok(record));
    let mut scratch = lz4::Scratch::new();
    let raw = scratch.open(record).expect("it was built here");
    let messages = Messages::new(raw, record.count()).map(|message| {
        let message = message.expect("it was built here");
        let headers = message.headers.into_iter();
        Published {
            key: message.key.map(<[u8]>::to_vec),
            headers: headers
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
            payload: message.payload.to_vec(),
        }
    });
    Asked::Publish {
        topic: record.topic().to_owned(),
        messages: messages.collect(),
    }
}

/// Reads any bytes as the header of a PROXY protocol: the result is the same byte after byte and at once, and the bytes that are
/// waited for have a bound.
///
/// # Panics
/// When it is not.
pub fn check_proxy(input: &[u8]) {
    let whole = proxy::read(input);
    for size in 0..=input.len() {
        match proxy::read(&input[..size]) {
            Ok(Header::Need(need)) => {
                assert!(
                    need > size && need <= PROXY_SIZE_MAX,
                    "{size} bytes need {need}"
                );
                assert!(size < input.len() || whole == Ok(Header::Need(need)));
            }
            told => {
                assert_eq!(told, whole, "after {size} bytes");
                return;
            }
        }
    }
}

/// Most bytes of the header of a PROXY protocol.
const PROXY_SIZE_MAX: usize = 16 + (2 << 10);

/// Two ways to read the same bytes have the same result, but for a refusal that did not wait for its body.
fn compare(whole: &Heard, pieces: &Heard) {
    for (one, other) in whole.requests.iter().zip(&pieces.requests) {
        if one == other {
            continue;
        }
        for request in [one, other] {
            assert!(
                matches!(request.asked[..], [Asked::Refuse { .. }]),
                "{one:?}, {other:?}"
            );
        }
        assert!(other.exchange.closes, "{one:?}, {other:?}");
        return;
    }
    assert_eq!(whole, pieces);
}

/// Where a naive reader of chunks stands.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In the line that begins a chunk.
    Size,
    /// This many bytes of a chunk are missing.
    Data(usize),
    /// This many bytes of the line end behind a chunk are missing.
    DataEnd(usize),
    /// In the fields behind the last chunk.
    Trailers,
    /// The body is whole.
    Whole(Vec<u8>),
    /// The body is malformed, for this reason.
    Bad(u16),
}

/// Takes a body byte after byte.
struct Naive {
    state: State,
    /// What has come of a line, without its end.
    line: Vec<u8>,
    has_return: bool,
    payload: Vec<u8>,
    /// Bytes of a body that are not payload, up to its last chunk; and of whole fields behind that.
    lines: usize,
    trailers: usize,
    max: usize,
}

impl Naive {
    fn read(body: &[u8], max: usize) -> (State, usize) {
        let mut naive = Self {
            state: State::Size,
            line: Vec::new(),
            has_return: false,
            payload: Vec::new(),
            lines: 0,
            trailers: 0,
            max,
        };
        let mut used = 0;
        for byte in body {
            if matches!(naive.state, State::Whole(_) | State::Bad(_)) {
                break;
            }
            used += 1;
            naive.take(*byte);
        }
        (naive.state, used)
    }

    fn take(&mut self, byte: u8) {
        const BAD: State = State::Bad(status::BAD_REQUEST.code);
        self.state = match (&self.state, byte) {
            (State::Data(1), _) => {
                self.payload.push(byte);
                State::DataEnd(2)
            }
            (State::Data(missing), _) => {
                let missing = missing - 1;
                self.payload.push(byte);
                State::Data(missing)
            }
            // Both bytes are looked at together.
            (State::DataEnd(2), _) => {
                self.line.push(byte);
                State::DataEnd(1)
            }
            (State::DataEnd(_), _) => {
                self.line.push(byte);
                self.lines += 2;
                match std::mem::take(&mut self.line) == b"\r\n" {
                    true => State::Size,
                    false => BAD,
                }
            }
            (State::Size | State::Trailers, b'\n') if self.has_return => self.end_line(),
            (State::Size | State::Trailers, b'\r') if !self.has_return => {
                self.has_return = true;
                return;
            }
            (State::Size | State::Trailers, b'\n') => BAD,
            (State::Size, _) if !self.has_return && self.line.len() < LINE_SIZE_MAX - 1 => {
                self.line.push(byte);
                return;
            }
            (State::Trailers, _)
                if !self.has_return && self.trailers + self.line.len() < TRAILERS_SIZE_MAX =>
            {
                self.line.push(byte);
                return;
            }
            _ => BAD,
        };
    }

    fn end_line(&mut self) -> State {
        self.has_return = false;
        let line = std::mem::take(&mut self.line);
        let size = line.len() + 2;
        if self.state == State::Trailers {
            self.trailers += size;
            return match line.is_empty() {
                true => State::Whole(std::mem::take(&mut self.payload)),
                false if self.trailers > TRAILERS_SIZE_MAX => State::Bad(status::BAD_REQUEST.code),
                false => State::Trailers,
            };
        }
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let text = String::from_utf8_lossy(digits).into_owned();
        let digits = match line.contains(&b';') {
            true => text.trim_end_matches([' ', '\t']),
            false => &text,
        };
        let is_size = (1..=8).contains(&digits.len())
            && digits.chars().all(|digit| digit.is_ascii_hexdigit());
        self.lines += size;
        match usize::from_str_radix(digits, 16).ok().filter(|_| is_size) {
            None => State::Bad(status::BAD_REQUEST.code),
            Some(_) if self.lines > self.max => State::Bad(status::TOO_LARGE.code),
            Some(0) => State::Trailers,
            Some(size) if self.payload.len() + size > self.max => {
                State::Bad(status::TOO_LARGE.code)
            }
            Some(size) => State::Data(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn each_seed(target: &str, check: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        let seeds = std::fs::read_dir(seeds.join(target)).expect("a directory");
        let mut count = 0;
        for seed in seeds {
            let bytes = std::fs::read(seed.expect("an entry").path()).expect("a seed");
            check(&bytes);
            // Other cuts than the one it has.
            for first in 0..=16 {
                let mut bytes = bytes.clone();
                bytes[0] = first;
                check(&bytes);
            }
            count += 1;
        }
        assert!(count >= 12, "{count} seeds of {target}");
    }

    #[test]
    fn the_seeds_of_fuzz_targets_mean_the_same_wherever_they_are_cut() {
        each_seed("request", check_requests);
        each_seed("chunks", check_chunks);
        each_seed("proxy", check_proxy);
    }
}
