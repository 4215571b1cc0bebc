//! The native dialect: frames of `oyez_protocol`.

use oyez_protocol::event::{
    Answer, Gap, Goodbye, Heartbeat, Published, Subscribed, Unsubscribed, Welcome,
};

use crate::dialect::command::Reply;

/// Appends a reply to `out`. Outcomes become as many frames as they need.
///
/// # Panics
/// If an answer is longer than an answer may be; [`ANSWER_SIZE_MAX`](oyez_protocol::limits::ANSWER_SIZE_MAX) says so.
pub(crate) fn encode(reply: &Reply<'_>, out: &mut Vec<u8>) {
    match *reply {
        Reply::Welcome(welcome) => Welcome {
            version: welcome.version,
            heartbeat_ms: welcome.heartbeat_ms,
            limits: welcome.limits,
            inflight_records_max: welcome.inflight_records_max,
            inflight_bytes_max: welcome.inflight_bytes_max,
            instance: welcome.instance,
            name: welcome.name,
        }
        .encode(out),
        Reply::Published(entries) => Published::encode(entries, out),
        Reply::Subscribed(subscribed) => Subscribed {
            id: subscribed.request,
            outcome: subscribed.outcome,
            next: subscribed.next,
            earliest: subscribed.earliest,
            head: subscribed.head,
            epoch: subscribed.epoch,
            epoch_changed: subscribed.epoch_changed,
            dropped: subscribed.dropped,
        }
        .encode(out),
        Reply::Unsubscribed {
            request: id,
            outcome,
        } => Unsubscribed { id, outcome }.encode(out),
        Reply::Answer {
            request: id,
            more,
            json,
        } => Answer { id, more, json }.encode(out),
        Reply::Gap {
            topic,
            cause,
            from,
            to,
        } => Gap {
            topic,
            cause,
            from,
            to,
        }
        .encode(out),
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

#[cfg(test)]
mod tests {
    use oyez_protocol::event::{GapCause, GoodbyeCode, Outcome, PublishedEntry};
    use oyez_protocol::limits::{Limits, PUBLISHED_ENTRIES_MAX};
    use oyez_protocol::{Decoded as Front, Epoch, Frame, Offset, decode as decode_frame};

    use super::*;
    use crate::dialect::command;

    fn in_bytes(reply: &Reply<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(reply, &mut out);
        out
    }

    /// The frame that a reply becomes, and it alone.
    fn assert_becomes(reply: &Reply<'_>, expected: Frame<'_>) {
        let out = in_bytes(reply);
        let front = decode_frame(&out, &Limits::DEFAULT).expect("a frame");
        let size = out.len();
        let frame = expected;
        assert_eq!(front, Front::Frame { frame, size });
    }

    #[test]
    fn a_welcome_says_what_is_granted() {
        let reply = command::Welcome {
            version: 1,
            heartbeat_ms: 30_000,
            limits: Limits::DEFAULT,
            inflight_records_max: 256,
            inflight_bytes_max: 1 << 20,
            instance: 0x0123_4567_89ab_cdef,
            name: "oyez-server",
        };
        let frame = Welcome {
            version: 1,
            heartbeat_ms: 30_000,
            limits: Limits::DEFAULT,
            inflight_records_max: 256,
            inflight_bytes_max: 1 << 20,
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
    fn where_a_subscription_begins_is_told_and_why_there_is_none() {
        let begun = command::Subscribed {
            request: 3,
            outcome: Outcome::Ok,
            next: Offset::new(10),
            earliest: Offset::new(8),
            head: Offset::new(12),
            epoch: Epoch::new(0x5_0000),
            epoch_changed: true,
            dropped: false,
        };
        let frame = Subscribed {
            id: 3,
            outcome: Outcome::Ok,
            next: Offset::new(10),
            earliest: Offset::new(8),
            head: Offset::new(12),
            epoch: Epoch::new(0x5_0000),
            epoch_changed: true,
            dropped: false,
        };
        assert_becomes(&Reply::Subscribed(begun), Frame::Subscribed(frame));
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
        assert_becomes(&Reply::Subscribed(dropped), Frame::Subscribed(frame));
        let refused = command::Subscribed::refused(4, Outcome::AlreadySubscribed);
        let frame = Subscribed {
            id: 4,
            outcome: Outcome::AlreadySubscribed,
            next: Offset::new(0),
            earliest: Offset::new(0),
            head: Offset::new(0),
            epoch: Epoch::new(0),
            epoch_changed: false,
            dropped: false,
        };
        assert_becomes(&Reply::Subscribed(refused), Frame::Subscribed(frame));
    }

    #[test]
    fn ends_of_subscriptions_and_answers_carry_their_requests() {
        let (id, outcome) = (5, Outcome::NotSubscribed);
        let reply = Reply::Unsubscribed {
            request: 5,
            outcome,
        };
        assert_becomes(&reply, Frame::Unsubscribed(Unsubscribed { id, outcome }));
        let (more, json) = (true, "{\"topics\":[]}");
        let reply = Reply::Answer {
            request: 5,
            more,
            json,
        };
        assert_becomes(&reply, Frame::Answer(Answer { id, more, json }));
    }

    #[test]
    fn a_gap_says_what_is_missing_and_why() {
        let (topic, cause) = ("news/local", GapCause::Damage);
        let (from, to) = (Offset::new(3), Offset::new(5));
        let reply = Reply::Gap {
            topic,
            cause,
            from,
            to,
        };
        let frame = Gap {
            topic,
            cause,
            from,
            to,
        };
        assert_becomes(&reply, Frame::Gap(frame));
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
