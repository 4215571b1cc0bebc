//! Taking a lock that outlives a panic of its holder.
//!
//! Every value behind a lock in this crate is valid between any two statements that change it, so a panic elsewhere
//! is no reason to fail here as well.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
