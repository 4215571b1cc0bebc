//! What publishers, the writer and the reader of a session share.
//!
//! They share one [`SessionState`] under one lock, which is held for bookkeeping only, never across a system call. Lock
//! order: a slot's batcher, then the state, then slots or socket.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::batch::Finished;
use crate::connection::Dialer;
use crate::error::{ConnectError, ConnectionError};
use crate::ledger::{Interest, OriginId};
use crate::lock::lock;
use crate::session_state::SessionState;
use crate::slot::BatchSlot;
use crate::terms::Terms;
use crate::time::{Allowance, Bell, Time};

/// What publishers, writer and reader of one session share.
pub(crate) struct SessionHub {
    state: Mutex<SessionState>,
    settled: Condvar,
    /// Whether a publisher must look at the state before it goes on.
    attention: AtomicBool,
    slots: Mutex<Vec<Weak<BatchSlot>>>,
    /// The socket of the current connection, kept so that any thread can shut it down.
    socket: Mutex<Option<Arc<TcpStream>>>,
    pub(crate) bell: Bell,
    pub(crate) dialer: Dialer,
}

impl SessionHub {
    pub(crate) fn new(dialer: Dialer, terms: &Terms) -> Self {
        let now = dialer.options.time.now();
        let state = SessionState::new(terms, dialer.options.publishing_policy(), now);
        Self {
            state: Mutex::new(state),
            settled: Condvar::new(),
            attention: AtomicBool::new(false),
            slots: Mutex::default(),
            socket: Mutex::default(),
            bell: Bell::new(),
            dialer,
        }
    }

    pub(crate) fn time(&self) -> &dyn Time {
        &*self.dialer.options.time
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SessionState> {
        lock(&self.state)
    }

    /// Whether a publisher must look at the state before it goes on.
    pub(crate) fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    /// Wakes the threads that wait for the state to change.
    pub(crate) fn announce(&self, state: &SessionState) {
        self.attention
            .store(state.wants_attention(), Ordering::Release);
        self.settled.notify_all();
    }

    /// Waits until `ready` returns a value, and returns it; if the allowance ends before, returns what `late` makes of
    /// that.
    pub(crate) fn await_state<T>(
        &self,
        allowance: Allowance,
        mut ready: impl FnMut(&mut SessionState) -> Option<T>,
        late: impl FnOnce(&mut SessionState, Duration) -> T,
    ) -> T {
        let mut state = self.state();
        let found = loop {
            // The time is read before the state, so that what came at the last moment still counts.
            let left = allowance.left();
            if let Some(found) = ready(&mut state) {
                break found;
            }
            if left.is_some_and(|left| left.is_zero()) {
                break late(&mut state, allowance.whole());
            }
            state = match left {
                Some(left) => {
                    let woken = self.settled.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.settled.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        };
        self.announce(&state);
        found
    }

    /// Adds a publisher's slot. The caller holds the state, so that the slot misses no change of the limits.
    pub(crate) fn register(&self, _held: &SessionState, slot: &Arc<BatchSlot>) {
        lock(&self.slots).push(Arc::downgrade(slot));
    }

    /// The slots of all publishers that still exist.
    fn slots(&self) -> Vec<Arc<BatchSlot>> {
        let mut slots = lock(&self.slots);
        slots.retain(|slot| slot.strong_count() > 0);
        slots.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn submit(&self, origin: OriginId, interest: Interest, done: Vec<Finished>) {
        if done.is_empty() {
            return;
        }
        let mut state = self.state();
        state.submit(origin, interest, done);
        self.announce(&state);
        drop(state);
        self.bell.ring();
    }

    /// Finishes all batches that are due, and notes when the next one is.
    pub(crate) fn finish_due(&self, now: Duration) {
        self.state().forget_linger();
        for slot in self.slots() {
            let (mut done, mut batcher) = (Vec::new(), lock(&slot.batcher));
            if let Some(due) = batcher.finish_due(now, &mut done) {
                self.note_linger(due);
            }
            self.submit(slot.origin, Interest::Publisher, done);
        }
    }

    pub(crate) fn finish_all(&self) {
        for slot in self.slots() {
            self.finish(&slot);
        }
    }

    /// Finishes the slot's batches, and submits them.
    pub(crate) fn finish(&self, slot: &BatchSlot) {
        let (mut done, mut batcher) = (Vec::new(), lock(&slot.batcher));
        batcher.finish_all(&mut done);
        self.submit(slot.origin, Interest::Publisher, done);
    }

    pub(crate) fn note_linger(&self, due: Duration) {
        let sooner = self.state().note_linger(due);
        if sooner {
            self.bell.ring();
        }
    }

    /// Notes that a connection stands, and applies its terms to the state and to every publisher's batches.
    pub(crate) fn connected(&self, terms: &Terms, socket: Arc<TcpStream>) {
        let now = self.time().now();
        let mut state = self.state();
        state.connected(terms, now);
        *lock(&self.socket) = Some(socket);
        self.announce(&state);
        let slots = self.slots();
        drop(state);
        for slot in slots {
            let (mut done, mut batcher) = (Vec::new(), lock(&slot.batcher));
            batcher.agree(terms.limits, &mut done);
            self.submit(slot.origin, Interest::Publisher, done);
        }
    }

    /// Notes that a connection is lost or an attempt to connect has failed. Returns the delay before the next attempt.
    ///
    /// # Errors
    /// When the session cannot go on.
    pub(crate) fn lost(&self, error: &ConnectionError) -> Result<Duration, ConnectError> {
        let time = self.time();
        let mut state = self.state();
        *lock(&self.socket) = None;
        let delay = state.lost(error, time.now(), |bound| time.random_below(bound));
        // A record whose caller has not waited goes with its connection, and may have been the last that was not settled.
        self.announce(&state);
        delay
    }

    /// Ends the session at once, without a goodbye.
    pub(crate) fn end_abruptly(&self) {
        let mut state = self.state();
        state.end_abruptly();
        if let Some(socket) = &*lock(&self.socket) {
            // It may be closed already.
            let _closed = socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends the session at once, and wakes all callers that wait for it now: its writer may be busy with connecting.
    pub(crate) fn close(&self) {
        self.end_abruptly();
        self.end(&ConnectError::Closed);
        self.bell.ring();
    }

    /// Marks the session as over: nothing will be sent or settled any more.
    pub(crate) fn end(&self, error: &ConnectError) {
        let mut state = self.state();
        *lock(&self.socket) = None;
        state.end(error);
        self.announce(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread::spawn;

    use crate::options::ConnectOptions;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_caller_that_waits_for_all_records_is_woken_when_the_last_one_goes_with_its_connection() {
        let dialer = Dialer {
            address: "127.0.0.1:1".parse().unwrap(),
            options: Arc::new(ConnectOptions::new()),
        };
        let hub = Arc::new(SessionHub::new(dialer, &Terms::default()));
        let origin = hub.state().ledger.open_origin(false);
        let finished = Finished {
            correlation: 1,
            topic: Arc::from("a"),
            record: vec![0; 8],
            raw_size: 8,
            messages: 1,
            payload_bytes: 0,
        };
        hub.submit(origin, Interest::Caller, vec![finished]);
        hub.state().ledger.send(1, &mut Vec::new());
        assert!(hub.state().ledger.withdraw(1), "it may be stored");
        let (waiting, (begun, begins), (done, ended)) = (Arc::clone(&hub), channel(), channel());
        spawn(move || {
            let ready = |state: &mut SessionState| {
                let settled = state.may_part();
                let _nobody = begun.send(());
                settled
            };
            waiting.await_state(Allowance::new(None), ready, |_, _| ());
            done.send(())
        });
        begins.recv_timeout(PATIENCE).unwrap();
        hub.lost(&ConnectionError::Closed).unwrap();
        let heard = ended.recv_timeout(PATIENCE);
        assert!(heard.is_ok(), "nothing is left to be settled");
    }
}
