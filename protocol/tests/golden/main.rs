//! The bytes of every frame, fixed. A change here is a change of the protocol's version.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod control;
mod records;
#[path = "../support/mod.rs"]
mod support;

use oyez_protocol::Frame;
use oyez_protocol::limits::Limits;

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    let rows = bytes.chunks(8).map(|row| {
        let digits: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.join(" ")
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// `frame` is `hex`, both ways.
#[track_caller]
fn check(hex: &str, frame: Frame<'_>) {
    let mut encoded = Vec::new();
    support::encode(&frame, &mut encoded);
    assert_eq!(hex_of(&encoded), hex_of(&bytes_of(hex)), "encoded");
    assert_eq!(
        support::whole(&bytes_of(hex), &Limits::DEFAULT),
        frame,
        "decoded"
    );
}
