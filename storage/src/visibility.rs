//! What a log shows to its readers in all shards, and whether it has shown more since the last turn.

use std::sync::{Arc, Weak};

use crate::segments::Segments;
use crate::shared_log::{SharedLog, Snapshot};
use crate::sys::arena::ArenaPool;
use crate::tail::Tail;

/// The log's side of what is shared.
#[derive(Debug)]
pub(crate) struct Visibility {
    shared: Arc<SharedLog>,
    /// The visible place advanced since the last turn.
    moved: bool,
}

impl Visibility {
    pub(crate) fn new(shared: SharedLog) -> Self {
        Self {
            shared: Arc::new(shared),
            moved: false,
        }
    }

    /// For readers.
    pub(crate) fn shared(&self) -> &Arc<SharedLog> {
        &self.shared
    }

    pub(crate) fn pool(&self) -> &ArenaPool {
        &self.shared.pool
    }

    pub(crate) fn visible(&self) -> u64 {
        self.shared.visible()
    }

    /// Everything below may be delivered. The place never goes back.
    #[inline]
    pub(crate) fn set_visible(&mut self, position: u64) {
        if position > self.shared.visible() {
            self.shared.set_visible(position);
            self.moved = true;
        }
    }

    /// Nothing below is kept.
    pub(crate) fn set_start(&self, position: u64) {
        self.shared.set_start(position);
    }

    /// Whether the visible place advanced since this was asked last.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Shows which blocks and segments there are.
    pub(crate) fn publish(&self, tail: &Tail, segments: &Segments) {
        let blocks = tail.blocks();
        let segments = segments.iter();
        self.shared.publish(Snapshot {
            blocks: blocks
                .map(|block| (block.base(), Arc::downgrade(block.block())))
                .collect(),
            segments: segments
                .map(|segment| {
                    let file = segment.file().map_or_else(Weak::new, Arc::downgrade);
                    (segment.base, file)
                })
                .collect(),
        });
    }
}
