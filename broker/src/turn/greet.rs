//! Lets in the clients that the broker can serve.

use oyez_protocol::event::GoodbyeCode;
use tracing::debug;

use crate::dialect::command::{Hello, Reply, Welcome};
use crate::parts::here::Here;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::taken::Taken;
use crate::tell::tell;

/// The shortest heartbeat that a client can wish for.
const HEARTBEAT_MS_MIN: u32 = 1_000;
/// What the broker calls itself.
const NAME: &str = concat!("oyez-server/", env!("CARGO_PKG_VERSION"));

/// Answers a hello: opens the session, or says why not.
pub(crate) fn greet(
    here: &Here,
    sessions: &mut Sessions,
    id: SessionId,
    hello: &Hello<'_>,
) -> Taken {
    let version = match hello.version {
        Ok(version) => version,
        Err(none) => {
            sessions.refuse(here, id, GoodbyeCode::Version, none.to_string());
            return Taken::Over;
        }
    };
    if !hello.credentials.is_empty() {
        let reason = "this broker has no access control and cannot check credentials; \
                      connect without them";
        sessions.refuse(here, id, GoodbyeCode::Credentials, reason);
        return Taken::Over;
    }
    debug!(session = id.key(), name = hello.name, "hello");
    let config = &here.shared.config;
    let heartbeat_ms = match hello.heartbeat_ms {
        0 => config.heartbeat_ms,
        wish => wish.clamp(
            HEARTBEAT_MS_MIN.min(config.heartbeat_ms),
            config.heartbeat_ms,
        ),
    };
    let welcome = Welcome {
        version,
        heartbeat_ms,
        limits: config.limits(),
        inflight_records_max: config.inflight_records_max,
        inflight_bytes_max: config.inflight_bytes_max,
        instance: here.shared.instance,
        name: NAME,
    };
    tell(here, sessions, id, &Reply::Welcome(welcome));
    let session = sessions.there_mut(id);
    session.open(heartbeat_ms);
    here.metrics().sessions.add(1);
    Taken::Done
}
