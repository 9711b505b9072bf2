//! Rules that hold for every command and option of the command line.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, Command};

use super::{POINTER, command};

/// Every command with its full name, beginning with `turnpike`.
fn commands() -> Vec<(String, Command)> {
    fn walk(name: &str, command: &Command, all: &mut Vec<(String, Command)>) {
        all.push((name.to_owned(), command.clone()));
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            walk(&format!("{name} {}", sub.get_name()), sub, all);
        }
    }
    let mut root = command();
    root.build();
    let mut all = Vec::new();
    walk("turnpike", &root, &mut all);
    assert!(all.len() > 40, "{}", all.len());
    all
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|option| option.get_long().is_some())
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn the_page_lists_every_variable_and_every_key_of_the_file_and_no_other() {
    let mut variables: BTreeSet<(String, String)> = BTreeSet::new();
    for (_, command) in commands() {
        for option in options(&command) {
            if let (Some(long), Some(name)) = (option.get_long(), option.get_env()) {
                let name = name.to_str().unwrap().to_owned();
                assert!(name.starts_with("TURNPIKE_"), "{name}");
                variables.insert((format!("--{long}"), name));
            }
        }
    }
    variables.insert(("--log-level".to_owned(), "TURNPIKE_LOG".to_owned()));
    let mut keys: BTreeSet<String> = BTreeSet::from(["database".to_owned()]);
    for (section, of) in crate::config::KEYS.iter().filter(|(section, _)| !section.is_empty()) {
        keys.extend(of.iter().map(|key| format!("[{section}] {key}")));
    }
    let page = include_str!("../../../../docs/operating.md");
    let table = page.split("| option | of | variable | key of the file |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let (mut told, mut told_keys) = (BTreeSet::new(), BTreeSet::new());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let names = |cell: &str| -> Vec<String> {
            let quoted = cell.split('`').skip(1).step_by(2);
            quoted.map(str::to_owned).collect()
        };
        for variable in names(cells[2]) {
            told.insert((names(cells[0])[0].clone(), variable));
        }
        told_keys.extend(names(cells[3]));
    }
    assert_eq!(told, variables);
    assert_eq!(told_keys, keys);
}

#[test]
fn the_options_accounts_and_json_have_one_meaning_each() {
    let mut kinds: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (_, command) in commands() {
        for option in options(&command) {
            let long = option.get_long().unwrap();
            let Some(name) = ["accounts", "json"].into_iter().find(|name| *name == long) else {
                continue;
            };
            let takes = option.get_num_args().is_some_and(|count| count.takes_values());
            let values = option.get_value_names().filter(|_| takes);
            kinds.entry(name).or_default().insert(format!("{values:?}"));
        }
    }
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    for (name, kinds) in kinds {
        assert_eq!(kinds.len(), 1, "--{name}: {kinds:?}");
    }
}

#[test]
fn global_options_are_in_the_first_help_only_and_each_command_refers_to_it() {
    for (name, mut command) in commands() {
        let help = command.render_help().to_string();
        let (_, after) = help.split_once("Usage").unwrap_or(("", &help));
        let is_first = name == "turnpike";
        let lists = |option: &str| after.lines().any(|line| line.trim_start().starts_with(option));
        for option in ["--config <FILE>", "-q, --quiet", "--log <FORMAT>", "--log-level <FILTER>"] {
            assert_eq!(lists(option), is_first, "{name}: {option}");
        }
        assert_eq!(help.contains(POINTER), !is_first, "{name} --help");
        let long = command.render_long_help().to_string();
        assert_eq!(long.contains(POINTER), !is_first, "{name} --help, long");
    }
}

#[test]
fn global_options_are_taken_by_every_command() {
    for (name, leaf) in commands() {
        if leaf.has_subcommands() || name == "turnpike" {
            continue;
        }
        for option in ["config", "quiet", "log", "log-level"] {
            let taken = leaf.get_arguments().any(|known| known.get_id() == option);
            assert!(taken, "{name} --{option}");
        }
    }
}

/// Whether the text ends in the middle of a sentence, because it was cut off or joined wrongly.
fn is_broken(text: &str) -> bool {
    let text = text.trim_end();
    let last = text.rsplit(' ').next().unwrap_or_default();
    let hangs = ["or", "and", "the", "a", "of", "such", "as"];
    text.is_empty() || hangs.contains(&last) || text.ends_with([',', ';', ':', '-', '('])
}

#[test]
fn no_help_text_is_cut_off() {
    for (name, command) in commands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!is_broken(&about), "{name}: {about:?}");
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!is_broken(&help), "{name} {}: {help:?}", option.get_id());
            for value in option.get_possible_values() {
                let help = value.get_help().map(ToString::to_string);
                assert!(!help.is_some_and(|help| is_broken(&help)), "{name} {}", value.get_name());
            }
        }
    }
}

#[test]
fn prose_in_help_texts_is_wrapped_at_its_end_and_not_within() {
    for (name, command) in commands() {
        let Some(text) = command.get_after_help() else { continue };
        let text = text.to_string();
        for paragraph in text.split("\n\n").filter(|text| !text.starts_with("Examples:")) {
            let lines: Vec<&str> = paragraph.lines().collect();
            for line in &lines[..lines.len().saturating_sub(1)] {
                let is_list = line.starts_with(' ') || line.ends_with(':');
                let next_long = line.chars().count() < 60;
                assert!(is_list || !next_long, "{name} --help breaks a line early: {line:?}");
            }
        }
    }
}
