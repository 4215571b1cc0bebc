//! Messages that can be told apart: each names its place in its publisher's order, and all its bytes follow from that
//! name and the topic, so that they need not be kept.

use testkit::random::Random;

/// Publishers of a run.
pub(crate) const PUBLISHERS: usize = 4;
/// Bytes that name the message.
const NAME_BYTES: usize = 12;

/// Which message of which publisher of which run, counted from 0 within its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) run: u32,
    pub(crate) publisher: u32,
    pub(crate) number: u32,
}

impl Name {
    /// The message's payload: most are small, some fill a good part of a page, a few reach over many. Every fourth run
    /// has large ones only, so that a blow is likely to come in the middle of a write.
    pub(crate) fn payload(self, topic: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for field in [self.run, self.publisher, self.number] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let mut random = Random::new(seed(topic.as_bytes(), seed(&out, 1)));
        let size = match random.below(16) {
            _ if self.run % 4 == 3 => random.below(200_000),
            0 => random.below(48_000),
            1..=4 => random.below(4_000),
            _ => random.below(300),
        };
        out.extend(random.bytes(size as usize));
        out
    }

    /// Whose payload this is, if it is one of this topic and has not changed.
    pub(crate) fn of(topic: &str, payload: &[u8]) -> Option<Self> {
        let fields = payload.get(..NAME_BYTES)?;
        let field = |at: usize| {
            let bytes = fields[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes)
        };
        let name = Self {
            run: field(0),
            publisher: field(4),
            number: field(8),
        };
        (name.payload(topic) == payload).then_some(name)
    }
}

/// FNV-1a.
fn seed(bytes: &[u8], from: u64) -> u64 {
    bytes.iter().fold(from, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn a_message_is_known_by_every_byte_and_by_its_topic() {
    let name = Name {
        run: 7,
        publisher: 3,
        number: 1_000_000,
    };
    let mut payload = name.payload("a/topic");
    assert_eq!(Name::of("a/topic", &payload), Some(name));
    assert_eq!(Name::of("another/topic", &payload), None);
    for at in 0..payload.len() {
        payload[at] ^= 1;
        assert_eq!(Name::of("a/topic", &payload), None, "byte {at}");
        payload[at] ^= 1;
    }
}
