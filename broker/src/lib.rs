//! The Oyez push broker.
