//! Where one publisher's messages gather, until its batches are finished.

use std::sync::Mutex;

use crate::batch::Batcher;
use crate::ledger::OriginId;

/// The batches of one publisher, which its threads and the writer reach: the writer comes by for what lingered long
/// enough.
#[derive(Debug)]
pub(crate) struct BatchSlot {
    pub(crate) origin: OriginId,
    pub(crate) batcher: Mutex<Batcher>,
}
