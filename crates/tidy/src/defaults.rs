//! Checks that product code drops no error and no answer without a reason. The methods of `Result`
//! that hide an error are banned in `clippy.toml`; here are the forms that clippy does not find.
//!
//! ```text
//!  product files, without comments and unit tests
//!      `.ok()` and a default after it   the error is lost, and the value is wrong: always a fault
//!      `.ok();`                         the error is dropped: always a fault
//!      `let _ =`                        an answer is dropped: the line above says why
//! ```

use crate::names::sources;
use crate::workspace::{packages, root};

/// What may not follow a conversion of a `Result` to an `Option`, without spaces.
const DEFAULTS: &[&str] = &[
    ".ok().unwrap_or",
    ".ok().map_or",
    ".ok().is_none_or",
    ".ok()).unwrap_or",
    ".ok()).map_or",
    ".ok()).is_none_or",
    ".ok();",
];

/// Folders that still have such places, each with their number; none is to be added.
const UNJUDGED: &[(&str, usize)] = &[];

/// The packages that only serve tests and measurements.
const OF_TESTS: &[&str] = &["test-cases", "test-network", "tidy"];

/// The text of a source file without the unit tests at its end.
fn product(text: &str) -> &str {
    let is_module = |rest: &str| {
        let mut lines = rest.lines().filter(|line| !line.starts_with("#["));
        lines.next().is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let mut marks = text.match_indices("\n#[cfg(test)]\n");
    match marks.find(|(at, mark)| is_module(&text[at + mark.len()..])) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

/// Whether the line is a comment.
fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The places in a file at which an error or an answer is dropped without a reason: the line, and
/// what is found there.
fn dropped(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = product(text).lines().collect();
    let (mut code, mut starts) = (String::new(), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        if is_comment(line) {
            continue;
        }
        let drops = line.trim_start().starts_with("let _ =");
        let above = at.checked_sub(1).map(|above| lines[above]);
        let follows = above.is_some_and(|above| above.trim_start().starts_with("let _ ="));
        if drops && !follows && !above.is_some_and(is_comment) {
            found.push((at + 1, "let _ =".to_owned()));
        }
        for word in line.split_whitespace() {
            starts.push((code.len(), at + 1));
            code.push_str(word);
        }
    }
    for pattern in DEFAULTS {
        for (place, _) in code.match_indices(pattern) {
            let last = starts.partition_point(|(start, _)| *start <= place) - 1;
            // `return x.ok();` and `let x = y.ok();` keep the value.
            let statement = code[..place].rsplit([';', '{', '}']).next().unwrap_or_default();
            let keeps = statement.contains('=') || statement.starts_with("return");
            if *pattern != ".ok();" || !keeps {
                found.push((starts[last].1, (*pattern).to_owned()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_error_and_no_answer_is_dropped_without_a_reason() {
    let root = root();
    let mut files = Vec::new();
    for package in packages() {
        let is_product = package.dir.starts_with(root.join("crates"));
        if is_product && !OF_TESTS.contains(&package.name.as_str()) {
            sources(&package.dir.join("src"), &mut files);
        }
    }
    assert!(files.len() > 300, "{} source files were found", files.len());
    let mut unjudged: Vec<usize> = vec![0; UNJUDGED.len()];
    let mut faults = Vec::new();
    for file in &files {
        let found = dropped(&std::fs::read_to_string(file).unwrap());
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        if let Some(at) = UNJUDGED.iter().position(|(folder, _)| name.starts_with(folder)) {
            unjudged[at] += found.len();
            continue;
        }
        faults.extend(found.into_iter().map(|(line, what)| match what.as_str() {
            "let _ =" => format!("{name}:{line}: say above `let _ =` why the answer is dropped"),
            what => format!("{name}:{line}: `{what}` drops an error: return it, or handle it"),
        }));
    }
    for ((folder, known), found) in UNJUDGED.iter().zip(unjudged) {
        if found != *known || found == 0 {
            faults.push(format!(
                "{folder}: UNJUDGED names {known} places, {found} were found: correct the number, \
                 which must not grow, or remove the line if it is 0"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn dropped_errors_are_found_across_lines_and_not_in_comments_or_tests() {
    let text = "fn f() {\n    let x = g()\n        .ok()\n        .unwrap_or_default();\n    \
                h(y.and_then(|y| y.parse().ok()).map_or(0, one));\n    // z.ok().unwrap_or(0)\n    \
                k().ok();\n    let kept = k().ok();\n    return k().ok();\n    let _ = k();\n    \
                // No reader is left.\n    let _ = k();\n    let _ = k();\n}\n\
                #[cfg(test)]\n#[allow(unused)]\nmod tests {\n    fn f() { let x = g().ok().unwrap_or(1); }\n}\n";
    let found: Vec<(usize, String)> = dropped(text);
    let found: Vec<(usize, &str)> = found.iter().map(|(line, what)| (*line, &**what)).collect();
    let expected = [(3, ".ok().unwrap_or"), (5, ".ok()).map_or"), (7, ".ok();"), (10, "let _ =")];
    assert_eq!(found, expected);
}
