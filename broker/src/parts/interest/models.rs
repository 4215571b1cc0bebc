//! A model of a shard that subscribes to a topic while another one publishes to it, in every interleaving.

use std::sync::Arc;

use loom::thread;
use oyez_protocol::record::Record;
use oyez_storage::{
    ArenaOptions, ArenaPool, DataDir, DirOptions, Durability, LogOptions, MemoryDisk, Moment,
    Store, StoreEvents,
};

use super::*;
use crate::parts::bell::Bell;
use crate::parts::mail::{Outbox, inbox};
use crate::rig::record;

const OWNER: usize = 0;
const SUBSCRIBER: usize = 1;

/// A store with a memory log.
fn open(dir: &DataDir, pool: &Arc<ArenaPool>) -> (Store, LogId) {
    let mut logs = dir.logs();
    let memory = logs.find(|spec| spec.durability == Durability::Memory);
    let log = memory.expect("one of each durability").id;
    let (disk, options) = (Box::new(MemoryDisk::new()), LogOptions::default());
    let opened = Store::open(dir, &[log], disk, pool.clone(), &options, Moment::default());
    (opened.expect("an empty log opens").0, log)
}

/// What the owner of the log does in a turn: see `turn::publish` and `turn::pump`.
fn publish(store: &mut Store, log: LogId, interest: &Interest, bell: &Bell) {
    let bytes = record("t", 8);
    let appended = store.append(log, &Record::trusted(&bytes).expect("a record"), 0);
    appended.expect("there is room for it");
    let mut progress = StoreEvents::default();
    let pumped = store.pump(Moment::default(), &mut progress);
    pumped.expect("nothing fails");
    let mut outbox = Outbox::new(OWNER, [(); 2].map(|()| inbox().0).into());
    for log in &progress.advanced {
        let interested = interest.interested(*log);
        interested
            .filter(|shard| *shard != OWNER)
            .for_each(|shard| outbox.wake(shard));
    }
    outbox.finish_turn(|shard| {
        assert_eq!(shard, SUBSCRIBER);
        bell.ring();
    });
}

#[test]
fn loom_a_subscriber_sees_a_record_at_once_or_is_woken_for_it() {
    let home = tempfile::tempdir().expect("a directory for temporary files");
    let options = DirOptions {
        logs_per_durability: 1,
        entropy: [7; 16],
        restored: false,
    };
    let (dir, _lock) = DataDir::open(home.path(), &options).expect("a data directory");
    let arena = ArenaOptions {
        blocks_max: 2,
        blocks_ready: 2,
    };
    let pool = ArenaPool::new(&arena).expect("memory for an arena");
    loom::model(move || {
        let (mut store, log) = open(&dir, &pool);
        let interest = Arc::new(Interest::new(2, dir.logs().count()));
        let bell = Arc::new(Bell::default());
        let reader = store.reader(log);
        let begin = reader.visible();
        let subscriber = {
            let (interest, bell) = (interest.clone(), bell.clone());
            thread::spawn(move || {
                // See `parts::membership` and `Logs::have_news`.
                interest.add(log, SUBSCRIBER);
                while reader.visible() == begin {
                    bell.wait();
                }
                interest.remove(log, SUBSCRIBER);
            })
        };
        publish(&mut store, log, &interest, &bell);
        subscriber.join().unwrap();
        assert_eq!(interest.interested(log).count(), 0);
    });
}
