//! The pages say what is true: README.md, `broker/docs/`, the page of the browser client and commands in the
//! documentation of the crates.
//!
//! Each page is worked through from its top, in a directory of its own (`room`), like a reader would:
//!
//! | block | what happens |
//! |---|---|
//! | `console`, `sh` | each line after `$ ` runs in bash; what the page shows below it must come (`output`) |
//! | `js` | runs in Node.js against the broker |
//! | `python`, `php` | runs against the broker |
//! | `html` | is saved as `page.html`, and opened in Chromium when the page has been worked through |
//! | `rust` | only in README.md: compiles, as a documentation test of `oyez-client` |
//! | `toml` | `oyez-server --check-config` takes it |
//! | `json` | is JSON, as a whole or line by line |
//! | `text` | is shown, and nothing else |
//!
//! Whatever cannot run here has the reason in front of it, as a comment in the source of the page:
//! `<!-- not run: it needs a million connections -->`. A block that is neither is an error. The test prints how many
//! blocks ran, and lists those that did not.
//!
//! Links within the repository lead to files and headings that exist.

mod links;
mod output;
mod page;
mod room;
mod running;
mod scripts;
mod visit;

use std::collections::BTreeMap;

use testkit::Setup;
use testkit::figures::figure;
use testkit::process::succeed;
use testkit::programs::workspace;
use testkit::tools::{PYTHON_OF_PACKAGES, Tool, are_here, command};

use crate::page::{Page, Part};

const TOOLS: [Tool; 11] = [
    Tool::Program("bash"),
    Tool::Program("curl"),
    Tool::Program("flock"),
    Tool::Program("node"),
    Tool::Program("npm"),
    Tool::Program("php"),
    Tool::Program("chromium"),
    Tool::Module("playwright-core"),
    Tool::Module("eventsource"),
    Tool::Module("ws"),
    Tool::Package("websockets"),
];
/// The page that names counters and metrics.
const MONITORING: &str = "broker/docs/monitoring.md";
/// Lines of README.md at most: it is read in one go.
const README_LINES_MAX: usize = 150;

#[test]
fn the_pages_do_what_they_say() {
    if !are_here("commands of the pages", &TOOLS) {
        return;
    }
    let pages = page::all();
    // Each waits for programs most of the time.
    let visits: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = pages
            .iter()
            .map(|page| scope.spawn(|| visit::visit(page)))
            .collect();
        let visited = threads.into_iter().map(|thread| thread.join());
        visited.collect()
    });
    let mut ran: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for (page, visit) in pages.iter().zip(visits) {
        match visit {
            Ok(visit) => {
                failures.extend(visit.failures);
                for (kind, count) in visit.ran {
                    *ran.entry(kind).or_default() += count;
                }
            }
            Err(_) => failures.push(format!("{}: the visit broke off, see above", page.name)),
        }
    }
    tell(&pages, &ran);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Prints what ran and what did not.
fn tell(pages: &[Page], ran: &BTreeMap<String, usize>) {
    let ran: Vec<String> = ran
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    figure("docs: ran", &ran.join(", "));
    let left_out = pages.iter().flat_map(|page| {
        let reasons = page.blocks().filter_map(|block| block.not_run.as_deref());
        reasons.map(|reason| (page.name.as_str(), reason))
    });
    let left_out: Vec<_> = left_out.collect();
    figure("docs: blocks not run", &left_out.len().to_string());
    for (page, reason) in left_out {
        figure(&format!("docs: not run in {page}"), reason);
    }
}

#[test]
fn readme_is_read_in_one_go() {
    let pages = page::all();
    let readme = pages.iter().find(|page| page.name == "README.md");
    let lines = readme.expect("it is there").lines;
    assert!(lines < README_LINES_MAX, "{lines} lines");
}

#[test]
fn every_page_is_reached_from_readme() {
    let pages = page::all();
    let reached = links::reached(&pages, "README.md");
    let lost: Vec<&str> = pages
        .iter()
        .filter(|page| page.is_markdown() && !reached.contains(&page.name))
        .map(|page| page.name.as_str())
        .collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = page::all();
    let broken: Vec<String> = pages
        .iter()
        .flat_map(|page| links::broken(page, &pages))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_that_pages_name_exist() {
    let pages = page::all();
    // What is past may be gone.
    let present = pages.iter().filter(|page| page.name != "CHANGELOG.md");
    let lost: Vec<String> = present.flat_map(links::lost_paths).collect();
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
fn counters_and_metrics_that_the_page_on_monitoring_names_exist() {
    let broker = Setup::new().set("operator", "127.0.0.1:0").start();
    let url = format!("http://{}/metrics", broker.operator());
    let metrics = succeed(command("curl").args(["--silent", &url])).stdout;
    let metrics = String::from_utf8(metrics).expect("text");
    let stats = broker.stats();
    let text = std::fs::read_to_string(workspace().join(MONITORING)).expect("it is there");
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let named = text.split(|letter: char| !is_name(letter));
    let lost = named.filter(|name| name.starts_with("oyez_") && !metrics.contains(*name));
    assert_eq!(lost.collect::<Vec<_>>(), [""; 0], "metrics");
    let (_, counters) = text.split_once("## Counters").expect("it has a heading");
    let first_cells = counters.lines().filter_map(|line| line.strip_prefix("| `"));
    for cell in first_cells.filter_map(|line| line.split(" |").next()) {
        for name in format!("`{cell}").split('`').skip(1).step_by(2) {
            let is_there = name == "_max" || !stats[name].is_null();
            assert!(is_there, "no counter is called {name}");
        }
    }
}

#[test]
fn a_reason_stands_in_front_of_what_does_not_run() {
    let text = "<!-- not run: it needs\n a network -->\n\n```console\n$ a\n```\n\n  ```js\n  b\n    c\n  ```\n";
    let page = Page::of("page.md", text);
    let blocks: Vec<_> = page
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Block(block) => Some(block),
            _ => None,
        })
        .collect();
    assert_eq!(blocks.len(), 2);
    assert_eq!(blocks[0].not_run.as_deref(), Some("it needs a network"));
    assert_eq!((blocks[0].line, blocks[0].text.as_str()), (4, "$ a"));
    assert_eq!(blocks[1].not_run, None);
    assert_eq!(blocks[1].text, "b\n  c");
}

/// The Python that has the packages, where `.ci/run` puts it.
fn python() -> std::path::PathBuf {
    command(PYTHON_OF_PACKAGES).get_program().into()
}
