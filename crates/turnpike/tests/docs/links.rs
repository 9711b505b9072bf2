//! Links and paths in pages lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::markdown::{Text, pages, root};

/// The path from the repository's root for a link such as `../a` on a page; `None` if the link
/// leaves the repository.
fn resolved(page: &Text, target: &str) -> Option<PathBuf> {
    let mut path = Path::new(&page.path).parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

fn fault(page: &Text, all: &[Text], target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').map_or((target, None), |(f, a)| (f, Some(a)));
    let Some(path) = resolved(page, file) else { return Some("leaves the repository".to_owned()) };
    let path = if file.is_empty() { PathBuf::from(&page.path) } else { path };
    if !root().join(&path).exists() {
        return Some(format!("{} does not exist", path.display()));
    }
    let anchor = anchor?;
    let Some(other) = all.iter().find(|other| Path::new(&other.path) == path) else {
        return Some(format!("{} has no headings", path.display()));
    };
    (!other.anchors().iter().any(|known| known == anchor))
        .then(|| format!("{} has no heading #{anchor}", path.display()))
}

#[test]
fn every_relative_link_and_anchor_resolves() {
    let all = pages();
    let (mut tried, mut faults) = (0, Vec::new());
    for page in &all {
        for (line, target) in page.links() {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            tried += 1;
            let found = fault(page, &all, &target);
            faults.extend(found.map(|why| format!("{}:{line}: ({target}) {why}", page.path)));
        }
    }
    assert!(tried > 100, "{tried} links were tried: are links found at all?");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A text in backquotes that begins with one of these directories is a path of the repository.
const ROOTS: [&str; 9] = [
    "crates/",
    "docs/",
    "chaos-tests/",
    "scripts/",
    "proto/",
    "migrations/",
    "cluster/",
    "examples/",
    "fuzz/",
];

#[test]
fn every_path_of_the_repository_that_a_page_names_exists() {
    let mut missing = Vec::new();
    let mut tried = 0;
    for page in pages() {
        for span in page.spans() {
            let word = span.split([' ', ':']).next().unwrap_or_default();
            // A path with a wildcard or a placeholder such as NAME can't be checked.
            let stands_for_any = word.contains(['*', '<', '{', '…']) || word.contains("NAME");
            if !ROOTS.iter().any(|root| word.starts_with(root)) || stands_for_any {
                continue;
            }
            tried += 1;
            if !root().join(word).exists() {
                missing.push(format!("{}: `{span}`", page.path));
            }
        }
    }
    assert!(tried > 100, "{tried}");
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
}

#[test]
fn no_page_holds_a_placeholder() {
    for page in pages() {
        for (index, line) in page.text.lines().enumerate() {
            let marks = line.matches("@@").count();
            assert!(marks < 2, "{}:{}: a placeholder: {line}", page.path, index + 1);
        }
    }
}
