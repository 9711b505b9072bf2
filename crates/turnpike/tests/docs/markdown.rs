//! The repository's text: its pages, their blocks, links and headings, and its source files.

#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct Text {
    /// The path from the repository's root, with `/` as the separator.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A fenced block of a page.
#[derive(Debug)]
pub(crate) struct Block<'p> {
    pub(crate) language: &'p str,
    /// The number of the first line of the block's content, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository's root")
}

/// Reads the file at a path from the repository's root.
pub(crate) fn file(path: &str) -> Text {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Text { path: path.to_owned(), text }
}

/// Every file whose name ends in one of `kinds` (without the dot).
pub(crate) fn files(kinds: &[&str]) -> Vec<Text> {
    let mut found = Vec::new();
    walk(&root(), &mut |path| {
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if kinds.contains(&kind) {
            let name = path.strip_prefix(root()).expect("within the root");
            found.push(file(&name.to_string_lossy()));
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every Markdown page.
pub(crate) fn pages() -> Vec<Text> {
    let pages = files(&["md"]);
    assert!(pages.len() > 40, "{} pages are too few: is this the repository?", pages.len());
    pages
}

fn walk(place: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(place).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Hidden directories, build output and symbolic links are not read: they are not sources of
        // this repository.
        if name.starts_with('.') || name == "target" || name == "node_modules" || path.is_symlink()
        {
            continue;
        }
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

impl Text {
    /// The fenced blocks, in order.
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks: Vec<Block<'_>> = Vec::new();
        let mut open = false;
        for (index, line) in self.text.lines().enumerate() {
            match line.trim_start().strip_prefix("```") {
                Some(language) if !open => {
                    open = true;
                    blocks.push(Block { language, line: index + 2, text: String::new() });
                }
                Some(_) => open = false,
                None if open => {
                    if let Some(block) = blocks.last_mut() {
                        block.text.push_str(line);
                        block.text.push('\n');
                    }
                }
                None => {}
            }
        }
        assert!(!open, "{}: a fenced block is not closed", self.path);
        blocks
    }

    /// The page with its fenced blocks emptied; lines keep their numbers.
    pub(crate) fn prose(&self) -> String {
        let mut open = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            open ^= is_fence;
            if !open && !is_fence {
                prose.push_str(line);
            }
            prose.push('\n');
        }
        prose
    }

    /// The texts in single backquotes outside fenced blocks, with blanks instead of line breaks.
    pub(crate) fn spans(&self) -> Vec<String> {
        let prose = self.prose();
        // A span may go on into the next line, but not into the next paragraph.
        prose
            .split("\n\n")
            .flat_map(|paragraph| {
                let parts: Vec<&str> = paragraph.split('`').collect();
                assert!(parts.len() % 2 == 1, "{}: odd backquotes in {paragraph:?}", self.path);
                parts
                    .into_iter()
                    .skip(1)
                    .step_by(2)
                    .map(|span| span.replace('\n', " "))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// `(line, target)` of each link and image outside fenced blocks and code spans.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (index, line) in self.prose().lines().enumerate() {
            let code_free: String =
                line.split('`').enumerate().filter(|(i, _)| i % 2 == 0).map(|(_, t)| t).collect();
            for rest in code_free.split("](").skip(1) {
                let target = rest.split(')').next().unwrap_or_default();
                links.push((index + 1, target.to_owned()));
            }
        }
        links
    }

    /// The anchors of the headings, as GitHub forms them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for line in self.prose().lines() {
            let depth = line.chars().take_while(|letter| *letter == '#').count();
            if depth == 0 || !line[depth..].starts_with(' ') {
                continue;
            }
            let slug: String = line[depth..]
                .trim()
                .to_lowercase()
                .chars()
                .filter_map(|letter| match letter {
                    ' ' => Some('-'),
                    '-' | '_' => Some(letter),
                    other => other.is_alphanumeric().then_some(other),
                })
                .collect();
            let same = anchors.iter().filter(|a| **a == slug || a.starts_with(&format!("{slug}-")));
            let again = same
                .filter(|a| {
                    a[slug.len()..].trim_start_matches('-').parse::<u32>().is_ok()
                        || a.len() == slug.len()
                })
                .count();
            anchors.push(if again == 0 { slug } else { format!("{slug}-{again}") });
        }
        anchors
    }
}
