//! Any bytes as frames of a client over WebSocket: a naive reader hears the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_broker::fuzzing::check_frames;

fuzz_target!(|input: &[u8]| check_frames(input));
