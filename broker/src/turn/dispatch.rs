//! From frames to what they ask for.

use oyez_protocol::Frame;
use oyez_protocol::command::{Hello, Query, Question, VERSION};
use oyez_protocol::event::{GoodbyeCode, Heartbeat, Welcome};
use tracing::debug;

use crate::parts::ending::Reason;
use crate::parts::room::MUCH_BYTES;
use crate::parts::session::{SessionId, Stage};
use crate::parts::taken::{Taken, Until};
use crate::shard::Shard;
use crate::turn::lag;
use crate::turn::query::{answer_stats, list_topics};

/// A peer that does not take its answers gets no more of them once this many bytes wait for it.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// The shortest heartbeat that a client can wish for.
const HEARTBEAT_MS_MIN: u32 = 1_000;
/// What the broker calls itself.
const NAME: &str = concat!("oyez-server/", env!("CARGO_PKG_VERSION"));

impl Shard {
    /// Takes one frame of a session.
    pub(crate) fn dispatch(&mut self, id: SessionId, frame: Frame<'_>) -> Taken {
        let Some(session) = self.sessions.get(id) else {
            return Taken::Over;
        };
        if session.stage == Stage::Open {
            let (unread, output) = (session.outgoing_bytes(), &self.sessions.room.output);
            if unread > OUTPUT_BYTES_MAX || (unread > MUCH_BYTES && output.is_short()) {
                return Taken::Later(Until::Answered);
            }
            if output.is_full() {
                self.sessions.room.missed = true;
                return Taken::Later(Until::Room);
            }
        }
        match (session.stage, frame) {
            (Stage::Closing | Stage::Lingering | Stage::Gone, _) => Taken::Over,
            (Stage::Greeting, Frame::Hello(hello)) => self.greet(id, &hello),
            (Stage::Greeting, _) => {
                self.unexpected(id, "the first frame of a connection is a hello")
            }
            (Stage::Open, Frame::Record(record)) => self.publish(id, record),
            (Stage::Open, Frame::Subscribe(request)) => self.subscribe(id, &request),
            (Stage::Open, Frame::Unsubscribe(request)) => self.unsubscribe(id, &request),
            (Stage::Open, Frame::Query(query)) => self.query(id, &query),
            (Stage::Open, Frame::Ping(ping)) => self.pong(id, ping),
            (Stage::Open, Frame::Pong(_) | Frame::Skipped { .. }) => Taken::Done,
            (Stage::Open, Frame::Goodbye(_)) => {
                self.sessions.end(&self.here, id, Reason::PeerDone);
                Taken::Over
            }
            (Stage::Open, Frame::Hello(_)) => self.unexpected(id, "a second hello"),
            (
                Stage::Open,
                Frame::Welcome(_)
                | Frame::Subscribed(_)
                | Frame::Unsubscribed(_)
                | Frame::Published(_)
                | Frame::Answer(_)
                | Frame::Gap(_),
            ) => self.unexpected(id, "a frame that only a broker sends"),
        }
    }

    fn greet(&mut self, id: SessionId, hello: &Hello<'_>) -> Taken {
        if !(hello.version_min..=hello.version_max).contains(&VERSION) {
            let reason = format!(
                "this broker speaks version {VERSION}, the client {} to {}",
                hello.version_min, hello.version_max
            );
            self.sessions
                .refuse(&self.here, id, GoodbyeCode::Version, &reason);
            return Taken::Over;
        }
        if !hello.credentials.is_empty() {
            let reason = "this broker has no access control and cannot check credentials; \
                          connect without them";
            self.sessions
                .refuse(&self.here, id, GoodbyeCode::Credentials, reason);
            return Taken::Over;
        }
        debug!(session = id.key(), name = hello.name, "hello");
        let config = &self.here.shared.config;
        let heartbeat_ms = match hello.heartbeat_ms {
            0 => config.heartbeat_ms,
            wish => wish.clamp(
                HEARTBEAT_MS_MIN.min(config.heartbeat_ms),
                config.heartbeat_ms,
            ),
        };
        let welcome = Welcome {
            version: VERSION,
            heartbeat_ms,
            limits: config.limits(),
            inflight_records_max: config.inflight_records_max,
            inflight_bytes_max: config.inflight_bytes_max,
            instance: self.here.shared.instance,
            name: NAME,
        };
        self.scratch.clear();
        let mut scratch = std::mem::take(&mut self.scratch);
        welcome.encode(&mut scratch);
        self.sessions
            .control(&self.here, id, |out| out.extend_from_slice(&scratch));
        self.scratch = scratch;
        if let Some(session) = self.sessions.get_mut(id) {
            session.stage = Stage::Open;
            session.heartbeat_ms = heartbeat_ms;
        }
        self.here.metrics().sessions.add(1);
        Taken::Done
    }

    /// Answers a question about the broker, or begins to. One that takes more than is left of the questions' share is begun
    /// all the same, and delays those after it.
    fn query(&mut self, id: SessionId, query: &Query<'_>) -> Taken {
        if !self.allowance.has_some() {
            return Taken::Later(Until::Room);
        }
        let asked = match query.question {
            Question::Stats => {
                let sending = self.send_ring.as_ref().map_or("loop", |_| "ring");
                let told = (&self.logs, &self.outbox, sending);
                let asker = (id, query.id);
                Ok(answer_stats(&self.here, &mut self.sessions, told, asker))
            }
            Question::Topics { after } => list_topics(
                &self.here,
                &mut self.listings,
                (&self.logs, &mut self.outbox),
                (id, query.id, after),
            ),
            Question::Lag => lag::ask(&self.here, &mut self.lag, &mut self.outbox, (id, query.id)),
        };
        match asked {
            Ok(steps) => {
                self.reading.spend(steps, 0);
                self.allowance.spend(steps);
                Taken::Done
            }
            Err(until) => Taken::Later(until),
        }
    }

    fn pong(&mut self, id: SessionId, ping: Heartbeat) -> Taken {
        self.sessions
            .control(&self.here, id, |out| ping.encode_pong(out))
    }

    fn unexpected(&mut self, id: SessionId, what: &str) -> Taken {
        self.sessions
            .refuse(&self.here, id, GoodbyeCode::Unexpected, what);
        Taken::Over
    }
}
