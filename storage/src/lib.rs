//! The Oyez log on disk.
