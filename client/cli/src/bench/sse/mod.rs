//! Server-sent events as a broker streams them over HTTP, as bytes: what a subscriber asks, what a stream says, and the
//! same stream written, for bare servers and for tests. Pure.
//!
//! A stream is a head and chunks. Each chunk holds whole events, and a record is one chunk. Nothing is known of a
//! stream between two chunks, so that a subscriber that waits costs no byte here.
//!
//! A payload comes as text whose line ends are changed, or as base64. The sum that is compared is therefore that of
//! what a browser would be given.

pub mod answer;
pub(crate) mod ask;
pub(crate) mod chunk;
pub(crate) mod ear;
pub(crate) mod event;
pub(crate) mod sum;
pub(crate) mod token;

pub use token::Next;

/// What came instead of what was to come, for an error.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    let text = bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii();
    format!("\"{text}\"")
}
