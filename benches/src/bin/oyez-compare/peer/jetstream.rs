//! NATS with JetStream, which keeps what is published. A publisher asks for a stream in files that holds the topics of
//! the bench; an existing stream with the same configuration serves as well. A publication is one NATS message per
//! message; the last one names an inbox, where the server answers when it keeps that message, and so all before it.
//! With `sync_interval: always` it has synced them by then.

use std::ops::Range;

use serde_json::{Value, json};

use super::dialect::{
    Dialect, LINE_END, SLOT_DIGITS, Said, line, quoted, read_slot, size, write_slot,
};
use super::nats::{HELLO, NONSENSE, Nats, inbox};

/// Name of the subscription that hears of the stream; an inbox is named by its slot.
const CREATION: &[u8] = b"stream";
const CREATE_SUBJECT: &str = "$JS.API.STREAM.CREATE";
/// How a server with JetStream announces it.
const HAS_JETSTREAM: &[u8] = b"\"jetstream\":true";

/// A NATS server that keeps what is published.
pub(super) struct JetStream;

impl Dialect for JetStream {
    const NAME: &'static str = "nats jetstream";
    const FORBIDDEN: &'static [char] = Nats::FORBIDDEN;
    const RECORDS_MAX: u32 = Nats::RECORDS_MAX;

    /// Appends nothing: this target has no subscribers.
    fn join(topic: Option<&str>, out: &mut Vec<u8>) {
        Nats::join(topic, out);
    }

    fn greet(topics: &[String], out: &mut Vec<u8>) {
        let name = stream_name(topics);
        let configuration = json!({
            "name": name,
            "subjects": topics,
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "num_replicas": 1,
        })
        .to_string();
        let answer = format!("{}.stream", inbox());
        out.extend_from_slice(HELLO);
        let request = format!(
            "SUB {answer} {}\r\nPUB {CREATE_SUBJECT}.{name} {answer} {}\r\n{configuration}\r\n",
            String::from_utf8_lossy(CREATION),
            configuration.len()
        );
        out.extend_from_slice(request.as_bytes());
    }

    /// An inbox is subscribed to with every publication: the server makes nothing of it when it knows it.
    fn compose(topic: &str, payloads: &[&[u8]], out: &mut Vec<u8>) {
        let (inbox, slot) = (inbox(), "0".repeat(SLOT_DIGITS));
        for (number, payload) in payloads.iter().enumerate() {
            let size = payload.len();
            let head = if number + 1 == payloads.len() {
                format!("SUB {inbox}.{slot} {slot}\r\nPUB {topic} {inbox}.{slot} {size}\r\n")
            } else {
                format!("PUB {topic} {size}\r\n")
            };
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(payload);
            out.extend_from_slice(LINE_END);
        }
    }

    fn payload(publication: &[u8]) -> Option<(Range<usize>, usize)> {
        let subscription = subscription(publication)?;
        let (payload, size) = Nats::payload(&publication[subscription..])?;
        let moved = payload.start + subscription..payload.end + subscription;
        Some((moved, size + subscription))
    }

    fn number(publication: &mut [u8], last: usize, slot: u32) {
        let message = &mut publication[last..];
        let Some(behind) = subscription(message).filter(|size| *size > 0) else {
            return;
        };
        let Some(reply) = reply_end(&message[behind..]) else {
            return;
        };
        // "SUB inbox.SLOT SLOT\r\n", and the end of the inbox in "PUB topic inbox.SLOT size\r\n".
        let called = behind - LINE_END.len();
        for end in [called, called - SLOT_DIGITS - 1, behind + reply] {
            write_slot(&mut message[end - SLOT_DIGITS..end], slot);
        }
    }

    fn pong(out: &mut Vec<u8>) {
        Nats::pong(out);
    }

    fn decode(input: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
        let Some((head, size)) = line(input)? else {
            return Ok(None);
        };
        match head.split_at_checked(4) {
            Some((b"MSG ", head)) => answer(head, size, input),
            Some((b"INFO", said)) if !contains(said, HAS_JETSTREAM) => {
                Err("nats has no JetStream; start it with --jetstream".to_owned())
            }
            _ => Nats::decode(input),
        }
    }
}

/// Name of the stream of these topics; another number of topics is another stream.
fn stream_name(topics: &[String]) -> String {
    let first = topics.first().map_or("", String::as_str);
    let letters = first.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' => letter,
        _ => '-',
    });
    format!("oyez-{}-{}", letters.collect::<String>(), topics.len())
}

/// The size of the line that subscribes to an inbox, 0 where there is none; none where it is not whole.
fn subscription(message: &[u8]) -> Option<usize> {
    if message.starts_with(b"SUB ") {
        Some(line(message).ok()??.1)
    } else {
        Some(0)
    }
}

/// Where the inbox ends in a line that publishes.
fn reply_end(message: &[u8]) -> Option<usize> {
    let (head, _) = line(message).ok()??;
    head.iter().rposition(|byte| *byte == b' ')
}

/// What the server says of the stream, or of a publication; its text begins at `start`.
fn answer<'a>(
    head: &[u8],
    start: usize,
    input: &'a [u8],
) -> Result<Option<(Said<'a>, usize)>, String> {
    let mut words = head.split(|byte| *byte == b' ');
    let (_subject, called) = words.next().zip(words.next()).ok_or(NONSENSE)?;
    let digits = words.next_back().ok_or(NONSENSE)?;
    let end = start + size(digits).ok_or(NONSENSE)?;
    match input.get(end..end + LINE_END.len()) {
        None => return Ok(None),
        Some(LINE_END) => {}
        Some(_) => return Err(NONSENSE.to_owned()),
    }
    let text = &input[start..end];
    let told: Value = serde_json::from_slice(text).map_err(|_| NONSENSE)?;
    if !told["error"].is_null() {
        return Err(format!("nats refuses: {}", quoted(text)));
    }
    let said = if called == CREATION {
        Said::Ready
    } else {
        told["seq"].as_u64().ok_or(NONSENSE)?;
        Said::Answer(Some(read_slot(called).ok_or(NONSENSE)?))
    };
    Ok(Some((said, end + LINE_END.len())))
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::super::trial::{self, Expected};
    use super::*;

    const STREAM: &[u8] = b"INFO {\"server_id\":\"x\",\"jetstream\":true}\r\n\
        MSG _oyez.00000001.stream stream 34\r\n{\"type\":\"x\",\"config\":{\"name\":\"y\"}}\r\n\
        PING\r\n+OK\r\n\
        MSG _oyez.00000001.0000001f 0000001f 31\r\n{\"stream\":\"oyez-bench\",\"seq\":7}\r\n";

    #[test]
    fn a_stream_is_understood_wherever_it_is_cut() {
        let expected = [Expected::Ready, Expected::Ping, Expected::Answer(31)];
        trial::cut_everywhere::<JetStream>(STREAM, &expected);
    }

    #[test]
    fn a_publication_is_stamped_and_carries_its_messages() {
        trial::stamps_every_message::<JetStream>();
    }

    #[test]
    fn the_inbox_of_a_slot_is_named_like_it_three_times() {
        let mut publication = Vec::new();
        JetStream::compose(
            "bench",
            &[b"xxxxxxxxxxxx", b"yyyyyyyyyyyy"],
            &mut publication,
        );
        let (_, last) = JetStream::payload(&publication).unwrap();
        JetStream::number(&mut publication, last, 0xabc);
        let (inbox, slot) = (inbox(), "00000abc");
        let expected = format!(
            "PUB bench 12\r\nxxxxxxxxxxxx\r\n\
             SUB {inbox}.{slot} {slot}\r\nPUB bench {inbox}.{slot} 12\r\nyyyyyyyyyyyy\r\n"
        );
        assert_eq!(String::from_utf8(publication).unwrap(), expected);
    }

    #[test]
    fn the_greeting_asks_for_a_stream_in_files_with_the_topics() {
        let mut greeting = Vec::new();
        JetStream::greet(&["a/0".to_owned(), "a/1".to_owned()], &mut greeting);
        let text = String::from_utf8(greeting).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(lines[0].starts_with("CONNECT {"));
        assert_eq!(lines[1], format!("SUB {}.stream stream", inbox()));
        let asked: Value = serde_json::from_str(lines[3]).unwrap();
        assert_eq!(asked["subjects"], json!(["a/0", "a/1"]));
        assert_eq!(asked["storage"], "file");
        assert_eq!(asked["name"], "oyez-a-0-2");
        assert!(lines[2].ends_with(&format!(" {}", lines[3].len())));
    }

    #[test]
    fn a_publication_that_is_cut_has_no_payload_behind_the_cut() {
        let mut publication = Vec::new();
        JetStream::compose("t", &[b"0123456789ab"], &mut publication);
        let size = publication.len();
        for cut in 0..size {
            let found = JetStream::payload(&publication[..cut]);
            assert!(found.is_none_or(|(_, size)| size > cut), "{cut}");
        }
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        trial::survives_damage::<JetStream>(STREAM);
        for bytes in [
            b"INFO {\"server_id\":\"x\"}\r\n".as_slice(),
            b"MSG i stream 20\r\n{\"error\":{\"code\":1}}\r\n",
            b"MSG i 0000001f 21\r\n{\"error\":{\"code\":10}}\r\n",
            b"MSG i 0000001f 2\r\n{}\r\n",
            b"MSG i 0000001f 3\r\n{}\r\n\r\n",
            b"MSG i 0000001 9\r\n{\"seq\":1}\r\n",
            b"MSG i 0000001f 1\r\nx\r\n",
            b"MSG i\r\n",
            b"-ERR 'no'\r\n",
        ] {
            assert!(JetStream::decode(bytes).is_err(), "{:?}", quoted(bytes));
        }
    }
}
