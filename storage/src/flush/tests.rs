//! What flushing decides, without a disk.

use super::*;

const SEGMENT: u64 = 8 * BLOCK_BYTES;

fn reached(sequence: u64) -> Reached {
    Reached { sequence, chain: 9 }
}

fn request(from: u64, covers: u64, sync: WriteSync) -> Request {
    Request {
        from,
        asked: usize::try_from(covers - from).expect("it is small"),
        covers,
        reached: reached(covers / 100),
        sync,
    }
}

fn acknowledged(news: &FlushEffects) -> Option<u64> {
    news.acknowledged.map(|acknowledged| acknowledged.end)
}

#[test]
fn a_synced_log_acknowledges_what_a_sync_covers_and_a_written_log_what_a_write_does() {
    let mut synced = Flush::new(Durability::Synced);
    synced.note_started(1, request(0, 400, WriteSync::File));
    let news = synced.written(1, Ok(400)).expect("it is whole");
    assert_eq!(acknowledged(&news), None, "the sync is under way");
    assert!(!synced.is_idle());
    let news = synced.synced(1, Ok(())).expect("it is durable");
    assert_eq!(acknowledged(&news), Some(400));
    assert_eq!(news.mark, Some((400, reached(4))));
    assert_eq!(news.completed_from, Some(0));
    assert_eq!((synced.safe_to(), synced.sealed_to()), (400, 400));
    let mut written = Flush::new(Durability::Written);
    written.note_started(1, request(0, 400, WriteSync::None));
    let news = written.written(1, Ok(400)).expect("it is whole");
    assert_eq!(
        (acknowledged(&news), news.completed_from),
        (Some(400), Some(0))
    );
    assert_eq!((written.safe_to(), written.sealed_to()), (400, 0));
    assert!(written.is_idle());
}

#[test]
fn the_end_of_an_operation_that_is_not_the_flights_says_nothing() {
    let mut flush = Flush::new(Durability::Synced);
    flush.note_started(7, request(0, 400, WriteSync::Range));
    let news = flush.written(6, Ok(400)).expect("it is nobody's");
    assert_eq!(news, FlushEffects::default());
    let news = flush.synced(8, Ok(())).expect("it is nobody's");
    assert_eq!(news, FlushEffects::default());
    assert_eq!((flush.written_to(), flush.synced_to()), (0, 0));
}

#[test]
fn the_rest_of_a_short_write_is_written_once_its_cancelled_sync_has_come() {
    let mut flush = Flush::new(Durability::Synced);
    flush.note_started(1, request(0, 400, WriteSync::File));
    let news = flush.written(1, Ok(160)).expect("a part is written");
    assert_eq!((news.completed_from, news.next), (None, Next::Nothing));
    let cancelled = io::Error::from_raw_os_error(libc::ECANCELED);
    let news = flush.synced(1, Err(cancelled)).expect("it did not run");
    assert_eq!((acknowledged(&news), news.completed_from), (None, Some(0)));
    assert_eq!((flush.written_to(), flush.synced_to()), (160, 0));
    // Without a sync to wait for, at once.
    flush.note_started(2, request(160, 400, WriteSync::Range));
    let news = flush.written(2, Ok(40)).expect("a part is written");
    assert_eq!((news.completed_from, news.next), (Some(160), Next::Rest));
    assert_eq!(flush.written_to(), 200);
}

#[test]
fn a_sync_that_came_before_its_write_is_made_again_and_acknowledges_nothing() {
    let mut flush = Flush::new(Durability::Synced);
    flush.note_started(1, request(0, 400, WriteSync::File));
    let news = flush.synced(1, Ok(())).expect("it says nothing");
    assert_eq!(news, FlushEffects::default());
    let news = flush.written(1, Ok(400)).expect("it is whole");
    let covers = 400;
    let reached = reached(4);
    assert_eq!(news.next, Next::Sync { covers, reached });
    assert_eq!((acknowledged(&news), flush.synced_to()), (None, 0));
}

#[test]
fn a_log_fails_after_three_writes_that_bring_nothing_and_after_one_failed_sync() {
    let mut flush = Flush::new(Durability::Written);
    for token in 0..2 {
        flush.note_started(token, request(0, 400, WriteSync::None));
        let news = flush.written(token, Ok(0)).expect("it may work next time");
        assert_eq!(news.next, Next::Rest);
    }
    flush.note_started(2, request(0, 400, WriteSync::None));
    let failure = flush.written(2, Ok(0)).expect_err("it does not work");
    assert_eq!(failure.what, "write");
    let mut flush = Flush::new(Durability::Synced);
    flush.note_started(0, request(0, 400, WriteSync::File));
    flush.written(0, Ok(400)).expect("it is whole");
    let failed = io::Error::from_raw_os_error(libc::EIO);
    let failure = flush
        .synced(0, Err(failed))
        .expect_err("it is not repeated");
    assert_eq!(failure.what, "sync");
}

#[test]
fn a_mark_alone_waits_for_records_and_not_for_ever_nor_in_a_drain() {
    let mut flush = Flush::new(Durability::Synced);
    flush.go_on(400, 400, reached(4), Acknowledged::default());
    let marked = Ends {
        head: 440,
        records: 400,
    };
    assert!(flush.waits(marked, 100));
    assert_eq!(flush.mark_due_ms(), Some(100 + MARK_DELAY_MS));
    assert!(flush.waits(marked, 99 + MARK_DELAY_MS));
    assert!(!flush.waits(marked, 100 + MARK_DELAY_MS));
    assert!(flush.waits(marked, 200));
    let records = Ends {
        head: 540,
        records: 540,
    };
    assert!(!flush.waits(records, 201), "records take it along");
    assert_eq!(flush.mark_due_ms(), None);
    flush.begin_drain();
    assert!(!flush.waits(marked, 300));
}

#[test]
fn a_write_syncs_its_range_only_where_nothing_before_it_waits_for_a_sync() {
    let mut flush = Flush::new(Durability::Synced);
    flush.go_on(400, 400, reached(4), Acknowledged::default());
    let piece = |at, covers| Piece {
        at,
        block: at / BLOCK_BYTES * BLOCK_BYTES,
        covers,
        segment: 0..SEGMENT,
    };
    let ends = |head| Ends {
        head,
        records: head,
    };
    assert_eq!(
        flush.sync_for(&piece(400, 500), ends(500)),
        WriteSync::Range
    );
    // A mark that was written alone is written again with it.
    assert_eq!(
        flush.sync_for(&piece(440, 540), ends(540)),
        WriteSync::Range
    );
    assert_eq!(flush.sync_for(&piece(480, 540), ends(540)), WriteSync::File);
    let more = ends(3 * BLOCK_BYTES);
    assert_eq!(
        flush.sync_for(&piece(400, BLOCK_BYTES), more),
        WriteSync::None
    );
    let much = piece(4 * BLOCK_BYTES, 5 * BLOCK_BYTES);
    assert_eq!(
        flush.sync_for(&much, ends(6 * BLOCK_BYTES)),
        WriteSync::File
    );
    let last = piece(SEGMENT - BLOCK_BYTES, SEGMENT);
    let marks_only = Ends {
        head: SEGMENT + 100,
        records: 400,
    };
    assert_eq!(flush.sync_for(&last, marks_only), WriteSync::File);
    let written = Flush::new(Durability::Written);
    assert_eq!(written.sync_for(&piece(0, 100), ends(100)), WriteSync::None);
}
