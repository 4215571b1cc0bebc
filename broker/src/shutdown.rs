//! The shutdown of a shard: carries out what `drain` decides.

use std::sync::atomic::Ordering;

use oyez_protocol::planted::{Bug, planted};

use crate::error::ShardError;
use crate::lend::Parts;
use crate::parts::phase::Phase;
use crate::turn::drain::{self, Bounds, DrainView, Order};

impl Parts {
    /// Goes on with the shutdown, if one has begun.
    ///
    /// # Errors
    /// When another shard has failed, so that this one ends, too.
    pub(crate) fn follow_phase(&mut self) -> Result<(), ShardError> {
        match self.context.shared.phase() {
            Phase::Serving => Ok(()),
            Phase::Stopping => {
                self.shut_down();
                Ok(())
            }
            Phase::Failed => Err(ShardError::Elsewhere),
        }
    }

    /// Ends the shard, when the shutdown is over.
    ///
    /// # Errors
    /// When its logs could not be closed in time.
    pub(crate) fn close(self) -> Result<(), ShardError> {
        let Some(undrained) = self.undrained else {
            return Ok(());
        };
        self.logs.abandon();
        Err(undrained)
    }

    /// Goes on with the shutdown by at most one step.
    fn shut_down(&mut self) {
        let seen = self.seen();
        let now_ms = self.context.now.monotonic_ms;
        let order = self.drain.advance(now_ms, Bounds::of(&self.context), seen);
        drain::count_shard(&self.context, order);
        match order {
            Order::StopListening => {
                self.net.stop_listening();
                self.arrivals.are_over();
            }
            Order::CloseLogs => self.logs.begin_drain(),
            Order::Dismiss | Order::GiveUp => {
                if order == Order::GiveUp {
                    self.undrained = drain::tell_of_undrained(&self.logs.undrained());
                }
                // Until no message is left: a reply after the Goodbye is not sent.
                self.hear();
                while self.inbox.has_messages_left() {
                    self.hear();
                }
                self.deliver_acks();
                if !planted(Bug::SaysNoGoodbye) {
                    let max_ms = self.context.shared.config.drain_spread_ms;
                    let spread_ms = self.drain.spread_ms(max_ms);
                    drain::dismiss_all(&self.context, &mut self.sessions, spread_ms);
                }
            }
            Order::Close => drain::close_all(&self.context, &mut self.sessions),
            Order::Wait | Order::BeQuiet | Order::BeDrained | Order::Over => {}
        }
    }

    fn seen(&self) -> DrainView {
        let (shared, publishes) = (&self.context.shared, &self.publishes);
        let all_said = publishes.all_told() && !self.outbox.has_unsaid();
        DrainView {
            has_records: self.outbox.has_records(),
            has_publishes: publishes.has_stalled() || publishes.has_left(),
            is_drained: self.logs.is_drained() && all_said,
            quiet: shared.shards_quiet.load(Ordering::Acquire),
            drained: shared.shards_drained.load(Ordering::Acquire),
            sessions: self.sessions.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::event::{Outcome, PublishedEntry};
    use oyez_storage::OpKind;

    use super::*;
    use crate::config::Config;
    use crate::net::memory::End;
    use crate::parts::mail::{Ack, Message};
    use crate::rig::{Client, Rig, settings};

    const TIMEOUT_MS: u64 = 5_000;

    fn stop(rig: &mut Rig) {
        let now_ms = rig.now_ms();
        rig.parts().context.shared.stop(now_ms);
    }

    fn is_over(rig: &mut Rig) -> bool {
        rig.parts().drain.is_over()
    }

    /// Runs turns of all these shards until their shutdowns are over, for a bounded time. Peers that hear a Goodbye shut their
    /// side. Returns what each client has heard, and after how many milliseconds the last shutdown was over.
    fn run_down(
        rigs: &mut [&mut Rig],
        clients: &[&Client],
        ms_max: u64,
    ) -> (Vec<Vec<String>>, u64) {
        let mut heard = vec![Vec::new(); clients.len()];
        for ms in 0..=ms_max {
            for rig in &mut *rigs {
                if !is_over(rig) {
                    rig.turn();
                }
            }
            for (heard, client) in std::iter::zip(&mut heard, clients) {
                let said = client.hear();
                if said.last().is_some_and(|said| said.starts_with("goodbye")) {
                    client.peer.shutdown();
                }
                heard.extend(said);
            }
            if rigs.iter_mut().all(|rig| is_over(rig)) {
                return (heard, ms);
            }
            rigs[0].pass(1);
        }
        (heard, u64::MAX)
    }

    const GOODBYE: &str = "goodbye Draining: the broker is shutting down";

    #[test]
    fn every_client_gets_a_goodbye_and_the_shard_ends_when_all_have_gone() {
        let mut rig = Rig::new();
        let (greeting, client) = (rig.connect(), rig.join());
        stop(&mut rig);
        let (heard, ms) = run_down(&mut [&mut rig], &[&greeting, &client], 20);
        assert_eq!(heard, [[GOODBYE], [GOODBYE]]);
        assert!(ms < 20, "{ms} ms");
        assert!(greeting.peer.is_closed() && client.peer.is_closed());
        assert_eq!(
            rig.net.connect().how_it_ended(),
            End::Aborted,
            "the shard does not listen any more"
        );
        rig.close().expect("everything is durable");
    }

    #[test]
    fn a_connection_that_comes_at_the_end_is_not_accepted() {
        let mut rig = Rig::new();
        stop(&mut rig);
        let late = rig.net.connect();
        run_down(&mut [&mut rig], &[], 20);
        assert_eq!(late.how_it_ended(), End::Aborted);
        assert!(is_over(&mut rig));
        assert_eq!(rig.metrics().connections_accepted.get(), 0);
    }

    #[test]
    fn records_that_were_read_are_made_durable_and_acknowledged_and_unread_ones_are_not() {
        let mut rig = Rig::new();
        let (early, late) = (rig.join(), rig.join());
        let subscriber = rig.subscriber("synced/a");
        rig.disk.hold(OpKind::Sync);
        early.publish("synced/a", 10);
        rig.settle();
        stop(&mut rig);
        rig.turn();
        late.publish("synced/a", 10);
        let clients = [&early, &late, &subscriber];
        let (heard, _) = run_down(&mut [&mut rig], &clients, 100);
        assert_eq!(heard, [[""; 0]; 3], "it waits for the disk");
        rig.disk.lift(OpKind::Sync);
        let (heard, _) = run_down(&mut [&mut rig], &clients, 100);
        let expected = [
            vec!["published Ok 0", GOODBYE],
            vec![GOODBYE],
            vec!["synced/a 0", GOODBYE],
        ];
        assert_eq!(heard, expected);
        rig.close().expect("everything is durable");
    }

    #[test]
    fn a_store_that_does_not_close_is_given_up_in_time_for_goodbyes() {
        let mut rig = Rig::new();
        let publisher = rig.join();
        rig.disk.hold(OpKind::Sync);
        for _ in 0..3 {
            publisher.publish("synced/a", 10);
        }
        rig.settle();
        stop(&mut rig);
        let early = run_down(&mut [&mut rig], &[&publisher], TIMEOUT_MS - 502);
        assert_eq!(early, (vec![vec![]], u64::MAX));
        let (heard, ms) = run_down(&mut [&mut rig], &[&publisher], 20);
        assert_eq!(heard, [[GOODBYE]]);
        assert!(ms < 20);
        let error = rig.close().expect_err("not everything is durable");
        assert!(
            matches!(
                error,
                ShardError::Undrained {
                    logs: 1,
                    records: 3
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn peers_that_do_not_go_are_closed_when_the_time_is_over() {
        let mut rig = Rig::new();
        let (deaf, lazy) = (rig.join(), rig.join());
        deaf.peer.stall();
        stop(&mut rig);
        let (_, ms) = run_down(&mut [&mut rig], &[], TIMEOUT_MS - 1);
        assert_eq!(ms, u64::MAX);
        assert_eq!(deaf.peer.how_it_ended(), End::Open);
        assert_eq!(lazy.peer.how_it_ended(), End::Shut, "it has its Goodbye");
        let (_, ms) = run_down(&mut [&mut rig], &[], 10);
        assert!(ms < 10);
        assert_eq!(deaf.peer.how_it_ended(), End::Aborted);
        assert_eq!(
            lazy.peer.how_it_ended(),
            End::Closed,
            "it may still read it"
        );
        assert_eq!(lazy.hear(), [GOODBYE]);
        rig.close().expect("everything is durable");
    }

    #[test]
    fn shards_wait_for_one_another() {
        let [mut first, mut second] = Rig::shards(settings());
        let client = second.join();
        stop(&mut first);
        let (heard, ms) = run_down(&mut [&mut second], &[&client], 1_000);
        assert_eq!(
            (heard, ms),
            (vec![vec![]], u64::MAX),
            "the other is not quiet"
        );
        let (heard, ms) = run_down(&mut [&mut first, &mut second], &[&client], 20);
        assert_eq!(heard, [[GOODBYE]]);
        assert!(ms < 20);
    }

    #[test]
    fn records_on_their_way_to_another_shard_are_stored_and_acknowledged() {
        let [mut first, mut second] = Rig::shards(settings());
        let publisher = first.join();
        let topics: Vec<String> = (0..8).map(|topic| format!("synced/{topic}")).collect();
        for topic in &topics {
            publisher.publish(topic, 10);
        }
        first.begin_turn();
        first.parts().read();
        stop(&mut first);
        let (heard, _) = run_down(&mut [&mut first, &mut second], &[&publisher], 100);
        let (last, told) = heard[0].split_last().expect("it was told something");
        assert_eq!(last, GOODBYE);
        let outcomes = told.iter().map(|told| told.matches("Ok 0").count());
        assert_eq!(outcomes.sum::<usize>(), topics.len(), "{told:?}");
        let stored =
            [first.metrics(), second.metrics()].map(|metrics| metrics.records_synced.get());
        assert!(stored.iter().all(|stored| *stored > 0));
        first.close().expect("everything is durable");
        second.close().expect("everything is durable");
    }

    #[test]
    fn all_messages_of_other_shards_are_handled_before_the_goodbye() {
        let [mut first, mut second] = Rig::shards(settings());
        let client = first.join();
        let shared = first.parts().context.shared.clone();
        stop(&mut first);
        while shared.shards_drained.load(Ordering::Acquire) < 2 {
            first.turn();
            second.turn();
        }
        // More messages than one turn handles, and then an outcome.
        for listing in 0..20 {
            let page = Default::default();
            let gone = Message::Topics { listing, page };
            second.parts().outbox.say(0, gone);
        }
        let session = first.session(&client);
        session.note_publish(100);
        let entry = PublishedEntry {
            correlation: 1,
            offset: Default::default(),
            epoch: Default::default(),
            outcome: Outcome::Ok,
            retry_after_ms: 0,
        };
        let ack = Ack {
            session: client.id,
            size: 100,
            entry,
        };
        let acks = vec![ack];
        second
            .parts()
            .outbox
            .say(0, Message::Published { from: 1, acks });
        second.parts().submit().expect("the disk works");
        first.begin_turn();
        first.parts().shut_down();
        first.parts().endings().run();
        first.parts().flushing().run();
        assert_eq!(client.hear(), ["published Ok 0", GOODBYE]);
    }

    #[test]
    fn a_shard_ends_when_another_one_has_failed() {
        let mut rig = Rig::new();
        rig.turn();
        rig.parts().context.shared.enter(Phase::Failed);
        assert!(matches!(rig.try_turn(), Err(ShardError::Elsewhere)));
    }

    /// After how many milliseconds the clients of a shard are told to come back.
    fn told_times(rig: &mut Rig, spread_ms: u64) -> Vec<u32> {
        let parts = rig.parts();
        drain::dismiss_all(&parts.context, &mut parts.sessions, spread_ms);
        let told = std::iter::from_fn(|| rig.parts().sessions.next_dismissed());
        let mut times: Vec<u32> = told.map(|told| told.goodbye.retry_after_ms).collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn every_client_is_to_come_back_at_another_time() {
        let mut rig = Rig::new();
        let clients: Vec<Client> = (0..50).map(|_| rig.join()).collect();
        let mut times = told_times(&mut rig, 10_000);
        times.dedup();
        assert!(times.len() > 40, "{times:?}");
        assert!(
            times[0] < 1_500 && times[times.len() - 1] > 8_500,
            "{times:?}"
        );
        assert!(times.iter().all(|ms| (1..=10_000).contains(ms)));
        assert_eq!(clients.len(), 50);
    }

    #[test]
    fn every_client_is_told_when_to_come_back_also_where_that_is_at_once() {
        let mut rig = Rig::with(Config {
            drain_spread_ms: 0,
            ..settings()
        });
        let clients: Vec<Client> = (0..9).map(|_| rig.join()).collect();
        let spread_ms = spread_ms(&mut rig);
        let times = told_times(&mut rig, spread_ms);
        assert_eq!(times, vec![1; clients.len()], "0 leaves it to the client");
    }

    /// The span over which a shutdown that begins now asks clients to come back.
    fn spread_ms(rig: &mut Rig) -> u64 {
        stop(rig);
        rig.turn();
        let max_ms = rig.parts().context.shared.config.drain_spread_ms;
        rig.parts().drain.spread_ms(max_ms)
    }

    #[test]
    fn a_client_alone_is_to_come_back_at_once() {
        let mut rig = Rig::new();
        let _client = rig.join();
        let spread_ms = spread_ms(&mut rig);
        assert_eq!(told_times(&mut rig, spread_ms), [1]);
    }

    #[test]
    fn few_clients_are_to_come_back_sooner_than_many() {
        for (clients, expected_ms) in [
            (40, 10),
            (10_000, 2_500),
            (40_000, 10_000),
            (1 << 20, 10_000),
        ] {
            let mut rig = Rig::new();
            let connections = &rig.parts().context.shared.connections;
            connections.store(clients, Ordering::Relaxed);
            assert_eq!(spread_ms(&mut rig), expected_ms, "{clients} clients");
        }
    }
}
