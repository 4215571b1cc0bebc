//! The native dialect: commands and replies are frames of `oyez_protocol`. Every input is a command, a wish for more bytes,
//! or a fault.

use oyez_protocol::command::{Ack, Begin, Numbered, Query, Renew, Unsubscribe, VERSION};
use oyez_protocol::error::FrameError;
use oyez_protocol::event::{
    Acked, Answer, Gap, GapCause, Goodbye, GoodbyeCode, Heartbeat, Hole, Outcome, Published,
    Renewed, Subscribed, Unsubscribed, Welcome,
};
use oyez_protocol::limits::{HELLO_SIZE_MAX, Limits};
use oyez_protocol::{Decoded as Front, Epoch, Frame, Offset, command as wire};

use crate::dialect::command::{
    self, Command, Decoded, Hello, NoCommonVersion, Reply, Subscribe, Unsupported,
};

/// Bytes that are needed to know how long a command is, and bytes of the shortest command.
pub(crate) use oyez_protocol::limits::{
    CONTROL_HEADER_SIZE as COMMAND_SIZE_MIN, FRAME_HEAD_SIZE as HEAD_SIZE,
};

/// Bytes that are neither a command nor the beginning of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameFault(FrameError);

impl FrameFault {
    /// The Goodbye of a session that is refused for it. A head that cannot be valid, before the hello, almost always means that
    /// the peer speaks another protocol; but it may be a hello that was damaged on its way, and the code says so.
    pub(crate) fn refusal(self, before_hello: bool) -> (GoodbyeCode, String) {
        let foreign = matches!(
            self.0,
            FrameError::Size { .. } | FrameError::UnknownKind { .. } | FrameError::TooLarge { .. }
        );
        let reason = if before_hello && foreign {
            FrameError::Magic
        } else {
            self.0
        };
        (self.0.into(), reason.to_string())
    }
}

/// Decodes the command at the front of `input`, without allocating.
///
/// # Errors
/// When no continuation of `input` is a command. The session ends there.
pub(crate) fn decode<'a>(input: &'a [u8], limits: &Limits) -> Result<Decoded<'a>, FrameFault> {
    match oyez_protocol::decode(input, limits) {
        Ok(Front::Need { total }) => Ok(Decoded::Need { total }),
        Ok(Front::Frame { frame, size }) => Ok(Decoded::Command {
            command: read(frame),
            size,
        }),
        Err(error) => Err(FrameFault(error)),
    }
}

/// Checks that `input`, of which a command of `total` bytes is not whole yet, may become a hello.
///
/// # Errors
/// When the command is longer than any hello.
pub(crate) fn check_hello(input: &[u8], total: usize) -> Result<(), FrameFault> {
    if total <= HELLO_SIZE_MAX {
        return Ok(());
    }
    let kind = input.get(HEAD_KIND).copied().unwrap_or_default();
    let (size, max) = (total as u32, HELLO_SIZE_MAX as u32);
    Err(FrameFault(FrameError::TooLarge { kind, size, max }))
}

/// Index of the kind in a head.
const HEAD_KIND: usize = 4;

fn read(frame: Frame<'_>) -> Command<'_> {
    match frame {
        Frame::Record(record) => Command::Publish(record),
        Frame::Hello(hello) => Command::Hello(read_hello(&hello)),
        Frame::Subscribe(asked) => read_subscribe(&asked),
        Frame::Unsubscribe(Unsubscribe {
            id: request,
            name: topic,
            is_filter: false,
        }) => Command::Unsubscribe { request, topic },
        Frame::Unsubscribe(Unsubscribe { id, .. }) => unsupported(id, Unsupported::Unsubscribe),
        Frame::Renew(Renew { id, .. }) => unsupported(id, Unsupported::Renew),
        Frame::Ack(Ack { id, .. }) => unsupported(id, Unsupported::Ack),
        Frame::Query(Query { id, question }) => Command::Query {
            request: id,
            question,
        },
        Frame::Ping(Heartbeat { token }) => Command::Ping { token },
        Frame::Pong(_) | Frame::Skipped { .. } => Command::Nothing,
        Frame::Goodbye(_) => Command::Goodbye,
        Frame::Welcome(_)
        | Frame::Subscribed(_)
        | Frame::Unsubscribed(_)
        | Frame::Published(_)
        | Frame::Answer(_)
        | Frame::Gap(_)
        | Frame::Skip(_)
        | Frame::Renewed(_)
        | Frame::Acked(_)
        | Frame::Notice(_)
        | Frame::Ended(_)
        | Frame::Reached(_) => Command::OutOfPlace("a frame that only a broker sends"),
    }
}

const fn unsupported(request: u32, what: Unsupported) -> Command<'static> {
    Command::Unsupported { request, what }
}

fn read_subscribe<'a>(asked: &wire::Subscribe<'a>) -> Command<'a> {
    let mut topics = asked.topics();
    match (topics.next(), topics.next()) {
        (
            Some(wire::Subscription {
                name: topic,
                is_filter: false,
                begin: Begin::At(start),
                epoch,
            }),
            None,
        ) => Command::Subscribe(Subscribe {
            request: asked.id,
            topic,
            start,
            epoch,
        }),
        _ => unsupported(asked.id, Unsupported::Subscribe),
    }
}

fn read_hello<'a>(hello: &wire::Hello<'a>) -> Hello<'a> {
    let theirs = (hello.version_min, hello.version_max);
    let is_common = (theirs.0..=theirs.1).contains(&VERSION);
    let ours = VERSION;
    Hello {
        version: is_common
            .then_some(ours)
            .ok_or(NoCommonVersion { ours, theirs }),
        heartbeat_ms: hello.heartbeat_ms,
        name: hello.name,
        credentials: hello.credentials,
    }
}

/// Appends a reply to `out`. Outcomes become as many frames as they need.
///
/// # Panics
/// If an answer is longer than [`ANSWER_SIZE_MAX`](oyez_protocol::limits::ANSWER_SIZE_MAX).
pub(crate) fn encode(reply: &Reply<'_>, out: &mut Vec<u8>) {
    match *reply {
        Reply::Welcome(welcome) => Welcome {
            version: welcome.version,
            heartbeat_ms: welcome.heartbeat_ms,
            limits: welcome.limits,
            inflight_records_max: welcome.inflight_records_max,
            inflight_bytes_max: welcome.inflight_bytes_max,
            subscriptions_max: welcome.subscriptions_max,
            features: 0,
            expires_ms: 0,
            instance: welcome.instance,
            name: welcome.name,
        }
        .encode(out),
        Reply::Published(entries) => Published::encode(entries, out),
        Reply::Subscribed { subscribed, .. } => encode_subscribed(&subscribed, 0, out),
        Reply::Unsupported { request, what } => encode_unsupported(request, what, out),
        Reply::Unsubscribed {
            request: id,
            outcome,
            ..
        } => Unsubscribed { id, outcome }.encode(out),
        Reply::Answer {
            request: id,
            more,
            json,
        } => Answer {
            id,
            outcome: Outcome::Ok,
            retry_after_ms: 0,
            more,
            json,
        }
        .encode(out),
        Reply::Gap {
            topic,
            cause,
            from,
            to,
            epoch,
        } => encode_gap(topic, cause, (from, to, epoch), out),
        // Requests over HTTP are answered over HTTP.
        Reply::Said(_)
        | Reply::Taken
        | Reply::Refused(_)
        | Reply::Health { .. }
        | Reply::ResumeAt(_)
        | Reply::Metrics(_) => {}
        Reply::Ping { token } => Heartbeat { token }.encode_ping(out),
        Reply::Pong { token } => Heartbeat { token }.encode_pong(out),
        Reply::Goodbye(goodbye) => Goodbye {
            code: goodbye.code,
            retry_after_ms: goodbye.retry_after_ms,
            reason: &goodbye.reason,
        }
        .encode(out),
    }
}

fn encode_gap(
    topic: &str,
    cause: GapCause,
    (from, to, epoch): (Offset, Offset, Epoch),
    out: &mut Vec<u8>,
) {
    let hole = Hole {
        name: topic,
        from: Numbered::Offset(from),
        to: to.get(),
        epoch,
    };
    Gap { cause, hole }.encode(out);
}

fn encode_subscribed(subscribed: &command::Subscribed, entry: u16, out: &mut Vec<u8>) {
    Subscribed {
        id: subscribed.request,
        entry,
        outcome: subscribed.outcome,
        retry_after_ms: 0,
        next: subscribed.next,
        earliest: subscribed.earliest,
        head: subscribed.head,
        epoch: subscribed.epoch,
        log: None,
        more_logs: false,
        epoch_changed: subscribed.epoch_changed,
        dropped: subscribed.dropped,
    }
    .encode(out);
}

/// Answers a request that the broker cannot serve, with the kind of answer that it waits for.
fn encode_unsupported(id: u32, what: Unsupported, out: &mut Vec<u8>) {
    let outcome = Outcome::NotSupported;
    match what {
        Unsupported::Subscribe => {
            let refused = command::Subscribed::refused(id, outcome);
            encode_subscribed(&refused, Subscribed::ALL, out);
        }
        Unsupported::Unsubscribe => Unsubscribed { id, outcome }.encode(out),
        Unsupported::Query => Answer {
            id,
            outcome,
            retry_after_ms: 0,
            more: false,
            json: "",
        }
        .encode(out),
        Unsupported::Renew => Renewed {
            id,
            outcome,
            expires_ms: 0,
            retry_after_ms: 0,
        }
        .encode(out),
        Unsupported::Ack => Acked { id, outcome }.encode(out),
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::checksum::seal_frame;
    use oyez_protocol::command::{Question, Start};
    use oyez_protocol::event::{GapCause, Outcome, PublishedEntry};
    use oyez_protocol::limits::PUBLISHED_ENTRIES_MAX;
    use oyez_protocol::message::MessageRef;
    use oyez_protocol::record::{Record, RecordBuilder};
    use oyez_protocol::{Epoch, Offset, decode as decode_frame};

    use super::*;
    use crate::dialect::command;

    fn in_bytes(reply: &Reply<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(reply, &mut out);
        out
    }

    /// Asserts that a reply becomes this frame and no other.
    fn assert_becomes(reply: &Reply<'_>, expected: Frame<'_>) {
        let out = in_bytes(reply);
        let front = decode_frame(&out, &Limits::DEFAULT).expect("a frame");
        let size = out.len();
        let frame = expected;
        assert_eq!(front, Front::Frame { frame, size });
    }

    fn begins(subscribed: command::Subscribed) -> Reply<'static> {
        let topic = "news";
        Reply::Subscribed { topic, subscribed }
    }

    /// The bytes that a client sends.
    fn said(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out);
        out
    }

    /// Asserts that bytes become this command, and that every part of them is a wish for more.
    fn assert_asks(said: &[u8], command: Command<'_>) {
        let size = said.len();
        let decoded = decode(said, &Limits::DEFAULT);
        assert_eq!(decoded, Ok(Decoded::Command { command, size }));
        for cut in 0..size {
            let total = if cut < HEAD_SIZE { HEAD_SIZE } else { size };
            let decoded = decode(&said[..cut], &Limits::DEFAULT);
            assert_eq!(decoded, Ok(Decoded::Need { total }), "{cut} bytes");
        }
    }

    fn hello(version_min: u16, version_max: u16) -> wire::Hello<'static> {
        wire::Hello {
            version_min,
            version_max,
            features: 0,
            heartbeat_ms: 5_000,
            name: "a client",
            credentials: b"secret",
        }
    }

    #[test]
    fn a_hello_asks_to_be_let_in() {
        let command = Hello {
            version: Ok(VERSION),
            heartbeat_ms: 5_000,
            name: "a client",
            credentials: b"secret",
        };
        for max in [VERSION, VERSION + 3] {
            let said = said(|out| hello(0, max).encode(out));
            assert_asks(&said, Command::Hello(command));
        }
    }

    #[test]
    fn a_hello_of_other_versions_says_which() {
        for (min, max) in [(VERSION + 1, VERSION + 2), (0, VERSION - 1)] {
            let said = said(|out| hello(min, max).encode(out));
            let Ok(Decoded::Command {
                command: Command::Hello(hello),
                ..
            }) = decode(&said, &Limits::DEFAULT)
            else {
                panic!("it is a hello");
            };
            let none = hello.version.expect_err("there is none in common");
            let whose = if max < VERSION { "client" } else { "broker" };
            let sentence = format!(
                "this broker speaks version 2 of the protocol, the client {min} to {max}: update the {whose}"
            );
            assert_eq!(none.to_string(), sentence);
        }
    }

    #[test]
    fn a_record_is_published_as_it_is() {
        let mut record = RecordBuilder::new("news/local", Limits::DEFAULT).expect("a topic");
        record
            .push(&MessageRef::new(b"hello"))
            .expect("it has room");
        let said = said(|out| record.finish_stored(42, out));
        let record = Record::verify(&said, &Limits::DEFAULT).expect("it is whole");
        assert_asks(&said, Command::Publish(record));
    }

    #[test]
    fn subscriptions_are_asked_for_and_ended() {
        let (topic, id) = ("news/local", 9);
        let starts = [
            (Start::Latest, None),
            (Start::Earliest, None),
            (Start::Offset(Offset::new(3)), Some(Epoch::new(8))),
        ];
        for (start, epoch) in starts {
            let wire = wire::Subscription::new(topic, start, epoch);
            let command = Subscribe {
                request: id,
                topic,
                start,
                epoch,
            };
            let said = said(|out| wire::Subscribe::encode(id, &[wire], out));
            assert_asks(&said, Command::Subscribe(command));
        }
        let unsubscribe = Unsubscribe {
            id,
            name: topic,
            is_filter: false,
        };
        let said = said(|out| unsubscribe.encode(out));
        assert_asks(&said, Command::Unsubscribe { request: id, topic });
    }

    #[test]
    fn questions_about_the_broker_are_asked() {
        let after = "news";
        for question in [Question::Stats, Question::Topics { after }, Question::Lag] {
            let said = said(|out| Query { id: 6, question }.encode(out));
            let request = 6;
            assert_asks(&said, Command::Query { request, question });
        }
    }

    #[test]
    fn signs_of_life_and_what_may_be_skipped_ask_little() {
        let token = 3;
        let ping = said(|out| Heartbeat { token }.encode_ping(out));
        assert_asks(&ping, Command::Ping { token });
        let pong = said(|out| Heartbeat { token }.encode_pong(out));
        assert_asks(&pong, Command::Nothing);
        let mut unknown = pong;
        unknown[HEAD_KIND] = 0xf0;
        seal_frame(&mut unknown);
        assert_asks(&unknown, Command::Nothing);
    }

    #[test]
    fn a_client_says_goodbye() {
        let goodbye = Goodbye {
            code: GoodbyeCode::Done,
            retry_after_ms: 0,
            reason: "",
        };
        assert_asks(&said(|out| goodbye.encode(out)), Command::Goodbye);
    }

    #[test]
    fn frames_that_only_a_broker_sends_are_out_of_place() {
        let (request, outcome) = (1, Outcome::Ok);
        let topic = "news";
        let said = in_bytes(&Reply::Unsubscribed {
            request,
            topic,
            outcome,
        });
        let what = "a frame that only a broker sends";
        assert_asks(&said, Command::OutOfPlace(what));
    }

    #[test]
    fn bytes_that_are_not_a_command_are_refused_and_called_foreign_before_the_hello() {
        let foreign = decode(b"GET / HTTP/1.1", &Limits::DEFAULT).expect_err("another protocol");
        let (code, reason) = foreign.refusal(true);
        assert_eq!(code, GoodbyeCode::Damaged, "it may be a damaged hello");
        assert_eq!(reason, "the connection does not begin with an Oyez hello");
        let (code, reason) = foreign.refusal(false);
        assert_eq!(code, GoodbyeCode::Damaged);
        assert!(reason.contains("cannot be"), "{reason}");

        let mut damaged = said(|out| Heartbeat { token: 1 }.encode_ping(out));
        damaged[16] ^= 1;
        let damaged = decode(&damaged, &Limits::DEFAULT).expect_err("a wrong checksum");
        for before_hello in [true, false] {
            let (code, reason) = damaged.refusal(before_hello);
            assert_eq!(code, GoodbyeCode::Damaged);
            assert!(reason.contains("checksum"), "{reason}");
        }
    }

    #[test]
    fn before_the_hello_the_broker_waits_for_no_frame_longer_than_one() {
        let head = 70_000_u32.to_le_bytes();
        let mut record = head.to_vec();
        record.extend([1, 0, 1, 0]);
        assert_eq!(check_hello(&record, HELLO_SIZE_MAX), Ok(()));
        let fault = check_hello(&record, HELLO_SIZE_MAX + 8).expect_err("too long");
        let (code, reason) = fault.refusal(true);
        assert_eq!(code, GoodbyeCode::Damaged);
        assert_eq!(reason, "the connection does not begin with an Oyez hello");
        let (_, reason) = fault.refusal(false);
        assert!(reason.contains("kind 1"), "{reason}");
    }

    #[test]
    fn a_welcome_says_what_is_granted() {
        let reply = command::Welcome {
            version: VERSION,
            heartbeat_ms: 30_000,
            limits: Limits::DEFAULT,
            inflight_records_max: 256,
            inflight_bytes_max: 1 << 20,
            subscriptions_max: 9,
            instance: 0x0123_4567_89ab_cdef,
            name: "oyez-server",
        };
        let frame = Welcome {
            version: VERSION,
            heartbeat_ms: 30_000,
            limits: Limits::DEFAULT,
            inflight_records_max: 256,
            inflight_bytes_max: 1 << 20,
            subscriptions_max: 9,
            features: 0,
            expires_ms: 0,
            instance: 0x0123_4567_89ab_cdef,
            name: "oyez-server",
        };
        assert_becomes(&Reply::Welcome(reply), Frame::Welcome(frame));
    }

    #[test]
    fn outcomes_of_records_are_told_in_as_many_frames_as_they_need() {
        let entry = |correlation: usize| PublishedEntry {
            correlation: correlation as u64,
            offset: Offset::new(7),
            epoch: Epoch::new(9),
            outcome: Outcome::DiskFull,
            retry_after_ms: 0,
        };
        let entries: Vec<PublishedEntry> = (0..=PUBLISHED_ENTRIES_MAX).map(entry).collect();
        let out = in_bytes(&Reply::Published(&entries));
        let (mut rest, mut told, mut frames) = (&out[..], Vec::new(), 0);
        while let Ok(Front::Frame { frame, size }) = decode_frame(rest, &Limits::DEFAULT) {
            let Frame::Published(published) = frame else {
                panic!("{frame:?}");
            };
            told.extend(published.entries());
            rest = &rest[size..];
            frames += 1;
        }
        assert!(rest.is_empty());
        assert_eq!(frames, 2);
        assert_eq!(told, entries);
    }

    #[test]
    fn a_subscription_is_answered_with_its_beginning_or_why_there_is_none() {
        let begun = command::Subscribed {
            request: 3,
            outcome: Outcome::Ok,
            asked: Offset::new(4),
            next: Offset::new(10),
            earliest: Offset::new(8),
            head: Offset::new(12),
            epoch: Epoch::new(0x5_0000),
            epoch_changed: true,
            dropped: false,
        };
        let frame = Subscribed {
            id: 3,
            entry: 0,
            outcome: Outcome::Ok,
            retry_after_ms: 0,
            next: Offset::new(10),
            earliest: Offset::new(8),
            head: Offset::new(12),
            epoch: Epoch::new(0x5_0000),
            log: None,
            more_logs: false,
            epoch_changed: true,
            dropped: false,
        };
        assert_becomes(&begins(begun), Frame::Subscribed(frame));
        let dropped = command::Subscribed {
            epoch_changed: false,
            dropped: true,
            ..begun
        };
        let frame = Subscribed {
            epoch_changed: false,
            dropped: true,
            ..frame
        };
        assert_becomes(&begins(dropped), Frame::Subscribed(frame));
        let refused = command::Subscribed::refused(4, Outcome::AlreadySubscribed);
        let frame = Subscribed {
            id: 4,
            entry: 0,
            outcome: Outcome::AlreadySubscribed,
            retry_after_ms: 0,
            next: Offset::new(0),
            earliest: Offset::new(0),
            head: Offset::new(0),
            epoch: Epoch::new(0),
            log: None,
            more_logs: false,
            epoch_changed: false,
            dropped: false,
        };
        assert_becomes(&begins(refused), Frame::Subscribed(frame));
    }

    #[test]
    fn ends_of_subscriptions_and_answers_carry_their_requests() {
        let (id, outcome) = (5, Outcome::NotSubscribed);
        let reply = Reply::Unsubscribed {
            request: 5,
            topic: "news",
            outcome,
        };
        assert_becomes(&reply, Frame::Unsubscribed(Unsubscribed { id, outcome }));
        let (more, json) = (true, "{\"topics\":[]}");
        let reply = Reply::Answer {
            request: 5,
            more,
            json,
        };
        let outcome = Outcome::Ok;
        let answer = Answer {
            id,
            outcome,
            retry_after_ms: 0,
            more,
            json,
        };
        assert_becomes(&reply, Frame::Answer(answer));
    }

    #[test]
    fn a_gap_says_what_is_missing_and_why() {
        let (topic, cause) = ("news/local", GapCause::Damage);
        let (from, to, epoch) = (Offset::new(3), Offset::new(5), Epoch::new(9));
        let reply = Reply::Gap {
            topic,
            cause,
            from,
            to,
            epoch,
        };
        let hole = Hole {
            name: topic,
            from: Numbered::Offset(from),
            to: to.get(),
            epoch,
        };
        let frame = Gap { cause, hole };
        assert_becomes(&reply, Frame::Gap(frame));
    }

    #[test]
    fn requests_that_the_broker_cannot_serve_are_decoded_all_the_same() {
        let topic = |begin| wire::Subscription {
            begin,
            ..wire::Subscription::new("news", Start::Latest, None)
        };
        let filter = wire::Subscription {
            name: "news/#",
            is_filter: true,
            ..topic(Begin::At(Start::Latest))
        };
        let plain = topic(Begin::At(Start::Latest));
        let reserved = [
            vec![filter],
            vec![plain, plain],
            vec![topic(Begin::Time(5))],
            vec![topic(Begin::Last(5))],
            vec![topic(Begin::Token(b"token"))],
            vec![topic(Begin::Cursor("phone"))],
        ];
        let unsupported = |what| Command::Unsupported { request: 6, what };
        for topics in reserved {
            let said = said(|out| wire::Subscribe::encode(6, &topics, out));
            assert_asks(&said, unsupported(Unsupported::Subscribe));
        }
        let id = 6;
        let unsubscribe = Unsubscribe {
            id,
            name: "news/#",
            is_filter: true,
        };
        let credentials = b"secret";
        let ack = Ack {
            id,
            cursor: "phone",
            place: wire::Place {
                name: "news",
                epoch: Epoch::new(1),
                next: Numbered::Offset(Offset::new(2)),
            },
        };
        for (said, what) in [
            (
                said(|out| unsubscribe.encode(out)),
                Unsupported::Unsubscribe,
            ),
            (
                said(|out| Renew { id, credentials }.encode(out)),
                Unsupported::Renew,
            ),
            (said(|out| ack.encode(out)), Unsupported::Ack),
        ] {
            assert_asks(&said, unsupported(what));
        }
    }

    #[test]
    fn requests_that_the_broker_cannot_serve_get_an_answer_of_their_own_kind() {
        let reply = |what| in_bytes(&Reply::Unsupported { request: 6, what });
        let outcome_of = |what| {
            let out = reply(what);
            match decode_frame(&out, &Limits::DEFAULT).expect("a frame") {
                Front::Frame { frame, .. } => match frame {
                    Frame::Subscribed(told) if told.entry == Subscribed::ALL => {
                        (told.id, told.outcome)
                    }
                    Frame::Unsubscribed(told) => (told.id, told.outcome),
                    Frame::Answer(told) => (told.id, told.outcome),
                    Frame::Renewed(told) => (told.id, told.outcome),
                    Frame::Acked(told) => (told.id, told.outcome),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        };
        for what in [
            Unsupported::Subscribe,
            Unsupported::Unsubscribe,
            Unsupported::Query,
            Unsupported::Renew,
            Unsupported::Ack,
        ] {
            assert_eq!(outcome_of(what), (6, Outcome::NotSupported), "{what:?}");
        }
    }

    #[test]
    fn signs_of_life_carry_their_token() {
        let token = 77;
        assert_becomes(&Reply::Ping { token }, Frame::Ping(Heartbeat { token }));
        assert_becomes(&Reply::Pong { token }, Frame::Pong(Heartbeat { token }));
    }

    #[test]
    fn a_goodbye_says_why_and_when_to_come_back() {
        let goodbye = command::Goodbye {
            code: GoodbyeCode::Draining,
            retry_after_ms: 1_234,
            reason: "the broker is shutting down".into(),
        };
        let frame = Goodbye {
            code: GoodbyeCode::Draining,
            retry_after_ms: 1_234,
            reason: "the broker is shutting down",
        };
        assert_becomes(&Reply::Goodbye(&goodbye), Frame::Goodbye(frame));
    }
}
