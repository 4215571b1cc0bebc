//! The values of a log that do not change while it is open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oyez_protocol::LogId;

use crate::names::{footer_name, segment_name};
use crate::options::{Durability, LogOptions, LogSpec};
use crate::siphash::siphash13;

/// The values of a log that do not change while it is open.
pub(crate) struct Fixed {
    pub spec: LogSpec,
    /// Number of the log within its store; part of its tokens.
    pub slot: u16,
    pub path: PathBuf,
    pub dir_id: u64,
    pub key: [u64; 2],
    pub options: LogOptions,
    pub epoch: u64,
    pub boot_id: u128,
    /// A number that tells the data directory from its copies.
    pub fingerprint: u64,
}

impl Fixed {
    #[inline]
    pub(crate) fn id(&self) -> LogId {
        self.spec.id
    }

    #[inline]
    pub(crate) fn durability(&self) -> Durability {
        self.spec.durability
    }

    #[inline]
    pub(crate) fn on_disk(&self) -> bool {
        self.durability() != Durability::Memory
    }

    #[inline]
    pub(crate) fn hash(&self, topic: &str) -> u64 {
        siphash13(self.key, topic.as_bytes())
    }

    /// Most blocks that the tail may hold.
    pub(crate) fn blocks_max(&self) -> usize {
        if self.on_disk() {
            self.options.tail_blocks
        } else {
            self.options.memory_blocks
        }
    }

    pub(crate) fn segment_path(&self, base: u64) -> Arc<Path> {
        Arc::from(self.path.join(segment_name(base)))
    }

    pub(crate) fn footer_path(&self, base: u64) -> PathBuf {
        self.path.join(footer_name(base))
    }
}

#[cfg(test)]
impl Fixed {
    /// The only log of a durability, in a directory of its own.
    pub(crate) fn example(durability: Durability) -> Self {
        Self {
            spec: LogSpec {
                id: LogId::new(1),
                durability,
                ordinal: 0,
            },
            slot: 0,
            path: PathBuf::from("/log"),
            dir_id: 7,
            key: [1, 2],
            options: LogOptions::default(),
            epoch: 3,
            boot_id: 4,
            fingerprint: 5,
        }
    }
}
