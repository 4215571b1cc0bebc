//! Checks which file of the library may use which: decisions use no threads, sockets or clocks, and no two files use
//! each other.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Decisions and values. Each file may use those before it.
const PURE: [&str; 18] = [
    "address",
    "error",
    "message",
    "delivery",
    "terms",
    "farewell",
    "outbox",
    "receive_buffer",
    "handshake",
    "silence",
    "backoff",
    "batch",
    "ledger",
    "query",
    "cursor",
    "intake",
    "session_state",
    "subscription_state",
];

/// Threads, sockets, the clock, and the handles on top. Each file may use those before it, and all of [`PURE`].
const RIM: [&str; 13] = [
    "lock",
    "time",
    "options",
    "connection",
    "keepalive",
    "spare",
    "slot",
    "session_hub",
    "writer",
    "session",
    "publisher",
    "subscription",
    "client",
];

/// What the client without sockets and threads may use besides [`PURE`]: values of the rim.
const SIMULATION: [&str; 1] = ["options"];

/// What a pure file cannot use.
const IMPURE: [&str; 8] = [
    "std::net",
    "std::thread",
    "std::fs",
    "Mutex",
    "RwLock",
    "Condvar",
    "Instant",
    "SystemTime",
];

/// The source of a file, without its tests.
fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{name}.rs"));
    let text = fs::read_to_string(path).unwrap();
    let tests = text.find("#[cfg(test)]\nmod tests");
    text[..tests.unwrap_or(text.len())].to_owned()
}

/// The files that a source names.
fn known(source: &str) -> BTreeSet<&str> {
    let paths = source.split("crate::").skip(1);
    paths
        .map(|path| {
            let end = path.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            &path[..end.unwrap_or(path.len())]
        })
        .filter(|name| PURE.contains(name) || RIM.contains(name))
        .collect()
}

#[test]
fn every_file_has_its_place() {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let names = files.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".rs").map(str::to_owned)
    });
    let names: BTreeSet<String> = names.filter(|name| name != "lib").collect();
    let placed = PURE.iter().chain(&RIM).map(|name| (*name).to_owned());
    assert_eq!(names, placed.collect());
}

#[test]
fn a_file_uses_only_files_before_it() {
    let order: Vec<&str> = PURE.iter().chain(&RIM).copied().collect();
    for (place, name) in order.iter().enumerate() {
        let source = source(name);
        let known = known(&source);
        let later: Vec<&&str> = known
            .iter()
            .filter(|n| order[place..].contains(n))
            .collect();
        assert!(later.is_empty(), "{name} knows {later:?}");
    }
}

#[test]
fn decisions_use_no_threads_sockets_or_clocks() {
    for name in PURE {
        let source = source(name);
        let found = IMPURE.iter().find(|word| source.contains(*word));
        assert_eq!(found, None, "in {name}");
    }
}

#[test]
fn the_client_without_sockets_and_threads_is_made_of_decisions() {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulation")).unwrap();
    let names = files.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".rs").filter(|name| *name != "tests");
        name.map(|name| format!("simulation/{name}"))
    });
    let names: Vec<String> = names.collect();
    assert!(names.len() > 3, "the files are found");
    for name in names {
        let source = source(&name);
        let found = IMPURE.iter().find(|word| source.contains(*word));
        assert_eq!(found, None, "in {name}");
        let known = known(&source);
        let rim = known
            .iter()
            .find(|file| !PURE.contains(file) && !SIMULATION.contains(file));
        assert_eq!(rim, None, "known to {name}");
    }
}
