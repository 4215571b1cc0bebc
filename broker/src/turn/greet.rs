//! Opens the sessions of clients that the broker can serve.

use oyez_protocol::event::GoodbyeCode;
use tracing::debug;

use crate::dialect::command::{Dialect, Hello, Reply, Welcome};
use crate::parts::context::ShardContext;
use crate::parts::handled::Handled;
use crate::parts::patience::PINGED_MS;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::replies::tell;

/// The shortest heartbeat that a client can wish for.
const HEARTBEAT_MS_MIN: u32 = 1_000;
/// The name of the broker's program in a welcome.
const NAME: &str = concat!("oyez-server/", env!("CARGO_PKG_VERSION"));

/// Answers a hello: opens the session, or says why it does not.
pub(crate) fn greet(
    context: &ShardContext,
    sessions: &mut Sessions,
    id: SessionId,
    hello: &Hello<'_>,
) -> Handled {
    let version = match hello.version {
        Ok(version) => version,
        Err(none) => {
            sessions.refuse(context, id, GoodbyeCode::Version, none.to_string());
            return Handled::Over;
        }
    };
    if !hello.credentials.is_empty() {
        let reason = "this broker has no access control and cannot check credentials; \
                      connect without them";
        sessions.refuse(context, id, GoodbyeCode::Credentials, reason);
        return Handled::Over;
    }
    debug!(session = id.key(), name = hello.name, "hello");
    let config = &context.shared.config;
    let longest_ms = match sessions.there(id).dialect() {
        Dialect::WebSocket => config.heartbeat_ms.min(PINGED_MS),
        _ => config.heartbeat_ms,
    };
    let heartbeat_ms = match hello.heartbeat_ms {
        0 => longest_ms,
        wish => wish.clamp(HEARTBEAT_MS_MIN.min(longest_ms), longest_ms),
    };
    let welcome = Welcome {
        version,
        heartbeat_ms,
        limits: config.limits(),
        inflight_records_max: config.inflight_records_max,
        inflight_bytes_max: config.inflight_bytes_max,
        subscriptions_max: u32::try_from(config.max_subscriptions).unwrap_or(u32::MAX),
        instance: context.shared.instance,
        name: NAME,
    };
    tell(context, sessions, id, &Reply::Welcome(welcome));
    let session = sessions.there_mut(id);
    session.open(heartbeat_ms);
    context.metrics().sessions.add(1);
    Handled::Done
}

#[cfg(test)]
mod tests {
    use oyez_protocol::command::{Hello, VERSION};

    use super::*;
    use crate::config::Config;
    use crate::parts::session::Stage;
    use crate::rig::{Client, HELLO, Rig, settings, welcome};

    /// A client that has said hello, and been answered.
    fn greeted(rig: &mut Rig, hello: &Hello<'_>) -> Client {
        let client = rig.connect();
        client.say_hello(hello);
        rig.begin_turn();
        rig.parts().reading().run();
        client
    }

    fn sessions(rig: &mut Rig) -> u64 {
        rig.parts().context.metrics().sessions.get()
    }

    #[test]
    fn a_welcome_says_what_the_session_may() {
        let mut rig = Rig::new();
        let client = greeted(&mut rig, &HELLO);
        assert_eq!(rig.session(&client).stage(), Stage::Open);
        assert_eq!(sessions(&mut rig), 1);
        rig.settle();
        let bytes = client.peer.read();
        let welcome = welcome(&bytes);
        let config = settings();
        assert_eq!(welcome.version, VERSION);
        assert_eq!(welcome.heartbeat_ms, config.heartbeat_ms);
        assert_eq!(welcome.limits, config.limits());
        assert_eq!(welcome.inflight_records_max, config.inflight_records_max);
        assert_eq!(welcome.inflight_bytes_max, config.inflight_bytes_max);
        assert_eq!((welcome.instance, welcome.name), (7, NAME));
    }

    #[test]
    fn a_client_wishes_for_a_heartbeat_within_bounds() {
        for (own_ms, wish_ms, heartbeat_ms) in [
            (300_000, 0, 300_000),
            (300_000, 5_000, 5_000),
            (300_000, 10, 1_000),
            (300_000, 400_000, 300_000),
            (500, 10, 500),
        ] {
            let mut rig = Rig::with(Config {
                heartbeat_ms: own_ms,
                ..settings()
            });
            let hello = Hello {
                heartbeat_ms: wish_ms,
                ..HELLO
            };
            let client = greeted(&mut rig, &hello);
            assert_eq!(rig.session(&client).heartbeat_ms(), heartbeat_ms);
        }
    }

    #[test]
    fn a_client_of_another_version_or_with_credentials_is_refused() {
        let other = Hello {
            version_min: VERSION + 1,
            version_max: VERSION + 2,
            ..HELLO
        };
        let secret = Hello {
            credentials: b"secret",
            ..HELLO
        };
        for (hello, told) in [
            (other, "goodbye Version: "),
            (secret, "goodbye Credentials: "),
        ] {
            let mut rig = Rig::new();
            let client = greeted(&mut rig, &hello);
            assert_eq!(sessions(&mut rig), 0);
            rig.settle();
            let heard = client.hear();
            assert!(heard.len() == 1 && heard[0].starts_with(told), "{heard:?}");
        }
    }

    #[test]
    fn a_client_that_also_speaks_other_versions_is_welcome() {
        let mut rig = Rig::new();
        let hello = Hello {
            version_min: VERSION - 1,
            version_max: VERSION + 1,
            ..HELLO
        };
        let client = greeted(&mut rig, &hello);
        assert_eq!(rig.session(&client).stage(), Stage::Open);
    }
}
