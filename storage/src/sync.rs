//! The types by which a log and its readers in other threads synchronize: the standard library's, or loom's under
//! `--cfg loom`, where models run every interleaving (`models`, `sys::committed`).
//!
//! Other code does not use this module. The crate's own threads (the arena's, the disk's, the housekeeper) use the standard
//! library in any case, since loom knows only the threads of a model.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, atomic};
