//! Lets the shard's store work, tells the other shards that wait for it how far it has come, and tells the operator what went
//! wrong.

use oyez_protocol::LogId;
use oyez_protocol::planted::{Bug, planted};
use oyez_storage::{Failing, StoreEvents, Task};
use tracing::{error, info, warn};

use crate::error::ShardError;
use crate::parts::context::ShardContext;
use crate::parts::logs::Logs;
use crate::parts::mail::Outbox;

/// Lets the store work: completions, visible places, the next flushes. Returns what that has brought, for
/// [`Logs::keep_progress`] when it is passed on.
pub(crate) fn pump(
    context: &ShardContext,
    logs: &mut Logs,
    outbox: &mut Outbox,
) -> Result<StoreEvents, ShardError> {
    let mut events = logs.pump(context.now).map_err(ShardError::Poisoned)?;
    if !events.advanced.is_empty() {
        context.metrics().take_store(&logs.stats());
    }
    for log in &events.advanced {
        let interested = context.shared.interest.interested(*log);
        for shard in interested.filter(|shard| *shard != context.id) {
            if !planted(Bug::LosesAWakeUp) {
                outbox.wake(shard);
            }
        }
    }
    for us in events.syncs_us.drain(..) {
        context.metrics().sync_us.record(us);
    }
    tell_of_clocks(context, &events);
    tell_of_damage(context, &events);
    tell_of_failures(context, logs, &events);
    Ok(events)
}

/// Logs an operation that is tried again when it begins to fail and when it works again; in between failures are counted.
fn tell_of_failures(context: &ShardContext, logs: &Logs, events: &StoreEvents) {
    if events.failures == 0 && events.resolved.is_empty() {
        return;
    }
    let metrics = context.metrics();
    metrics.storage_failures.add(events.failures);
    metrics.storage_failing.set(logs.failing() as u64);
    for Failing { log, task, error } in &events.failing {
        let log = log.map(LogId::get);
        let then = match task {
            Task::State => {
                "it is tried again, and if the log is being closed, the next start recovers it"
            }
            _ => "it is tried again",
        };
        warn!(log, "{task} failed: {error}; {then}");
    }
    for resolved in &events.resolved {
        let log = resolved.log.map(LogId::get);
        let (task, failures) = (resolved.task, resolved.failures);
        info!(log, failures, "{task} works again");
    }
}

fn tell_of_damage(context: &ShardContext, events: &StoreEvents) {
    for block in &events.damaged {
        let path = block.path.display();
        error!(
            "{path}: the block at {} does not hold the bytes that were written; its intact records are served, \
             subscribers are told of a gap for the rest",
            block.at
        );
        context.metrics().damaged_blocks.add(1);
    }
}

fn tell_of_clocks(context: &ShardContext, events: &StoreEvents) {
    for clock in &events.clock_was_ahead {
        warn!(
            log = clock.log.get(),
            ahead_ms = clock.ahead_ms,
            before_sequence = clock.sequence.get(),
            "the wall clock had been ahead: records are stamped with its present time again, earlier ones keep \
             their stamps of the future"
        );
    }
    // Every shard sees the same clock.
    if let Some(ahead_ms) = events.clock_set_ahead_ms.filter(|_| context.id == 0) {
        warn!(
            ahead_ms,
            "the wall clock was set ahead: if that is wrong, set it right within ten minutes, before records \
             expire by it"
        );
    }
}

#[cfg(test)]
mod tests {
    use oyez_storage::{Fault, OpKind};

    use super::*;
    use crate::rig::{Rig, settings, settle};

    #[test]
    fn news_wake_the_shards_that_have_subscribers_and_no_others() {
        let [mut first, mut second, mut third] = Rig::shards(settings());
        let topic = first.topic_of(0, "t/");
        let subscriber = second.join();
        subscriber.subscribe(&topic, oyez_protocol::command::Start::Latest);
        settle(&mut [&mut first, &mut second, &mut third]);
        let publisher = first.join();
        publisher.publish(&topic, 10);
        first.turn();
        assert_eq!(first.net.woken(), [1]);
    }

    #[test]
    fn what_fails_and_is_tried_again_is_counted_until_it_works() {
        let mut rig = Rig::new();
        rig.disk.fail(OpKind::Prepare, Fault::Error(libc::ENOSPC));
        let publisher = rig.join();
        publisher.publish("synced/t", 10);
        rig.settle();
        let failures = rig.metrics().storage_failures.get();
        assert!(failures > 0 && rig.metrics().storage_failing.get() > 0);
        rig.disk.lift(OpKind::Prepare);
        for _ in 0..20 {
            rig.pass(1_000);
            rig.settle();
        }
        assert_eq!(rig.metrics().storage_failing.get(), 0);
    }

    #[test]
    fn a_log_that_cannot_be_written_ends_the_shard() {
        let mut rig = Rig::new();
        let publisher = rig.join();
        publisher.publish("synced/t", 10);
        rig.disk.fail(OpKind::Write, Fault::Error(libc::EIO));
        let ended = (0..20).find_map(|_| rig.try_turn().err());
        assert!(matches!(ended, Some(ShardError::Poisoned(_))), "{ended:?}");
        assert!(publisher.hear().is_empty(), "no outcome follows");
    }
}
