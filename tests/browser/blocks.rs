//! The browser client reads records as the protocol crate does, whole ones and damaged ones.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oyez_protocol::checksum::{crc32c, crc32c_append};
use oyez_protocol::limits::{Limits, RECORD_HEADER_SIZE};
use oyez_protocol::message::{Headers, MessageRef, Messages, write_headers};
use oyez_protocol::record::{Record, RecordBuilder, Stamp, stamp};
use oyez_protocol::{LogId, Offset, Sequence, lz4};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::corpus;
use testkit::figures::figure;
use testkit::process::succeed;
use testkit::programs::workspace;
use testkit::random::Random;
use testkit::tools::{Tool, are_here, command};

/// Whole records, and as many damaged ones.
const RECORDS: usize = 10_000;
const TEST: &str = "records as the browser client reads them";
/// Where a record has its checksums.
const BODY_CHECKSUM: usize = 8;
const HEADER_CHECKSUM: usize = 20;

/// A record of some messages of the corpus, or of bytes that are none.
fn record(lines: &[Vec<u8>], random: &mut Random, codec: &mut lz4::Scratch) -> Vec<u8> {
    let mut builder = RecordBuilder::new("news/of the day", Limits::HARD).expect("a topic");
    for _ in 0..=random.below(20) {
        let line = &lines[random.below(lines.len() as u64) as usize];
        let size = random.below(300) as usize;
        let noise = random.bytes(size);
        let mut headers = Vec::new();
        if random.below(4) == 0 {
            write_headers(&[(b"unit", b"points"), (b"bits", &noise)], &mut headers);
        }
        let message = MessageRef {
            key: (random.below(3) == 0).then_some(&noise[..noise.len().min(40)]),
            headers: Headers::parse(&headers).unwrap_or_default(),
            payload: if random.below(5) == 0 { &noise } else { line },
        };
        // One that does not fit any more begins the next.
        if builder.push(&message).is_err() {
            break;
        }
    }
    let mut bytes = Vec::new();
    match random.below(4) {
        0 => builder.finish_stored(random.next(), &mut bytes),
        _ => {
            codec.finish(&mut builder, random.next(), &mut bytes);
        }
    }
    let place = Stamp {
        offset: Offset::new(random.below(1 << 53)),
        sequence: Sequence::new(random.below(1 << 40)),
        log: LogId::new(random.below(64) as u16),
        timestamp_ms: random.below(1 << 41),
        incarnation: random.below(1 << 16) as u16,
    };
    stamp(&mut bytes, &place);
    bytes
}

/// Flips some bits, or cuts something off; in every other record so that the checksums are right all the same.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = match random.below(2) {
            0 => random.below(bytes.len() as u64),
            _ => random.below(RECORD_HEADER_SIZE as u64),
        };
        bytes[at as usize] ^= 1 << random.below(8);
    }
    if random.below(10) == 0 {
        bytes.truncate(random.below(bytes.len() as u64) as usize);
    }
    if random.below(2) == 0 && bytes.len() > RECORD_HEADER_SIZE {
        seal(bytes);
    }
}

fn seal(bytes: &mut [u8]) {
    let checksum = crc32c(&bytes[..BODY_CHECKSUM]);
    let checksum = crc32c_append(checksum, &bytes[BODY_CHECKSUM + 4..HEADER_CHECKSUM]);
    let checksum = crc32c_append(checksum, &bytes[RECORD_HEADER_SIZE..]);
    bytes[BODY_CHECKSUM..][..4].copy_from_slice(&checksum.to_le_bytes());
    bytes[HEADER_CHECKSUM..][..4].fill(0);
    let checksum = crc32c(&bytes[..RECORD_HEADER_SIZE]);
    bytes[HEADER_CHECKSUM..][..4].copy_from_slice(&checksum.to_le_bytes());
}

/// What the protocol crate makes of bytes, as a line of the file that the client compares itself with.
fn line(bytes: &[u8], codec: &mut lz4::Scratch) -> Value {
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
    let Ok(record) = Record::verify_stamped(bytes, &Limits::HARD) else {
        return json!({ "record": base64(bytes), "verdict": "refused" });
    };
    let unreadable = json!({ "record": base64(bytes), "verdict": "unreadable" });
    let Ok(raw) = codec.open(&record) else {
        return unreadable;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let messages = Messages::new(raw, record.count()).map(|message| {
        let message = message.ok()?;
        let headers = message.headers.into_iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| json!([text(name), text(value)]))
            .collect();
        let key = message.key.map(base64);
        Some(json!({ "key": key, "headers": headers, "payload": base64(message.payload) }))
    });
    let Some(messages) = messages.collect::<Option<Vec<Value>>>() else {
        return unreadable;
    };
    json!({
        "record": base64(bytes),
        "verdict": "read",
        "topic": record.topic(),
        "offset": record.offset().get().to_string(),
        "timestamp_ms": record.timestamp_ms(),
        "messages": messages,
    })
}

#[test]
fn the_client_reads_records_as_the_protocol_crate_does() {
    if !are_here(TEST, &[Tool::Program("node")]) {
        return;
    }
    let mut random = Random::from_environment("browser: records");
    let corpora = corpus::all();
    let lines: Vec<Vec<u8>> = corpora
        .into_iter()
        .flat_map(|corpus| corpus.lines)
        .collect();
    let (mut codec, mut text) = (lz4::Scratch::new(), String::new());
    for _ in 0..RECORDS {
        let mut bytes = record(&lines, &mut random, &mut codec);
        let whole = line(&bytes, &mut codec);
        assert_eq!(whole["verdict"], "read");
        damage(&mut bytes, &mut random);
        let damaged = line(&bytes, &mut codec);
        writeln!(text, "{whole}\n{damaged}").expect("writing into memory cannot fail");
    }
    let home = TempDir::with_prefix("oyez-blocks-").expect("a directory for temporary files");
    let file = home.path().join("blocks.jsonl");
    std::fs::write(&file, text).expect("a file");
    let script = workspace().join("client/js/test/blocks.mjs");
    let output = succeed(command("node").arg(script).arg(file));
    let said = String::from_utf8(output.stdout).expect("text");
    let passed = format!("{} passed, 0 failed", 2 * RECORDS);
    assert!(said.trim_end().ends_with(&passed), "{said}");
    figure(
        "browser: records read as in Rust",
        said.lines().next().unwrap_or_default(),
    );
}
