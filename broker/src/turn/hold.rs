//! Releases the answers that waited for another one, to leave in one send with it.

use crate::parts::context::ShardContext;
use crate::parts::held::HeldReplies;
use crate::parts::session::Session;
use crate::parts::sessions::Sessions;

/// Forgets the sessions whose answer has come, and releases those that have waited long enough.
pub(crate) fn release_due(context: &ShardContext, sessions: &mut Sessions, held: &mut HeldReplies) {
    while let Some((id, is_due)) = held.first(context.now.monotonic_ms) {
        let waits = sessions.get(id).is_some_and(Session::is_held);
        if waits && !is_due {
            return;
        }
        held.forget_first();
        if waits {
            sessions.there_mut(id).release();
            sessions.schedule_send(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::command::Start;

    use crate::parts::due::Due;
    use crate::parts::ending::Reason;
    use crate::rig::{Client, Rig, settings, settle};

    /// A client that has said hello and subscribed in one send, to a topic that the first shard owns.
    fn held(rig: &mut Rig) -> Client {
        let client = rig.connect();
        client.hello();
        let topic = rig.topic_of(0, "t/");
        client.subscribe(&topic, Start::Latest);
        rig.turn();
        assert!(rig.session(&client).is_held());
        client
    }

    #[test]
    fn a_welcome_leaves_with_the_answer_that_it_waits_for() {
        let [mut owner, mut rig] = Rig::shards(settings());
        let client = held(&mut rig);
        assert!(client.hear().is_empty());
        let before = rig.net.calls().sends;
        settle(&mut [&mut owner, &mut rig]);
        assert_eq!(client.hear(), ["welcome", "subscribed Ok at 0"]);
        assert_eq!(rig.net.calls().sends, before + 1);
        assert_eq!(rig.parts().held.due(), Due::Idle);
    }

    #[test]
    fn a_welcome_that_has_waited_long_enough_leaves_alone() {
        let [_owner, mut rig] = Rig::shards(settings());
        let first = held(&mut rig);
        rig.pass(99);
        rig.begin_turn();
        rig.parts().release_held();
        assert!(rig.session(&first).is_held());
        assert_eq!(rig.parts().held.due(), Due::At(rig.now_ms() + 1));
        rig.pass(1);
        rig.begin_turn();
        rig.parts().release_held();
        assert!(!rig.session(&first).is_held());
        assert_eq!(rig.parts().held.due(), Due::Idle);
        rig.parts().flushing().run();
        assert_eq!(first.hear(), ["welcome"]);
    }

    #[test]
    fn a_session_that_has_ended_holds_up_no_session_behind_it() {
        let [_owner, mut rig] = Rig::shards(settings());
        let (first, second) = (held(&mut rig), held(&mut rig));
        rig.end(&first, Reason::PeerClosed);
        rig.parts().release_held();
        assert_eq!(rig.parts().held.first(0), Some((second.id, false)));
    }
}
