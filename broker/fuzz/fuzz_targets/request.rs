//! Any bytes as requests over HTTP: they mean the same wherever they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_broker::fuzzing::check_requests;

fuzz_target!(|input: &[u8]| check_requests(input));
