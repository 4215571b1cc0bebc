//! Where one publisher's messages gather, until its batches are finished.

use std::sync::Mutex;

use crate::batch::Batcher;
use crate::ledger::OriginId;

/// The batches of one publisher. Its threads fill them; the writer finishes those that have lingered long enough.
#[derive(Debug)]
pub(crate) struct BatchSlot {
    pub(crate) origin: OriginId,
    pub(crate) batcher: Mutex<Batcher>,
}
