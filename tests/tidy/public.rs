//! No public item without a user: what a library crate makes public, another crate names.

use std::collections::{BTreeMap, BTreeSet};

use super::{none, sources};

/// Library crates, by the directories of their sources.
const LIBRARIES: [&str; 9] = [
    "protocol/src/",
    "storage/src/",
    "broker/sys/src/",
    "broker/doctor/src/",
    "broker/src/",
    "client/src/",
    "client/cli/src/",
    "benches/src/",
    "tests/testkit/",
];
/// Programs that lie among the sources of their library.
const PROGRAMS: [&str; 5] = [
    "broker/src/main.rs",
    "broker/src/cli.rs",
    "broker/src/stop.rs",
    "client/cli/src/bin/",
    "benches/src/bin/",
];
/// Public items that no other crate names, by what their places begin with.
const FOR_OTHERS: [&str; 6] = [
    // Whoever writes a client of his own needs all numbers of the wire.
    "protocol/src/event.rs: const ",
    "protocol/src/header.rs: const ",
    "protocol/src/limits.rs: const ",
    // For users of the library.
    "client/src/address.rs: const DEFAULT_PORT",
    "client/src/delivery.rs: fn into_message",
    // Of a simulation whose tests lie in the same crate.
    "client/src/simulation/publisher.rs: fn end_abruptly",
];

/// The library that a file is a part of.
fn library_of(name: &str) -> Option<&'static str> {
    let is_program = PROGRAMS.iter().any(|program| name.starts_with(program));
    let library = LIBRARIES.iter().find(|root| name.starts_with(**root));
    library.copied().filter(|_| !is_program)
}

/// The kind and the name of what a line makes public.
fn public_item(line: &str) -> Option<(&str, &str)> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split(' ');
    let kinds = [
        "fn", "struct", "enum", "trait", "type", "const", "static", "mod",
    ];
    let kind = words.find(|word| !["unsafe", "async"].contains(word))?;
    let (kind, name) = match (kind, words.next()?) {
        ("const", "fn") => ("fn", words.next()?),
        (kind, name) => (kind, name),
    };
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
    kinds
        .contains(&kind)
        .then(|| (kind, &name[..end.unwrap_or(name.len())]))
}

/// A type may also be what a function of its own crate takes or gives, or what a public field holds.
#[test]
fn public_items_are_named_by_another_crate() {
    let sources = sources();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut named: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    let mut signed: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    let mut items = Vec::new();
    for source in &sources {
        let library = library_of(&source.name());
        for (_, line) in source.code() {
            let words = line.split(|c| !is_word(c));
            named.entry(library).or_default().extend(words.clone());
            let item = public_item(line).filter(|_| library.is_some());
            let is_type = item.is_some_and(|(kind, _)| kind != "fn");
            let signs = ["pub ", "type ", "fn ", "-> "];
            if !is_type && signs.iter().any(|sign| line.contains(sign)) {
                signed.entry(library).or_default().extend(words);
            }
            items.extend(item.map(|item| (library, source.name(), item)));
        }
    }
    assert!(items.len() > 500, "the public items are found");
    let mut faults = Vec::new();
    for (library, file, (kind, name)) in items {
        let others = named.iter().filter(|(other, _)| **other != library);
        let is_named = others
            .map(|(_, words)| words)
            .any(|words| words.contains(name));
        let is_type = ["struct", "enum", "trait", "type"].contains(&kind);
        let is_signed = is_type && signed[&library].contains(name);
        if !(is_named || is_signed) {
            faults.push(format!("{file}: {kind} {name}"));
        }
    }
    faults.retain(|fault| !FOR_OTHERS.iter().any(|known| fault.starts_with(known)));
    none(
        &faults,
        "what no other crate names is pub(crate), or private",
    );
}
