//! A page in its parts: headings, blocks of code, links.

use std::path::{Path, PathBuf};

use testkit::programs::workspace;

/// Directories that are not part of the source.
const FOREIGN: [&str; 3] = ["node_modules", "target", ".git"];

/// A page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) name: String,
    /// How many lines it has.
    pub(crate) lines: usize,
    pub(crate) parts: Vec<Part>,
}

/// A part that something is to be done with.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// The text of a heading, without its marks.
    Heading(String),
    /// Where a link leads, and its line.
    Link(String, usize),
    /// What stands in backquotes, and its line.
    Span(String, usize),
    Block(Block),
}

/// A block of code.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// What stands behind the fence.
    pub(crate) language: String,
    pub(crate) text: String,
    /// Of the fence, counted from 1.
    pub(crate) line: usize,
    /// Why it does not run, if it does not.
    pub(crate) not_run: Option<String>,
}

impl Page {
    /// Takes a page apart.
    pub(crate) fn of(name: &str, text: &str) -> Self {
        let mut parts = Vec::new();
        let mut not_run: Option<String> = None;
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let bare = line.trim_start();
            if let Some(language) = bare.strip_prefix("```") {
                let indent = line.len() - bare.len();
                let inside = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| line.trim() != "```")
                    .map(|line| line.get(indent..).unwrap_or_default());
                parts.push(Part::Block(Block {
                    language: language.trim().to_owned(),
                    text: inside.collect::<Vec<_>>().join("\n"),
                    line: number + 1,
                    not_run: not_run.take(),
                }));
            } else if bare.starts_with("<!-- not run:") {
                let mut comment = bare.to_owned();
                while !comment.contains("-->") {
                    let (_, next) = lines.next().expect("a comment ends");
                    comment = format!("{} {}", comment.trim_end(), next.trim());
                }
                let reason = comment.trim_start_matches("<!-- not run:");
                let reason = reason.split("-->").next().unwrap_or_default();
                not_run = Some(reason.trim().to_owned());
            } else if line.starts_with('#') && line.trim_start_matches('#').starts_with(' ') {
                parts.push(Part::Heading(
                    line.trim_start_matches('#').trim().to_owned(),
                ));
            } else {
                parts.extend(links(line).map(|to| Part::Link(to, number + 1)));
                let spans = line.split('`').skip(1).step_by(2);
                parts.extend(spans.map(|span| Part::Span(span.to_owned(), number + 1)));
            }
        }
        Self {
            name: name.to_owned(),
            lines: text.lines().count(),
            parts,
        }
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.parts.iter().filter_map(|part| match part {
            Part::Block(block) => Some(block),
            _ => None,
        })
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.name.ends_with(".md")
    }
}

/// Where the links of a line lead; what stands in backquotes is no link.
fn links(line: &str) -> impl Iterator<Item = String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
    let parts: Vec<String> = prose.split("](").skip(1).map(str::to_owned).collect();
    parts
        .into_iter()
        .filter_map(|part| part.split_once(')').map(|(to, _)| to.to_owned()))
}

/// Every page of the repository, and every source whose documentation has commands.
pub(crate) fn all() -> Vec<Page> {
    let mut files = Vec::new();
    walk(workspace(), &mut files);
    files.sort();
    files.iter().filter_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Option<Page> {
    let name = file.strip_prefix(workspace()).expect("it lies there");
    let name = name.to_str().expect("a plain name");
    let text = std::fs::read_to_string(file).expect("a page is text");
    if name.ends_with(".md") {
        return Some(Page::of(name, &text));
    }
    let lines = text.lines().map(|line| {
        let line = line.trim_start();
        let told = line.strip_prefix("//!").or(line.strip_prefix("///"));
        let told = told.unwrap_or_default();
        told.strip_prefix(' ').unwrap_or(told)
    });
    let mut page = Page::of(name, &lines.collect::<Vec<_>>().join("\n"));
    // Its code in Rust is compiled by cargo, and rustdoc looks after its links.
    page.parts
        .retain(|part| matches!(part, Part::Block(block) if is_shell(&block.language)));
    (!page.parts.is_empty()).then_some(page)
}

/// Whether a block has commands for a shell.
pub(crate) fn is_shell(language: &str) -> bool {
    ["console", "sh", "bash", "shell"].contains(&language)
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).expect("the source can be read");
    for entry in entries {
        let path = entry.expect("the source can be read").path();
        let name = path.file_name().and_then(|name| name.to_str());
        if path.is_dir() && !path.is_symlink() {
            let foreign = name.is_none_or(|name| FOREIGN.contains(&name) || name.starts_with('.'));
            if !foreign && !path.join("CACHEDIR.TAG").exists() {
                walk(&path, files);
            }
        } else if path
            .extension()
            .is_some_and(|kind| kind == "md" || kind == "rs")
        {
            files.push(path);
        }
    }
}
