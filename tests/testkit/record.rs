//! Records and frames for the wire: good ones through the protocol's builder, bad ones by bending the bytes of a good
//! one and sealing it again, so that only the intended rule is broken.

use oyez_protocol::checksum::{crc32c, crc32c_append, seal_frame};
use oyez_protocol::command::{Hello, VERSION};
use oyez_protocol::event::Heartbeat;
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::RecordBuilder;

/// A record of `payloads`, compressed if that makes it smaller.
///
/// # Panics
/// When the topic is none, or the payloads do not fit.
#[must_use]
pub fn record<P: AsRef<[u8]>>(topic: &str, payloads: &[P], correlation: u64) -> Vec<u8> {
    let mut out = Vec::new();
    Scratch::new().finish(&mut gather(topic, payloads), correlation, &mut out);
    out
}

/// A record of `payloads` as they are.
///
/// # Panics
/// When the topic is none, or the payloads do not fit.
#[must_use]
pub fn stored<P: AsRef<[u8]>>(topic: &str, payloads: &[P], correlation: u64) -> Vec<u8> {
    let mut out = Vec::new();
    gather(topic, payloads).finish_stored(correlation, &mut out);
    out
}

fn gather<P: AsRef<[u8]>>(topic: &str, payloads: &[P]) -> RecordBuilder {
    let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
    for payload in payloads {
        builder
            .push(&MessageRef::new(payload.as_ref()))
            .expect("the payloads fit into one record");
    }
    builder
}

/// Makes the publisher's checksum of a bent record right again.
pub fn seal_record(bytes: &mut [u8]) {
    let mut header = bytes[..8].to_vec();
    header.extend_from_slice(&bytes[12..20]);
    let crc = crc32c_append(crc32c(&header), &bytes[48..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// A record whose topic has these bytes, right in everything else.
///
/// # Panics
/// When the topic has more than 255 bytes, which no record can say.
#[must_use]
pub fn with_topic(topic: &[u8]) -> Vec<u8> {
    let block = b"\x04x"; // One message of one byte.
    let unpadded = 48 + topic.len() + block.len();
    let size = unpadded.next_multiple_of(8);
    let mut bytes = vec![0; size];
    bytes[..4].copy_from_slice(&(size as u32).to_le_bytes());
    bytes[4] = 1;
    bytes[6] = 1;
    bytes[12] = block.len() as u8;
    bytes[16] = u8::try_from(topic.len()).expect("a record's topic has at most 255 bytes");
    bytes[18] = (size - unpadded) as u8;
    bytes[48..48 + topic.len()].copy_from_slice(topic);
    bytes[48 + topic.len()..unpadded].copy_from_slice(block);
    seal_record(&mut bytes);
    bytes
}

/// A control frame of any kind: head, then `fields` from byte 16 on, padded and sealed.
#[must_use]
pub fn control(kind: u8, aux: u16, id: u32, fields: &[u8]) -> Vec<u8> {
    let size = (16 + fields.len()).next_multiple_of(8);
    let mut bytes = vec![0; size];
    bytes[..4].copy_from_slice(&(size as u32).to_le_bytes());
    bytes[4] = kind;
    bytes[6..8].copy_from_slice(&aux.to_le_bytes());
    bytes[12..16].copy_from_slice(&id.to_le_bytes());
    bytes[16..16 + fields.len()].copy_from_slice(fields);
    seal_frame(&mut bytes);
    bytes
}

/// A subscription to the latest of a topic of any bytes.
///
/// # Panics
/// When the topic has more than 255 bytes, which no frame can say.
#[must_use]
pub fn subscribe_to(topic: &[u8]) -> Vec<u8> {
    let size = u8::try_from(topic.len()).expect("a frame's topic has at most 255 bytes");
    let mut fields = vec![0, 0, size];
    fields.resize(24, 0);
    fields.extend_from_slice(topic);
    control(4, 1, 1, &fields)
}

/// The hello of a client that speaks these versions.
#[must_use]
pub fn hello(version_min: u16, version_max: u16) -> Vec<u8> {
    hello_of(&Hello {
        version_min,
        version_max,
        ..HELLO
    })
}

/// A question for a sign of life.
#[must_use]
pub fn ping(token: u64) -> Vec<u8> {
    let mut out = Vec::new();
    Heartbeat { token }.encode_ping(&mut out);
    out
}

/// What most hellos say.
pub const HELLO: Hello<'static> = Hello {
    version_min: VERSION,
    version_max: VERSION,
    features: 0,
    heartbeat_ms: 0,
    name: "testkit",
    credentials: b"",
};

/// Any hello.
#[must_use]
pub fn hello_of(hello: &Hello<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    hello.encode(&mut out);
    out
}
