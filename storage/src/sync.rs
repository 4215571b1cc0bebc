//! What a log and its readers in other threads meet at: the standard library's, or loom's under `--cfg loom`, where
//! models run every interleaving of them (`models`, `sys::committed`).
//!
//! Only what is on that way comes from here. The threads of the crate's own (the arena's, the disk's, the housekeeper)
//! use the standard library in any case, since loom knows no threads but a model's.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, atomic};
