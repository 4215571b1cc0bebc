//! Links within the repository.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use testkit::programs::workspace;

use crate::page::{Page, Part};

/// How paths of the repository begin.
const DIRECTORIES: [&str; 7] = [
    "protocol/",
    "storage/",
    "broker/",
    "client/",
    "tests/",
    "benches/",
    ".ci/",
];

/// The links of a page that lead to no file or no heading.
pub(crate) fn broken(page: &Page, pages: &[Page]) -> Vec<String> {
    let mut broken = Vec::new();
    for (to, line) in inner_links(page) {
        let (file, anchor) = to.split_once('#').unwrap_or((to, ""));
        let name = resolved(page, file);
        if !workspace().join(&name).exists() {
            broken.push(format!(
                "{}:{line}: there is no {}",
                page.name,
                name.display()
            ));
            continue;
        }
        let other = pages.iter().find(|page| Path::new(&page.name) == name);
        if !anchor.is_empty() && !other.is_some_and(|other| anchors(other).contains(anchor)) {
            broken.push(format!(
                "{}:{line}: {} has no heading #{anchor}",
                page.name,
                name.display()
            ));
        }
    }
    broken
}

/// The paths of the repository that a page names in backquotes and that are not there.
pub(crate) fn lost_paths(page: &Page) -> Vec<String> {
    let spans = page.parts.iter().filter_map(|part| match part {
        Part::Span(span, line) => Some((span, line)),
        _ => None,
    });
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-".contains(letter);
    let paths = spans.filter(|(span, _)| {
        let begins = DIRECTORIES
            .iter()
            .any(|directory| span.starts_with(directory));
        begins && span.chars().all(is_plain)
    });
    let lost = paths.filter(|(path, _)| !workspace().join(path).exists());
    lost.map(|(path, line)| format!("{}:{line}: there is no {path}", page.name))
        .collect()
}

/// The pages that somebody gets to who follows links.
pub(crate) fn reached(pages: &[Page], from: &str) -> BTreeSet<String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(name) = next.pop() {
        let page = pages.iter().find(|page| page.name == name);
        if let Some(page) = page.filter(|page| reached.insert(page.name.clone())) {
            next.extend(inner_links(page).map(|(to, _)| {
                let file = to.split('#').next().unwrap_or_default();
                resolved(page, file).to_string_lossy().into_owned()
            }));
        }
    }
    reached
}

fn inner_links(page: &Page) -> impl Iterator<Item = (&str, usize)> {
    page.parts.iter().filter_map(|part| match part {
        Part::Link(to, line) if !to.contains("://") => Some((to.as_str(), *line)),
        _ => None,
    })
}

/// The path in the repository of a file that a page names.
fn resolved(page: &Page, file: &str) -> PathBuf {
    if file.is_empty() {
        return PathBuf::from(&page.name);
    }
    let mut path = PathBuf::from(&page.name);
    path.pop();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

/// The anchors that GitHub makes of the headings of a page.
fn anchors(page: &Page) -> BTreeSet<String> {
    let headings = page.parts.iter().filter_map(|part| match part {
        Part::Heading(heading) => Some(heading),
        _ => None,
    });
    headings.map(|heading| anchor(heading)).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter
            .is_alphanumeric()
            .then(|| letter.to_ascii_lowercase()),
    });
    kept.collect()
}

#[test]
fn anchors_are_those_of_github() {
    assert_eq!(anchor("The operator's address"), "the-operators-address");
    assert_eq!(anchor("`oyez sub` and -v"), "oyez-sub-and--v");
}
