//! The writing side of a shared log: what its readers in all shards may see, and whether that has advanced.

use std::sync::{Arc, Weak};

use crate::segments::Segments;
use crate::shared_log::{SharedLog, Snapshot};
use crate::sys::arena::ArenaPool;
use crate::tail::Tail;

/// What readers may see of a log.
#[derive(Debug)]
pub(crate) struct Visibility {
    shared: Arc<SharedLog>,
    /// The visible position has advanced since the last turn.
    advanced: bool,
}

impl Visibility {
    pub(crate) fn new(shared: SharedLog) -> Self {
        Self {
            shared: Arc::new(shared),
            advanced: false,
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

    /// Lets everything below be delivered. The position never goes back.
    #[inline]
    pub(crate) fn set_visible(&mut self, position: u64) {
        if position > self.shared.visible() {
            self.shared.set_visible(position);
            self.advanced = true;
        }
    }

    /// Moves the start of the log: no byte below it is kept.
    pub(crate) fn set_start(&self, position: u64) {
        self.shared.set_start(position);
    }

    /// Returns whether the visible position has advanced since the last call.
    pub(crate) fn take_advanced(&mut self) -> bool {
        std::mem::take(&mut self.advanced)
    }

    /// Publishes the list of blocks and segments.
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
