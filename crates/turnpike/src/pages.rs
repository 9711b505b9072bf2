//! Checks commands, options and configuration files in the documentation with the program's
//! parsers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/docs/markdown.rs"]
mod markdown;

use std::collections::BTreeSet;

use clap::{Command, CommandFactory as _, Parser as _};

use self::markdown::{files, pages, root};
use crate::cli::Cli;
use crate::config::Config;

/// Splits the text of a page into commands and words, like a shell.
#[derive(Debug, Default)]
struct Shell {
    commands: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
}

impl Shell {
    /// The commands of a block, separated by pipes, `&&`, `;` and line ends, without comments and
    /// redirections. `$(...)` is kept as text.
    fn split(block: &str) -> Vec<Vec<String>> {
        let mut shell = Self::default();
        let block = block.replace("\\\n", " ");
        let mut letters = block.chars().peekable();
        let mut depth = 0;
        while let Some(letter) = letters.next() {
            match letter {
                '$' if letters.peek() == Some(&'(') => {
                    depth += 1;
                    shell.push(letter);
                }
                ')' if depth > 0 => {
                    depth -= 1;
                    shell.push(letter);
                }
                _ if depth > 0 => shell.push(letter),
                '\'' | '"' => {
                    shell.word.get_or_insert_default();
                    for quoted in letters.by_ref().take_while(|next| *next != letter) {
                        shell.push(quoted);
                    }
                }
                '#' if shell.word.is_none() => {
                    letters.by_ref().find(|next| *next == '\n');
                    shell.end_command();
                }
                '|' | ';' | '&' | '\n' => shell.end_command(),
                '>' | '<' => {
                    // The file name of a redirection is not an argument.
                    shell.end_word();
                    shell.words.push(">".to_owned());
                }
                blank if blank.is_whitespace() => shell.end_word(),
                other => shell.push(other),
            }
        }
        shell.end_command();
        shell.commands
    }

    fn push(&mut self, letter: char) {
        self.word.get_or_insert_default().push(letter);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        let mut words = Vec::new();
        let mut all = std::mem::take(&mut self.words).into_iter();
        while let Some(word) = all.next() {
            if word == ">" {
                all.next();
            } else {
                words.push(word);
            }
        }
        if !words.is_empty() {
            self.commands.push(words);
        }
    }
}

/// The arguments if the command runs this program; preceding variable assignments are skipped.
fn arguments(words: &[String]) -> Option<Vec<String>> {
    let is_setting = |word: &&String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        })
    };
    let words: Vec<&String> = words.iter().skip_while(is_setting).collect();
    let first = words.first()?.as_str();
    if first == "turnpike" || (first.starts_with("target/") && first.ends_with("/turnpike")) {
        return Some(words[1..].iter().map(|&word| word.clone()).collect());
    }
    let is_run = words.len() > 1 && first == "cargo" && words[1] == "run";
    let after = is_run.then(|| words.iter().position(|word| *word == "--"))??;
    let names_another = words[..after].iter().any(|word| ["-p", "--bin"].contains(&word.as_str()));
    (!names_another).then(|| words[after + 1..].iter().map(|&word| word.clone()).collect())
}

/// `...` and `…` are placeholders: then only the names of commands and options are checked.
fn is_abbreviated(arguments: &[String]) -> bool {
    arguments.iter().any(|word| word == "..." || word.contains('…'))
}

#[test]
fn every_command_line_of_a_page_is_taken_by_the_parser() {
    let (mut tried, mut faults) = (0, Vec::new());
    for page in pages() {
        for block in page.blocks().iter().filter(|block| ["sh", ""].contains(&block.language)) {
            for words in Shell::split(&block.text) {
                let Some(arguments) = arguments(&words) else { continue };
                if block.language.is_empty() {
                    faults.push(format!("{}:{}: mark commands as sh", page.path, block.line));
                    continue;
                }
                tried += 1;
                let fault = match is_abbreviated(&arguments) {
                    true => unknown_names(&arguments, true),
                    false => refused(&arguments),
                };
                faults.extend(
                    fault.map(|why| format!("{}:{}: {words:?}\n{why}", page.path, block.line)),
                );
            }
        }
    }
    assert!(tried > 50, "{tried} commands were tried");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn refused(arguments: &[String]) -> Option<String> {
    let words = std::iter::once("turnpike".to_owned()).chain(arguments.iter().cloned());
    match Cli::try_parse_from(words) {
        Ok(_) => None,
        // `--help` and `--version` are errors that print to standard output.
        Err(error) => error.use_stderr().then(|| error.to_string()),
    }
}

/// Finds the first word that is neither a subcommand nor an option of the command named by the
/// words before it. With `strict`, the first word must be a command.
fn unknown_names(arguments: &[String], strict: bool) -> Option<String> {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    let mut path = "turnpike".to_owned();
    for (index, word) in arguments.iter().enumerate() {
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap_or_default();
            if !name.is_empty() && !has_option(command, name) {
                return Some(format!("{path} has no option --{name}"));
            }
        } else if let Some(sub) = command.find_subcommand(word) {
            command = sub;
            path = format!("{path} {word}");
        } else if command.has_subcommands() && (index > 0 || strict) && is_name(word) {
            return Some(format!("{path} has no command {word}"));
        }
    }
    None
}

/// Whether a word has only lower-case letters and `-`: it may name a command, and is no
/// placeholder.
fn is_name(word: &str) -> bool {
    word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
        && !word.starts_with('-')
}

fn has_option(command: &Command, name: &str) -> bool {
    ["help", "version"].contains(&name)
        || command.get_arguments().any(|argument| argument.get_long() == Some(name))
}

fn all_options(command: &Command, into: &mut BTreeSet<String>) {
    into.extend(
        command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned),
    );
    command.get_subcommands().for_each(|sub| all_options(sub, into));
}

/// Options of other programs that the pages mention.
const FOREIGN: [&str; 6] =
    ["sample-size", "sample-count", "features", "workspace", "in-diff", "locked"];

#[test]
fn every_command_and_option_that_a_sentence_names_exists() {
    let mut options = BTreeSet::new();
    let mut root = Cli::command();
    root.build();
    all_options(&root, &mut options);
    let (mut tried, mut faults) = (0, Vec::new());
    for page in pages() {
        for span in page.spans() {
            let words: Vec<String> = span.split_whitespace().map(str::to_owned).collect();
            let fault = match words.first().map(String::as_str) {
                Some("turnpike") => {
                    tried += 1;
                    unknown_names(&words[1..], true)
                }
                // A text such as `--12-25` is a date that recurs every year, and no option.
                Some(first)
                    if first.starts_with("--")
                        && first[2..].starts_with(|c: char| c.is_ascii_lowercase()) =>
                {
                    tried += 1;
                    let name = first[2..].split('=').next().unwrap_or_default();
                    let is_known = options.contains(name)
                        || ["help", "version", ""].contains(&name)
                        || FOREIGN.contains(&name)
                        || is_of_a_script(&page.text, name);
                    (!is_known).then(|| format!("no command has an option --{name}"))
                }
                _ => None,
            };
            faults.extend(fault.map(|why| format!("{}: `{span}`: {why}", page.path)));
        }
    }
    assert!(tried > 60, "{tried}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether a script of the repository that the page mentions has this option.
fn is_of_a_script(page: &str, option: &str) -> bool {
    let scripts = ["scripts/", "chaos-tests/patroni/failover", "chaos-tests/nightly"];
    let option = format!("--{option}");
    scripts.iter().filter(|script| page.contains(*script)).any(|script| {
        let path = root().join(script);
        let found = if path.is_dir() {
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![path]
        };
        found
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .any(|text| text.contains(&option))
    })
}

#[test]
fn every_script_that_a_block_runs_exists() {
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "sh") {
            for words in Shell::split(&block.text) {
                let first = &words[0];
                let is_ours = ["scripts/", "chaos-tests/"].iter().any(|dir| first.starts_with(dir));
                assert!(!is_ours || root().join(first).is_file(), "{}: {first}", page.path);
            }
        }
    }
}

#[test]
fn every_variable_that_a_page_names_is_read_by_the_code() {
    let code: Vec<_> =
        files(&["rs"]).into_iter().filter(|file| !file.path.ends_with("pages.rs")).collect();
    for page in pages() {
        let letters = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        for word in page.text.split(|letter| !letters(letter)) {
            if word.starts_with("TURNPIKE_") && word.len() > "TURNPIKE_".len() {
                let quoted = format!("\"{word}\"");
                let is_read = code.iter().any(|file| file.text.contains(&quoted));
                assert!(is_read, "{}: nothing reads {word}", page.path);
            }
        }
    }
}

#[test]
fn every_configuration_file_of_a_page_is_read() {
    let mut tried = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "toml") {
            tried += 1;
            let read = toml::from_str::<Config>(&block.text);
            assert!(read.is_ok(), "{}:{}: {}", page.path, block.line, read.unwrap_err());
        }
    }
    assert!(tried >= 2, "{tried}");
}

#[test]
fn a_shell_line_is_split_as_a_shell_would() {
    let line = "A=1 turnpike plan check 'a b.xml' > out.txt | jq .x  # --not-an-option\nturnpike up \\\n  --nodes 2";
    let commands = Shell::split(line);
    assert_eq!(commands.len(), 3, "{commands:?}");
    assert_eq!(arguments(&commands[0]).unwrap(), ["plan", "check", "a b.xml"]);
    assert_eq!(arguments(&commands[1]), None);
    assert_eq!(arguments(&commands[2]).unwrap(), ["up", "--nodes", "2"]);
}

#[test]
fn wrong_commands_and_options_are_noticed() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(unknown_names(&words("plan chek"), true).is_some());
    assert!(unknown_names(&words("pull --consumers x"), true).is_some());
    assert!(unknown_names(&words("pull --consumer x"), true).is_none());
    assert!(refused(&words("pull --output lines.csv")).is_some());
}

/// Each prose paragraph below a command's options is filled: no line breaks early, and no line is
/// wider than a terminal of 100 columns.
#[test]
fn help_texts_are_wrapped_evenly() {
    fn check(command: &Command, path: &str) {
        // The parser removes a full stop at the end of a help text.
        for help in command.get_arguments().filter_map(clap::Arg::get_help) {
            let help = help.to_string();
            let last = help.split_whitespace().last().unwrap_or_default();
            let is_cut = ["or", "and", "a", "the", "to", "of", "such", "as"].contains(&last);
            assert!(!is_cut && !help.ends_with([',', '-']), "{path}: {help:?} is cut off");
        }
        let texts = [command.get_after_help(), command.get_after_long_help()];
        for text in texts.into_iter().flatten().map(ToString::to_string) {
            for paragraph in text.split("\n\n").filter(|p| !p.contains("\n ")) {
                let lines: Vec<&str> = paragraph.lines().collect();
                for pair in lines.windows(2) {
                    let next = pair[1].split(' ').next().unwrap_or_default();
                    let would_fit = pair[0].len() + 1 + next.len() <= 80;
                    let would_fit = would_fit && !pair[0].ends_with(['.', ':', ';']);
                    assert!(!would_fit, "{path}: a line is broken early: {:?}", pair[0]);
                }
            }
            assert!(text.lines().all(|line| line.chars().count() <= 102), "{path}:\n{text}");
        }
        for sub in command.get_subcommands() {
            check(sub, &format!("{path} {}", sub.get_name()));
        }
    }
    check(&Cli::command(), "turnpike");
}
