//! Panics of any thread, kept instead of printed.

use std::panic;
use std::sync::Mutex;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From here on panics are kept.
pub(crate) fn keep() {
    panic::set_hook(Box::new(|info| {
        let mut seen = SEEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let place = info
            .location()
            .map_or_else(String::new, ToString::to_string);
        let what = info.payload_as_str().unwrap_or("(no text)");
        seen.push(format!("{what} ({place})"));
    }));
}

pub(crate) fn forget() {
    take();
}

pub(crate) fn take() -> Vec<String> {
    let mut seen = SEEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    std::mem::take(&mut seen)
}
