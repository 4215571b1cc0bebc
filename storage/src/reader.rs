//! How every shard reads a log.
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use bytes::Bytes;
use oyez_protocol::{Epoch, LogId, Position};

use crate::{Durability, Place, ReadError};

/// What a read gives.
pub enum Read {
    /// The bytes.
    Ready(Bytes),
    /// Populate this first.
    Cold(ColdRange),
}
/// Blocks of a segment to populate.
#[derive(Clone)]
pub struct ColdRange;
/// A range of a segment file, for `sendfile`.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The segment's path; a path never names two different files.
    pub path: std::sync::Arc<std::path::Path>,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}
/// Open segment files of one shard, least recently used closed first. Not `Send`.
pub struct SegmentFiles {
    _not_send: PhantomData<*const ()>,
}
#[allow(unused_variables, missing_docs, clippy::missing_errors_doc)]
impl SegmentFiles {
    pub fn new(files_max: usize) -> Self {
        todo!()
    }
    pub fn open(&mut self, range: &FileRange) -> std::io::Result<BorrowedFd<'_>> {
        todo!()
    }
}
/// Reads one log; one clone per shard.
#[derive(Clone)]
pub struct LogReader;
#[allow(
    unused_variables,
    missing_docs,
    clippy::needless_pass_by_value,
    clippy::missing_errors_doc
)]
impl LogReader {
    pub fn log(&self) -> LogId {
        todo!()
    }
    pub fn durability(&self) -> Durability {
        todo!()
    }
    pub fn epoch(&self) -> Epoch {
        todo!()
    }
    pub fn visible(&self) -> Position {
        todo!()
    }
    pub fn earliest(&self) -> Position {
        todo!()
    }
    pub fn walk(
        &mut self,
        from: Position,
        max_records: usize,
        f: impl FnMut(Place, &str),
    ) -> Position {
        todo!()
    }
    pub fn read(&mut self, position: Position, len: u32) -> Result<Read, ReadError> {
        todo!()
    }
    pub fn file_range(&mut self, position: Position, len: u32) -> Option<FileRange> {
        todo!()
    }
    /// Unpins what reads pinned; call it at the end of a turn, or an idle shard keeps blocks from the arena.
    pub fn release(&mut self) {
        todo!()
    }
}
