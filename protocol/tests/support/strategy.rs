//! Any frame that a peer may send, as values that own their parts.
#![allow(dead_code, reason = "each test uses its part")]

use crate::support::{encode, unknown_frame};
use oyez_protocol::command::{Hello, Query, Question, Start, Subscribe, Unsubscribe};
use oyez_protocol::event::{
    Answer, Gap, GapCause, Goodbye, GoodbyeCode, Heartbeat, Outcome, Published, PublishedEntry,
    Subscribed, Unsubscribed, Welcome,
};
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{Headers, MessageRef, write_headers};
use oyez_protocol::record::{Extra, Record, RecordBuilder, Stamp, stamp};
use oyez_protocol::{Epoch, Frame, LogId, Offset, Sequence};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A frame with its parts.
#[derive(Clone, Debug)]
pub(crate) enum Owned {
    Hello((u16, u16), u32, String, Vec<u8>),
    Welcome(u16, [u32; 3], Limits, u64, String),
    Subscribe(u32, String, Start, Option<Epoch>),
    Subscribed(Subscribed),
    Unsubscribe(u32, String),
    Unsubscribed(Unsubscribed),
    Published(Vec<PublishedEntry>),
    Ping(u64),
    Pong(u64),
    Goodbye(GoodbyeCode, u32, String),
    Query(u32, Option<String>),
    LagQuery(u32),
    Answer(u32, bool, String),
    Gap(String, GapCause, Offset, Offset),
    Record(Vec<u8>),
    Skipped(u8, Vec<u8>),
}

impl Owned {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Published(entries) => Published::encode(entries, &mut out),
            Self::Skipped(kind, body) => out = unknown_frame(*kind, body),
            other => encode(&other.frame(), &mut out),
        }
        out
    }

    /// Fails unless `decoded` says the same.
    #[track_caller]
    pub(crate) fn assert_is(&self, decoded: &Frame<'_>) {
        match (self, decoded) {
            (Self::Published(entries), Frame::Published(published)) => {
                assert!(published.entries().eq(entries.iter().copied()));
            }
            (Self::Skipped(kind, _), decoded) => {
                assert_eq!(*decoded, Frame::Skipped { kind: *kind });
            }
            (owned, decoded) => assert_eq!(owned.frame(), *decoded),
        }
    }

    fn frame(&self) -> Frame<'_> {
        match self {
            Self::Hello(versions, heartbeat_ms, name, credentials) => Frame::Hello(Hello {
                version_min: versions.0,
                version_max: versions.1,
                heartbeat_ms: *heartbeat_ms,
                name,
                credentials,
            }),
            Self::Welcome(version, numbers, limits, instance, name) => Frame::Welcome(Welcome {
                version: *version,
                heartbeat_ms: numbers[0],
                limits: *limits,
                inflight_records_max: numbers[1],
                inflight_bytes_max: numbers[2],
                instance: *instance,
                name,
            }),
            Self::Subscribe(id, topic, start, epoch) => Frame::Subscribe(Subscribe {
                id: *id,
                topic,
                start: *start,
                epoch: *epoch,
            }),
            Self::Subscribed(subscribed) => Frame::Subscribed(*subscribed),
            Self::Unsubscribe(id, topic) => Frame::Unsubscribe(Unsubscribe { id: *id, topic }),
            Self::Unsubscribed(unsubscribed) => Frame::Unsubscribed(*unsubscribed),
            Self::Ping(token) => Frame::Ping(Heartbeat { token: *token }),
            Self::Pong(token) => Frame::Pong(Heartbeat { token: *token }),
            Self::Goodbye(code, retry_after_ms, reason) => Frame::Goodbye(Goodbye {
                code: *code,
                retry_after_ms: *retry_after_ms,
                reason,
            }),
            Self::LagQuery(id) => Frame::Query(Query {
                id: *id,
                question: Question::Lag,
            }),
            Self::Query(id, after) => Frame::Query(Query {
                id: *id,
                question: match after {
                    Some(after) => Question::Topics { after },
                    None => Question::Stats,
                },
            }),
            Self::Answer(id, more, json) => Frame::Answer(Answer {
                id: *id,
                more: *more,
                json,
            }),
            Self::Gap(topic, cause, from, to) => Frame::Gap(Gap {
                topic,
                cause: *cause,
                from: *from,
                to: *to,
            }),
            Self::Record(bytes) => Frame::Record(Record::verify(bytes, &Limits::HARD).unwrap()),
            Self::Published(_) | Self::Skipped(..) => panic!("has no frame without its bytes"),
        }
    }
}

pub(crate) fn topic() -> impl Strategy<Value = String> {
    "[a-zä]{1,8}(/[a-z0-9ü]{1,6}){0,3}"
}

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset::new)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    (0u16..=9).prop_map(|code| Outcome::from_code(code).unwrap())
}

fn limits() -> impl Strategy<Value = Limits> {
    (7u32..=(1 << 17), 1u32..=(8 << 20)).prop_map(|(units, raw_size_max)| Limits {
        record_size_max: units * 8,
        raw_size_max,
    })
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Latest),
        Just(Start::Earliest),
        offset().prop_map(Start::Offset),
    ]
}

fn subscribed() -> impl Strategy<Value = Subscribed> {
    let flags = any::<(bool, bool)>();
    (
        any::<(u32, u64)>(),
        outcome(),
        [offset(), offset(), offset()],
        flags,
    )
        .prop_map(
            |((id, epoch), outcome, [next, earliest, head], (epoch_changed, dropped))| Subscribed {
                id,
                outcome,
                next,
                earliest,
                head,
                epoch: Epoch::new(epoch),
                epoch_changed,
                dropped,
            },
        )
}

fn entry() -> impl Strategy<Value = PublishedEntry> {
    (any::<(u64, u64, u64)>(), outcome()).prop_map(|((correlation, offset, epoch), outcome)| {
        PublishedEntry {
            correlation,
            offset: Offset::new(offset),
            epoch: Epoch::new(epoch),
            outcome,
        }
    })
}

fn goodbye_code() -> impl Strategy<Value = GoodbyeCode> {
    prop_oneof![0u16..=6, 0x100u16..=0x107].prop_map(GoodbyeCode::from_code)
}

fn client_frame() -> impl Strategy<Value = Owned> {
    let epoch = option::of((1..u64::MAX).prop_map(Epoch::new));
    prop_oneof![
        (
            any::<(u16, u16)>(),
            any::<u32>(),
            ".{0,20}",
            vec(any::<u8>(), 0..40)
        )
            .prop_map(|(versions, beat, name, secret)| Owned::Hello(versions, beat, name, secret)),
        (any::<u32>(), topic(), start(), epoch)
            .prop_map(|(id, topic, start, epoch)| Owned::Subscribe(id, topic, start, epoch)),
        (any::<u32>(), topic()).prop_map(|(id, topic)| Owned::Unsubscribe(id, topic)),
        (any::<u32>(), option::of(topic())).prop_map(|(id, after)| Owned::Query(id, after)),
        any::<u32>().prop_map(Owned::LagQuery),
        any::<u64>().prop_map(Owned::Ping),
    ]
}

fn broker_frame() -> impl Strategy<Value = Owned> {
    let cause = prop_oneof![Just(GapCause::Retention), Just(GapCause::Damage)];
    prop_oneof![
        (
            any::<u16>(),
            any::<[u32; 3]>(),
            limits(),
            any::<u64>(),
            ".{0,20}"
        )
            .prop_map(|(version, numbers, limits, instance, name)| {
                Owned::Welcome(version, numbers, limits, instance, name)
            }),
        subscribed().prop_map(Owned::Subscribed),
        (any::<u32>(), outcome())
            .prop_map(|(id, outcome)| Owned::Unsubscribed(Unsubscribed { id, outcome })),
        vec(entry(), 1..5).prop_map(Owned::Published),
        any::<u64>().prop_map(Owned::Pong),
        (goodbye_code(), any::<u32>(), ".{0,40}")
            .prop_map(|(code, retry, reason)| Owned::Goodbye(code, retry, reason)),
        (any::<(u32, bool)>(), ".{0,60}")
            .prop_map(|((id, more), json)| { Owned::Answer(id, more, json) }),
        (topic(), cause, offset(), offset())
            .prop_map(|(topic, cause, from, to)| Owned::Gap(topic, cause, from, to)),
    ]
}

/// Any frame, and kinds that nobody knows.
pub(crate) fn frame() -> impl Strategy<Value = Owned> {
    prop_oneof![
        5 => client_frame(),
        8 => broker_frame(),
        4 => record().prop_map(Owned::Record),
        1 => (0x80u8.., vec(any::<u8>(), 0..30)).prop_map(|(kind, body)| Owned::Skipped(kind, body)),
    ]
}

/// A message with its parts.
#[derive(Clone, Debug)]
pub(crate) struct OwnedMessage {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) payload: Vec<u8>,
}

impl OwnedMessage {
    /// Borrows the message; its headers are encoded into `headers` first.
    pub(crate) fn borrow<'a>(&'a self, headers: &'a mut Vec<u8>) -> MessageRef<'a> {
        let pairs: Vec<_> = self.headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        headers.clear();
        write_headers(&pairs, headers);
        MessageRef {
            key: self.key.as_deref(),
            headers: Headers::parse(headers).unwrap(),
            payload: &self.payload,
        }
    }
}

/// Any message; payloads come both as noise and as runs that compress.
pub(crate) fn message() -> impl Strategy<Value = OwnedMessage> {
    let noise = || vec(any::<u8>(), 0..40);
    let run = (any::<u8>(), 0usize..400).prop_map(|(byte, size)| std::vec![byte; size]);
    let headers = vec((noise(), noise()), 0..3);
    (option::of(noise()), headers, prop_oneof![noise(), run]).prop_map(|(key, headers, payload)| {
        OwnedMessage {
            key,
            headers,
            payload,
        }
    })
}

/// A stamped record of a few messages, stored or compressed, with and without extras.
pub(crate) fn record() -> impl Strategy<Value = Vec<u8>> {
    let extras = vec((0x80u8.., vec(any::<u8>(), 0..20)), 0..3);
    let parts = (topic(), extras, vec(message(), 1..6), any::<bool>());
    (parts, any::<(u64, u32, u16, u32, u16)>()).prop_map(|((topic, extras, messages, lz4), at)| {
        let mut builder = RecordBuilder::new(&topic, Limits::DEFAULT).unwrap();
        for (kind, value) in &extras {
            builder.push_extra(Extra { kind: *kind, value }).unwrap();
        }
        for message in &messages {
            builder.push(&message.borrow(&mut Vec::new())).unwrap();
        }
        let mut out = Vec::new();
        if lz4 {
            Scratch::new().finish(&mut builder, 1, &mut out);
        } else {
            builder.finish_stored(1, &mut out);
        }
        stamp(&mut out, &stamp_of(at));
        out
    })
}

fn stamp_of(at: (u64, u32, u16, u32, u16)) -> Stamp {
    Stamp {
        offset: Offset::new(at.0),
        sequence: Sequence::new(u64::from(at.1)),
        log: LogId::new(at.2),
        timestamp_ms: u64::from(at.3),
        incarnation: at.4,
    }
}
