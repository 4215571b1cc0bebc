//! Large values that are no longer needed and take long to free. The disk's thread frees them: the next job that writes a
//! file takes them along.

use std::sync::Arc;

use bytes::Bytes;

use crate::footer::Footer;
use crate::segment::SegmentFile;
use crate::segments::SegmentIndex;

/// Values to be freed.
#[derive(Debug, Default)]
pub(crate) struct Discards {
    indices: Vec<SegmentIndex>,
    files: Vec<Arc<SegmentFile>>,
    tables: Vec<Bytes>,
}

impl Discards {
    pub(crate) fn index(&mut self, index: SegmentIndex) {
        self.indices.push(index);
    }

    pub(crate) fn footers(&mut self, footers: impl Iterator<Item = Footer>) {
        self.indices.extend(footers.map(SegmentIndex::Footer));
    }

    pub(crate) fn file(&mut self, file: Arc<SegmentFile>) {
        self.files.push(file);
    }

    pub(crate) fn table(&mut self, table: Bytes) {
        self.tables.push(table);
    }

    /// Takes all of them, for another thread to drop.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}
