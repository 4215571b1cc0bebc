//! System calls that only the broker needs; those that other programs need as well are in `oyez_sys`. Only safe types leave this
//! module.

pub(crate) mod connections;
pub(crate) mod memory;
pub(crate) mod ring;
pub(crate) mod socket;

use std::io;

/// Turns the `-1` of a system call into its error.
fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
