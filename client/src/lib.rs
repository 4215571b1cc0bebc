//! The Oyez client library.
