//! Stands for a shard's eventfd in models.

use loom::sync::{Condvar, Mutex};

/// Any shard may ring it, one waits for it. Rings before the wait are not lost, and count as one.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung.lock().expect("no model goes on after a panic") = true;
        self.changed.notify_one();
    }

    /// Waits for a ring, and takes it. Loom fails the model where none can come any more.
    pub(crate) fn wait(&self) {
        let mut rung = self.rung.lock().expect("no model goes on after a panic");
        while !std::mem::take(&mut *rung) {
            rung = self.changed.wait(rung).expect("as above");
        }
    }
}
