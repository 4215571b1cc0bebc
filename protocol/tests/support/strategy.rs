//! Any frame that a peer may send, as values that own their parts.
#![allow(dead_code, reason = "each test uses its part")]

use crate::support::{encode, unknown_frame};
use oyez_protocol::command::{
    Ack, Begin, Hello, Numbered, Place, Query, Question, Renew, Start, Subscribe, Subscription,
    Unsubscribe,
};
use oyez_protocol::event::{
    Acked, Answer, Ended, Gap, GapCause, Goodbye, GoodbyeCode, Heartbeat, Hole, Notable, Notice,
    Outcome, Published, PublishedEntry, Reached, Renewed, Skip, SkipCause, Subscribed,
    Unsubscribed, Welcome,
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
    Hello((u16, u16, u16), u32, String, Vec<u8>),
    Welcome(u16, [u32; 5], Limits, [u64; 2], String),
    Subscribe(u32, Vec<OwnedSubscription>),
    Subscribed(Subscribed),
    Unsubscribe(u32, Name),
    Unsubscribed(Unsubscribed),
    Published(Vec<PublishedEntry>),
    Ping(u64),
    Pong(u64),
    Goodbye(GoodbyeCode, u32, String),
    Query(u32, Option<String>),
    LagQuery(u32),
    OtherQuery(u32, u16, String),
    Answer((u32, u32), Outcome, bool, String),
    Gap(GapCause, OwnedHole),
    Skip(SkipCause, OwnedHole),
    Renew(u32, Vec<u8>),
    Renewed(Renewed),
    Ack(u32, String, Epoch, OwnedHole),
    Acked(Acked),
    Notice(u16, u64, String),
    Ended(Name, Outcome, u32),
    Reached(String, u16, u64, u64),
    Record(Vec<u8>),
    Skipped(u8, Vec<u8>),
}

impl Owned {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Published(entries) => Published::encode(entries, &mut out),
            Self::Subscribe(id, topics) => Subscribe::encode(*id, &borrowed(topics), &mut out),
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
            (Self::Subscribe(id, topics), Frame::Subscribe(subscribe)) => {
                assert_eq!(*id, subscribe.id);
                assert_eq!(borrowed(topics), subscribe.topics().collect::<Vec<_>>());
            }
            (Self::Skipped(kind, _), decoded) => {
                assert_eq!(*decoded, Frame::Skipped { kind: *kind });
            }
            (owned, decoded) => assert_eq!(owned.frame(), *decoded),
        }
    }

    fn frame(&self) -> Frame<'_> {
        match self {
            Self::Welcome(version, numbers, limits, long, name) => Frame::Welcome(Welcome {
                version: *version,
                heartbeat_ms: numbers[0],
                limits: *limits,
                inflight_records_max: numbers[1],
                inflight_bytes_max: numbers[2],
                subscriptions_max: numbers[3],
                features: numbers[4],
                expires_ms: long[0],
                instance: long[1],
                name,
            }),
            Self::Subscribed(subscribed) => Frame::Subscribed(*subscribed),
            Self::Unsubscribed(unsubscribed) => Frame::Unsubscribed(*unsubscribed),
            Self::Ping(token) => Frame::Ping(Heartbeat { token: *token }),
            Self::Pong(token) => Frame::Pong(Heartbeat { token: *token }),
            Self::Goodbye(code, retry_after_ms, reason) => Frame::Goodbye(Goodbye {
                code: *code,
                retry_after_ms: *retry_after_ms,
                reason,
            }),
            Self::Answer((id, retry_after_ms), outcome, more, json) => Frame::Answer(Answer {
                id: *id,
                outcome: *outcome,
                retry_after_ms: *retry_after_ms,
                more: *more,
                json,
            }),
            Self::Renewed(renewed) => Frame::Renewed(*renewed),
            Self::Acked(acked) => Frame::Acked(*acked),
            Self::Record(bytes) => Frame::Record(Record::verify(bytes, &Limits::HARD).unwrap()),
            other => other.frame_of_news(),
        }
    }

    fn frame_of_news(&self) -> Frame<'_> {
        match self {
            Self::Gap(cause, hole) => Frame::Gap(Gap {
                cause: *cause,
                hole: hole.borrow(),
            }),
            Self::Skip(cause, hole) => Frame::Skip(Skip {
                cause: *cause,
                hole: hole.borrow(),
            }),
            Self::Ended(name, outcome, retry_after_ms) => Frame::Ended(Ended {
                name: &name.text,
                is_filter: name.is_filter,
                outcome: *outcome,
                retry_after_ms: *retry_after_ms,
            }),
            Self::Reached(filter, log, sequence, epoch) => Frame::Reached(Reached {
                filter,
                log: LogId::new(*log),
                sequence: Sequence::new(*sequence),
                epoch: Epoch::new(*epoch),
            }),
            Self::Notice(code, value, text) => Frame::Notice(Notice {
                about: match code {
                    1 => Notable::Expires(*value),
                    _ => Notable::Other {
                        code: *code,
                        value: *value,
                    },
                },
                text,
            }),
            other => other.frame_of_client(),
        }
    }

    fn frame_of_client(&self) -> Frame<'_> {
        match self {
            Self::Hello(versions, heartbeat_ms, name, credentials) => Frame::Hello(Hello {
                version_min: versions.0,
                version_max: versions.1,
                features: versions.2,
                heartbeat_ms: *heartbeat_ms,
                name,
                credentials,
            }),
            Self::Unsubscribe(id, name) => Frame::Unsubscribe(Unsubscribe {
                id: *id,
                name: &name.text,
                is_filter: name.is_filter,
            }),
            Self::LagQuery(id) => Frame::Query(Query {
                id: *id,
                question: Question::Lag,
            }),
            Self::OtherQuery(id, code, text) => Frame::Query(Query {
                id: *id,
                question: Question::Other { code: *code, text },
            }),
            Self::Query(id, after) => Frame::Query(Query {
                id: *id,
                question: match after {
                    Some(after) => Question::Topics { after },
                    None => Question::Stats,
                },
            }),
            Self::Renew(id, credentials) => Frame::Renew(Renew {
                id: *id,
                credentials,
            }),
            Self::Ack(id, cursor, epoch, hole) => Frame::Ack(Ack {
                id: *id,
                cursor,
                place: Place {
                    name: &hole.name,
                    epoch: *epoch,
                    next: hole.from,
                },
            }),
            other => panic!("{other:?} has no frame without its bytes"),
        }
    }
}

/// A topic or a filter.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    text: String,
    is_filter: bool,
}

/// Where a subscription begins, with its parts.
#[derive(Clone, Debug)]
pub(crate) enum OwnedBegin {
    At(Start),
    Time(u64),
    Last(u64),
    Token(Vec<u8>),
    Cursor(String),
    Other(u8, u64, Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct OwnedSubscription {
    name: Name,
    begin: OwnedBegin,
    epoch: Option<Epoch>,
}

#[derive(Clone, Debug)]
pub(crate) struct OwnedHole {
    name: String,
    from: Numbered,
    to: u64,
    epoch: u64,
}

impl OwnedHole {
    fn borrow(&self) -> Hole<'_> {
        Hole {
            name: &self.name,
            from: self.from,
            to: self.to,
            epoch: Epoch::new(self.epoch),
        }
    }
}

impl OwnedSubscription {
    fn borrow(&self) -> Subscription<'_> {
        Subscription {
            name: &self.name.text,
            is_filter: self.name.is_filter,
            begin: match &self.begin {
                OwnedBegin::At(start) => Begin::At(*start),
                OwnedBegin::Time(ms) => Begin::Time(*ms),
                OwnedBegin::Last(count) => Begin::Last(*count),
                OwnedBegin::Token(token) => Begin::Token(token),
                OwnedBegin::Cursor(name) => Begin::Cursor(name),
                OwnedBegin::Other(code, value, bytes) => Begin::Other {
                    code: *code,
                    value: *value,
                    bytes,
                },
            },
            epoch: self.epoch,
        }
    }
}

fn borrowed(topics: &[OwnedSubscription]) -> Vec<Subscription<'_>> {
    topics.iter().map(OwnedSubscription::borrow).collect()
}

fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        topic().prop_map(|text| Name {
            text,
            is_filter: false
        }),
        filter().prop_map(|text| Name {
            text,
            is_filter: true
        }),
    ]
}

fn filter() -> impl Strategy<Value = String> {
    prop_oneof![
        "([a-zä]{1,5}|[+])(/([a-z0-9ü]{1,6}|[+])){0,3}/[+#]",
        Just("#".to_owned()),
    ]
}

fn subscription() -> impl Strategy<Value = OwnedSubscription> {
    let begin = prop_oneof![
        start().prop_map(OwnedBegin::At),
        any::<u64>().prop_map(OwnedBegin::Time),
        any::<u64>().prop_map(OwnedBegin::Last),
        vec(any::<u8>(), 1..60).prop_map(OwnedBegin::Token),
        "[a-zé]{1,30}".prop_map(OwnedBegin::Cursor),
        (7u8.., any::<u64>(), vec(any::<u8>(), 0..9))
            .prop_map(|(code, value, bytes)| OwnedBegin::Other(code, value, bytes)),
    ];
    let epoch = option::of((1..u64::MAX).prop_map(Epoch::new));
    (name(), begin, epoch).prop_map(|(name, begin, epoch)| OwnedSubscription { name, begin, epoch })
}

fn hole() -> impl Strategy<Value = OwnedHole> {
    (name(), any::<(u32, u32, u16, u64)>()).prop_map(|(name, (from, size, log, epoch))| OwnedHole {
        from: match name.is_filter {
            true => Numbered::Sequence {
                log: LogId::new(log),
                sequence: Sequence::new(from.into()),
            },
            false => Numbered::Offset(Offset::new(from.into())),
        },
        name: name.text,
        to: u64::from(from) + 1 + u64::from(size),
        epoch,
    })
}

pub(crate) fn topic() -> impl Strategy<Value = String> {
    "[a-zä]{1,8}(/[a-z0-9ü]{1,6}){0,3}"
}

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset::new)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    proptest::sample::select(Outcome::ALL)
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
        any::<(u32, u16, u32, u64)>(),
        any::<(Option<u16>, bool)>(),
        outcome(),
        [offset(), offset(), offset()],
        flags,
    )
        .prop_map(
            |(
                (id, entry, retry_after_ms, epoch),
                (log, more_logs),
                outcome,
                [next, earliest, head],
                (epoch_changed, dropped),
            )| Subscribed {
                id,
                entry,
                outcome,
                retry_after_ms,
                next,
                earliest,
                head,
                epoch: Epoch::new(epoch),
                log: log.map(LogId::new),
                more_logs: more_logs && log.is_some(),
                epoch_changed,
                dropped,
            },
        )
}

fn entry() -> impl Strategy<Value = PublishedEntry> {
    (any::<(u64, u64, u64, u32)>(), outcome()).prop_map(
        |((correlation, offset, epoch, retry_after_ms), outcome)| PublishedEntry {
            correlation,
            offset: Offset::new(offset),
            epoch: Epoch::new(epoch),
            outcome,
            retry_after_ms,
        },
    )
}

fn goodbye_code() -> impl Strategy<Value = GoodbyeCode> {
    prop_oneof![0u16..=8, 0x100u16..=0x109].prop_map(GoodbyeCode::from_code)
}

fn client_frame() -> impl Strategy<Value = Owned> {
    prop_oneof![
        (
            any::<(u16, u16, u16)>(),
            any::<u32>(),
            ".{0,20}",
            vec(any::<u8>(), 0..40)
        )
            .prop_map(|(versions, beat, name, secret)| Owned::Hello(versions, beat, name, secret)),
        (any::<u32>(), vec(subscription(), 1..5))
            .prop_map(|(id, topics)| Owned::Subscribe(id, topics)),
        (any::<u32>(), name()).prop_map(|(id, name)| Owned::Unsubscribe(id, name)),
        (any::<u32>(), vec(any::<u8>(), 0..40))
            .prop_map(|(id, credentials)| Owned::Renew(id, credentials)),
        (any::<(u32, u64)>(), "[a-zé]{1,30}", hole()).prop_map(|((id, epoch), cursor, hole)| {
            Owned::Ack(id, cursor, Epoch::new(epoch), hole)
        }),
        (any::<u32>(), 4u16.., "[a-z]{0,20}")
            .prop_map(|(id, code, text)| Owned::OtherQuery(id, code, text)),
        (any::<u32>(), option::of(topic())).prop_map(|(id, after)| Owned::Query(id, after)),
        any::<u32>().prop_map(Owned::LagQuery),
        any::<u64>().prop_map(Owned::Ping),
    ]
}

fn broker_frame() -> impl Strategy<Value = Owned> {
    let gap = (0u16..=2).prop_map(GapCause::from_code);
    let skip = (0u16..=3).prop_map(SkipCause::from_code);
    let renewed = (any::<(u32, u64, u32)>(), outcome());
    prop_oneof![
        (
            any::<u16>(),
            any::<[u32; 5]>(),
            limits(),
            any::<[u64; 2]>(),
            ".{0,20}"
        )
            .prop_map(|(version, numbers, limits, long, name)| {
                Owned::Welcome(version, numbers, limits, long, name)
            }),
        subscribed().prop_map(Owned::Subscribed),
        (any::<u32>(), outcome())
            .prop_map(|(id, outcome)| Owned::Unsubscribed(Unsubscribed { id, outcome })),
        vec(entry(), 1..5).prop_map(Owned::Published),
        any::<u64>().prop_map(Owned::Pong),
        (goodbye_code(), any::<u32>(), ".{0,40}")
            .prop_map(|(code, retry, reason)| Owned::Goodbye(code, retry, reason)),
        (any::<((u32, u32), bool)>(), outcome(), ".{0,60}")
            .prop_map(|((ids, more), outcome, json)| Owned::Answer(ids, outcome, more, json)),
        (name(), outcome(), any::<u32>())
            .prop_filter("over", |(_, outcome, _)| !outcome.is_done())
            .prop_map(|(name, outcome, retry)| Owned::Ended(name, outcome, retry)),
        (filter(), any::<(u16, u64, u64)>()).prop_map(|(filter, (log, sequence, epoch))| {
            Owned::Reached(filter, log, sequence, epoch)
        }),
        (gap, hole()).prop_map(|(cause, hole)| Owned::Gap(cause, hole)),
        (skip, hole()).prop_map(|(cause, hole)| Owned::Skip(cause, hole)),
        renewed.prop_map(|((id, expires_ms, retry_after_ms), outcome)| {
            Owned::Renewed(Renewed {
                id,
                outcome,
                expires_ms,
                retry_after_ms,
            })
        }),
        (any::<u32>(), outcome()).prop_map(|(id, outcome)| Owned::Acked(Acked { id, outcome })),
        (any::<u16>(), any::<u64>(), ".{0,40}")
            .prop_map(|(code, value, text)| Owned::Notice(code, value, text)),
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
