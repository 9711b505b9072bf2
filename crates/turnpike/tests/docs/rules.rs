//! Compares `docs/protocol.md` with the code: the rules, the files and items that enforce them, the
//! tests that fail without them, their mutants, and all citations of rules and sections.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use turnpike_types::{RejectReason, SuspenseReason};

use super::markdown::{Text, file, files, root};

const RULES: u32 = 38;
const INVARIANTS: u32 = 7;
/// P50, P95, P99 and P999 are percentiles, not rules.
const PERCENTILES: [u32; 4] = [50, 95, 99, 999];

/// A rule or an invariant of the protocol page.
struct Rule {
    name: String,
    /// The text of each field, such as `Enforced in`, by the name of the field.
    fields: BTreeMap<String, String>,
}

impl Rule {
    /// The texts in backquotes in a field.
    fn named(&self, field: &str) -> Vec<String> {
        let text = self.fields.get(field).map_or("", String::as_str);
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
}

fn protocol() -> Vec<Rule> {
    let page = file("docs/protocol.md");
    let mut rules: Vec<Rule> = Vec::new();
    let mut field = None;
    for line in page.text.lines() {
        if line.starts_with('#') {
            field = None;
            if let Some((name, _)) = line.strip_prefix("### ").and_then(|h| h.split_once(". ")) {
                rules.push(Rule { name: name.to_owned(), fields: BTreeMap::new() });
            }
            continue;
        }
        let Some(rule) = rules.last_mut() else { continue };
        if let Some((name, rest)) = line.strip_prefix("- **").and_then(|l| l.split_once(":**")) {
            let before = rule.fields.insert(name.to_owned(), rest.trim().to_owned());
            assert!(before.is_none(), "{}: {name} stands twice", rule.name);
            field = Some(name.to_owned());
        } else if let Some(text) = field.as_ref().and_then(|name| rule.fields.get_mut(name)) {
            text.push(' ');
            text.push_str(line.trim());
        }
    }
    rules
}

#[test]
fn the_protocol_page_has_every_rule_and_invariant_once_and_in_order() {
    let names: Vec<String> = protocol().into_iter().map(|rule| rule.name).collect();
    let invariants = (1..=INVARIANTS).map(|n| format!("I{n}"));
    let expected: Vec<String> = invariants.chain((1..=RULES).map(|n| format!("P{n}"))).collect();
    assert_eq!(names, expected);
}

#[test]
fn every_rule_says_what_it_closes_where_it_is_enforced_and_which_test_fails_without_it() {
    const FIELDS: [&str; 5] =
        ["Closes", "Enforced in", "Fails without it", "Mutants", "Not built yet"];
    for rule in protocol() {
        for field in rule.fields.keys() {
            assert!(FIELDS.contains(&field.as_str()), "{}: unknown field {field}", rule.name);
        }
        let has = |field: &str| rule.fields.contains_key(field);
        let is_invariant = rule.name.starts_with('I');
        let is_built = has("Enforced in") || has("Fails without it") || has("Mutants");
        if !is_built {
            assert!(has("Not built yet"), "{}: built or not?", rule.name);
            continue;
        }
        assert!(!rule.named("Fails without it").is_empty(), "{} names no test", rule.name);
        assert!(has("Mutants"), "{}: name its mutants, or say why there are none", rule.name);
        if !is_invariant {
            assert!(has("Closes"), "{} does not say what it closes", rule.name);
            assert!(!rule.named("Enforced in").is_empty(), "{} names no source file", rule.name);
        }
    }
}

#[test]
fn every_file_and_item_that_enforces_a_rule_exists() {
    let mut faults = Vec::new();
    for rule in protocol() {
        let mut source: Option<Text> = None;
        for name in rule.named("Enforced in") {
            if name.contains('/') {
                let exists = root().join(&name).is_file();
                source = exists.then(|| file(&name));
                if !exists {
                    faults.push(format!("{}: there is no file {name}", rule.name));
                }
            } else if let Some(source) = &source
                && !defines(&source.text, &name)
            {
                faults.push(format!("{}: {} defines no {name}", rule.name, source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether Rust code defines a function, type or constant of this name.
fn defines(code: &str, name: &str) -> bool {
    ["fn", "struct", "enum", "trait", "const", "static", "type"].iter().any(|keyword| {
        let wanted = format!("{keyword} {name}");
        code.match_indices(&wanted).any(|(at, _)| {
            let next = code[at + wanted.len()..].chars().next();
            !next.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
        })
    })
}

/// The names and bodies of the functions with a test attribute.
fn tests_in(text: &str) -> Vec<(&str, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut tests, mut is_test) = (Vec::new(), false);
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim();
        let function = code.split_once("fn ").map(|(before, rest)| (before.trim(), rest));
        match function {
            Some(("" | "async" | "pub" | "pub async", rest)) => {
                if is_test {
                    let name = rest.split(['(', '<']).next().unwrap();
                    tests.push((name, body(&lines[index..])));
                }
                is_test = false;
            }
            _ if code.starts_with("#[") => is_test |= code.contains("test"),
            _ => is_test &= code.starts_with("//"),
        }
    }
    tests
}

/// The lines of a function up to its closing brace, without comments.
fn body(lines: &[&str]) -> String {
    if let Some((_, rest)) = lines[0].split_once('{')
        && rest.ends_with('}')
    {
        return rest.trim_end_matches('}').trim().to_owned();
    }
    let indent = lines[0].len() - lines[0].trim_start().len();
    let end = format!("{}}}", " ".repeat(indent));
    let inner = lines.iter().skip(1).take_while(|line| **line != end);
    inner.copied().map(str::trim).filter(|line| !line.starts_with("//")).collect()
}

/// The names and bodies of the cases of the store's conformance suite. Its build script lists them
/// all, and a macro makes tests of them.
fn conformance_cases(path: &str, text: &str) -> Vec<(String, String)> {
    if !path.starts_with("crates/store/conformance/src/") {
        return Vec::new();
    }
    let lines: Vec<&str> = text.lines().collect();
    let cases = lines.iter().enumerate().filter_map(|(index, line)| {
        let name = line.strip_prefix("pub async fn ")?.split('(').next()?;
        Some((name.to_owned(), body(&lines[index..])))
    });
    cases.collect()
}

/// For a message: the file that has a test of this name now, if any.
fn elsewhere(name: &str) -> String {
    let wanted = format!("fn {name}(");
    let found = files(&["rs"]).into_iter().find(|source| source.text.contains(&wanted));
    found.map_or_else(
        || "no file has it: was it renamed or deleted?".to_owned(),
        |source| format!("it is in {}: change the path on the page", source.path),
    )
}

#[test]
fn every_test_that_holds_a_rule_exists_and_does_something() {
    let (mut tried, mut faults) = (0, Vec::new());
    for rule in protocol() {
        for test in rule.named("Fails without it") {
            tried += 1;
            let (path, name) = test.split_once("::").expect("file::test");
            let text = fs::read_to_string(root().join(path));
            let text = text.unwrap_or_else(|error| panic!("{}: {path}: {error}", rule.name));
            let cases = conformance_cases(path, &text);
            let cases = cases.iter().map(|(case, body)| (case.as_str(), body.clone()));
            match tests_in(&text).into_iter().chain(cases).find(|(found, _)| *found == name) {
                None => faults.push(format!("{}: {test}: {}", rule.name, elsewhere(name))),
                Some((_, body)) if body.len() < 10 => {
                    faults.push(format!("{}: {test} does nothing", rule.name));
                }
                Some(_) => {}
            }
        }
    }
    assert!(tried > 100, "{tried} tests were looked for");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The mutants, each with the rules and invariants that its comment or the head of its patch names.
fn mutants() -> BTreeMap<String, BTreeSet<String>> {
    let list = file("crates/mutants/src/check.rs").text;
    let list = list.split("\nchecks! {").nth(1).expect("the list of checks");
    let (mut found, mut rules) = (BTreeMap::new(), BTreeSet::new());
    for line in list.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            if rules.is_empty() {
                rules = rules_of(comment);
            }
        } else if let Some(name) = line.strip_suffix(',') {
            found.insert(name.to_owned(), std::mem::take(&mut rules));
        }
    }
    let checks = found.len();
    assert!(checks > 50, "{checks} checks");
    for entry in std::fs::read_dir(root().join("chaos-tests/patches")).expect("the patches") {
        let path = entry.expect("a patch").path();
        let name = path.file_stem().expect("its name").to_string_lossy().into_owned();
        let head = std::fs::read_to_string(&path).expect("its text");
        assert!(found.insert(name.clone(), rules_of(&head)).is_none(), "{name} is a check too");
    }
    assert!(found.len() > checks + 10, "{} mutants, {checks} of them checks", found.len());
    found
}

/// The rules before the first colon.
fn rules_of(comment: &str) -> BTreeSet<String> {
    let head = comment.split(": ").next().unwrap_or_default();
    head.split(", ").filter(|name| is_rule(name)).map(str::to_owned).collect()
}

fn is_rule(name: &str) -> bool {
    let digits = name.strip_prefix(['P', 'I']).unwrap_or_default();
    !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit())
}

#[test]
fn every_rule_names_its_mutants_and_every_mutant_is_listed_under_its_rules() {
    let mutants = mutants();
    let mut under: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in protocol() {
        for mutant in rule.named("Mutants") {
            assert!(mutants.contains_key(&mutant), "{}: no mutant is {mutant}", rule.name);
            under.entry(mutant).or_default().insert(rule.name.clone());
        }
    }
    for (mutant, rules) in &mutants {
        let stands = under.get(mutant).cloned().unwrap_or_default();
        assert!(!stands.is_empty(), "{mutant} stands under no rule of docs/protocol.md");
        let missing: Vec<_> = rules.difference(&stands).collect();
        assert!(missing.is_empty(), "{mutant} is missing under {missing:?} of docs/protocol.md");
    }
}

/// Each citation of a rule or an invariant, such as `P12` or `I3`: its line, letter and number.
fn cited(text: &str) -> Vec<(usize, char, u32)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words {
            let Some(letter @ ('P' | 'I')) = word.chars().next() else { continue };
            if (2..=3).contains(&word.len())
                && let Ok(number) = word[1..].parse()
            {
                found.push((index + 1, letter, number));
            }
        }
    }
    found
}

#[test]
fn every_rule_and_invariant_that_is_cited_exists() {
    let (mut tried, mut faults) = (0, Vec::new());
    for source in files(&["rs", "sql", "proto", "md", "toml", "yml", "py", "sh"]) {
        for (line, letter, number) in cited(&source.text) {
            tried += 1;
            let exists = match letter {
                'I' => (1..=INVARIANTS).contains(&number),
                _ => (1..=RULES).contains(&number) || PERCENTILES.contains(&number),
            };
            // The page reserves the number after the last rule.
            let is_reserved = source.path == "docs/protocol.md" && number == RULES + 1;
            if !exists && !is_reserved {
                faults.push(format!("{}:{line}: {letter}{number}", source.path));
            }
        }
    }
    assert!(tried > 500, "{tried}");
    assert!(faults.is_empty(), "not in docs/protocol.md:\n{}", faults.join("\n"));
}

const NUMBERED: [&str; 2] = ["docs/plan-semantics.md", "docs/architecture.md"];

#[test]
fn every_section_that_is_cited_exists() {
    let (mut tried, mut faults) = (0, Vec::new());
    for page in NUMBERED {
        let headings: BTreeSet<u32> = file(page)
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("## ")?.split_once(". ")?.0.parse().ok())
            .collect();
        assert!(headings.len() > 5, "{page} has numbered sections");
        for source in files(&["rs", "sql", "proto", "md"]) {
            // A citation may continue in the next line of a comment.
            let text = joined(&source.text);
            for after in text.split(page).skip(1) {
                let Some(rest) = after.strip_prefix(" section") else { continue };
                let numbers = numbers(rest.strip_prefix('s').unwrap_or(rest));
                tried += 1;
                if numbers.is_empty() || !numbers.iter().all(|number| headings.contains(number)) {
                    let shown: String = rest.chars().take(20).collect();
                    faults.push(format!("{}: {page} section{shown:?}", source.path));
                }
            }
        }
    }
    assert!(tried > 100, "{tried} sections were looked for");
    assert!(faults.is_empty(), "no such sections:\n{}", faults.join("\n"));
}

/// Joins all lines without comment marks, so that a citation is not split over two lines.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim_start();
        let line =
            ["//! ", "/// ", "// "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
        joined.push_str(line);
        joined.push(' ');
    }
    joined
}

/// The numbers of ` 1, 2 and 8`, up to the first word that is neither a number nor `and`.
fn numbers(text: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for word in text.split_whitespace() {
        let digits = word.trim_end_matches(|mark: char| mark.is_ascii_punctuation());
        match digits.parse() {
            Ok(number) => numbers.push(number),
            Err(_) if word == "and" => continue,
            Err(_) => break,
        }
        if !word.ends_with(',') && word != digits {
            break;
        }
    }
    numbers
}

#[test]
fn nothing_cites_documents_that_are_not_in_the_repository() {
    let mut faults = Vec::new();
    // The names are joined from parts, so that the test does not find them in this file.
    let gone = [
        ["PLANS", " section"].concat(),
        ["DESIGN", " section"].concat(),
        ["PROTOCOL", " P"].concat(),
    ];
    for source in files(&["rs", "sql", "proto", "md"]) {
        let text = joined(&source.text);
        faults.extend(
            gone.iter()
                .filter(|name| text.contains(*name))
                .map(|name| format!("{} cites {name}", source.path)),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_reason_for_suspense_and_rejection_is_in_the_page_of_records_and_no_other() {
    let page = file("docs/records.md").text;
    let section = |title: &str| -> BTreeSet<String> {
        let text = page.split(title).nth(1).unwrap_or_else(|| panic!("a section {title}"));
        let rows = text.split("\n## ").next().unwrap().lines();
        rows.filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned()))
            .collect()
    };
    let words: BTreeSet<String> =
        SuspenseReason::ALL.iter().map(|reason| reason.word().to_owned()).collect();
    assert_eq!(section("## Why a record is suspended"), words);
    let words: BTreeSet<String> =
        RejectReason::ALL.iter().map(|reason| reason.word().to_owned()).collect();
    assert_eq!(section("## Why a record is rejected"), words);
}
