//! The Oyez log on disk.

mod error;
mod format;
mod options;
mod place;
mod reader;
mod store;

pub use error::*;
pub use format::{BLOCK_BYTES, FORMAT_VERSION};
pub use options::*;
pub use place::*;
pub use reader::{ColdRange, FileRange, LogReader, Read, SegmentFiles};
pub use store::*;
