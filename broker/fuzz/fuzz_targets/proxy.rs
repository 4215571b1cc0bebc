//! Any bytes as a body in chunks: a naive reader says the same of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_broker::fuzzing::check_proxy;

fuzz_target!(|input: &[u8]| check_proxy(input));
