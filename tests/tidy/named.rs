//! The pages that lead through a crate name files that there are.

use super::{none, sources};

/// Crates whose first page leads through their files.
const LED_THROUGH: [&str; 2] = ["broker/src/", "client/src/"];
/// What these pages name beside files.
const OTHERS: [&str; 2] = ["max_connections", "sendfile"];

/// Names between backquotes of a page that look like those of modules, each with the number of its line.
fn names(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_of_modules = |name: &&str| {
        let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'_' | b':');
        !name.is_empty() && name.bytes().all(letters)
    };
    let lines = (1..).zip(page.lines());
    lines
        .filter(|(_, line)| line.starts_with("//!") && !line.contains("```"))
        .flat_map(move |(number, line)| {
            let quoted = line.split('`').skip(1).step_by(2);
            quoted.filter(is_of_modules).map(move |name| (number, name))
        })
}

/// The path of a file within its crate, as its module is called.
fn module(file: &str) -> String {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    format!("::{}", path.replace('/', "::"))
}

#[test]
fn files_that_the_first_page_of_a_crate_names_exist() {
    let sources = sources();
    let mut faults = Vec::new();
    for place in LED_THROUGH {
        let modules: Vec<String> = sources
            .iter()
            .filter_map(|source| Some(module(source.name().strip_prefix(place)?)))
            .collect();
        let is_there = |name: &str| {
            let end = format!("::{name}");
            modules.iter().any(|module| module.ends_with(&end))
        };
        let file = format!("{place}lib.rs");
        let page = sources.iter().find(|source| source.name() == file);
        let page = &page.expect("a crate has a first page").text;
        assert!(names(page).count() > 10, "the names are found");
        let unknown = names(page).filter(|(_, name)| !OTHERS.contains(name) && !is_there(name));
        faults.extend(unknown.map(|(number, name)| format!("{file}:{number}: {name}")));
    }
    none(&faults, "a file for each name");
}
