//! The Oyez wire: records, control frames, checksums, limits and the block codec.
#![forbid(unsafe_code)]

mod body;
mod builder;
mod bytes;
pub mod checksum;
mod code;
pub mod command;
pub mod error;
pub mod event;
mod extras;
pub mod frame;
pub mod header;
mod id;
pub mod limits;
#[cfg(feature = "lz4")]
pub mod lz4;
pub mod message;
pub mod record;
pub mod topic;

pub use frame::{Decoded, Frame, decode};
pub use id::{Epoch, LogId, Offset, Position, Sequence};
