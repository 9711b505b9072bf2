//! Pages that are followed step by step, with a real cluster: the tutorial and README.
//!
//! A block of shell is run by `sh` in a directory that contains only `examples/`. The block of
//! `text` after it is the expected output, including standard error. `…` matches text that differs
//! between runs: any characters within a line, or, alone on a line, any lines.
//!
//! After an intended change of the output, `BLESS=1` writes the new output into the page:
//!
//! ```sh
//! BLESS=1 cargo test -p turnpike guide
//! ```

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::markdown::{file, root};

/// The beginnings of commands that are not run here, each with the reason or with what runs it.
const ELSEWHERE: [(&str, &str); 4] = [
    ("git clone", "this is the clone"),
    ("cargo install", "the tests have built the program"),
    ("cargo run --release -- demo", "tests/demo.rs"),
    ("scripts/", "the scripts run the tests"),
];

/// A directory in which a page is followed, and the cluster that it has started.
struct Walkthrough {
    dir: TempDir,
    cluster: Option<Child>,
    port: u16,
}

impl Drop for Walkthrough {
    fn drop(&mut self) {
        if let Some(cluster) = &mut self.cluster {
            // `kill` sends SIGTERM. The cluster stops its own processes, each within a time limit.
            let _ = Command::new("kill").arg(cluster.id().to_string()).status();
            let _ = cluster.wait();
        }
    }
}

impl Walkthrough {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&root().join("examples"), &dir.path().join("examples"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { dir, cluster: None, port }
    }

    fn shell(&self, script: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_turnpike")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TURNPIKE_")) {
            command.env_remove(name);
        }
        command
            .arg("-c")
            .arg(script)
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", program.display()))
            .env("TURNPIKE_FRONT", format!("http://127.0.0.1:{}", self.port))
            .stdin(Stdio::null());
        command
    }

    /// Runs a script. Returns its standard output and standard error as one text, and its exit
    /// code.
    fn run(&self, script: &str) -> (String, i32) {
        let both = format!("exec 2>&1\nset -e\n{script}");
        let output = self.shell(&both).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap_or(-1))
    }

    /// Starts the cluster of a page at this page's port, and waits until its log says that it
    /// serves.
    fn start(&mut self, line: &str) {
        assert!(self.cluster.is_none(), "one cluster a page");
        let line = format!("exec {line} --listen 127.0.0.1:{} 2>&1", self.port);
        let mut child = self.shell(&line).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.cluster = Some(child);
        let mut log = Vec::new();
        let is_served = lines.by_ref().map_while(Result::ok).any(|line| {
            log.push(line);
            log.last().is_some_and(|line| line.contains("The cluster serves at"))
        });
        assert!(is_served, "the cluster does not serve:\n{}", log.join("\n"));
        // The rest of the output is read and dropped, so that a full pipe never blocks the cluster.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

/// Whether the printed lines match the expected ones; the expected line `…` matches any lines.
fn matches(expected: &[&str], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => (0..=printed.len()).any(|skip| matches(rest, &printed[skip..])),
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| fits(first, line) && matches(rest, others)),
    }
}

/// Whether a line matches a pattern, in which `…` matches any characters.
fn fits(pattern: &str, line: &str) -> bool {
    let parts: Vec<&str> = pattern.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return pattern == line };
    let Some(mut rest) = line.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

/// The new content of a block: the printed lines, but a line that matches a pattern of the old
/// content is replaced by this pattern.
fn blessed(expected: &[&str], printed: &[&str]) -> String {
    let shown = |line: &&str| {
        let kept = expected.iter().find(|old| **old != "…" && fits(old, line));
        format!("{}\n", kept.unwrap_or(line))
    };
    printed.iter().map(shown).collect()
}

/// Runs the blocks of shell of a page. Returns how many were run.
fn follow(name: &str) -> usize {
    let page = file(name);
    let mut rewritten = page.text.clone();
    let blesses = std::env::var_os("BLESS").is_some();
    let blocks = page.blocks();
    let mut walkthrough = Walkthrough::new();
    let mut run = 0;
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        let at = format!("{}:{}", page.path, block.line);
        let is_elsewhere =
            |line: &&str| ELSEWHERE.iter().any(|(start, _)| line.trim_start().starts_with(start));
        let lines: Vec<&str> = block.text.lines().filter(|line| !is_elsewhere(line)).collect();
        if let Some(up) = lines.iter().find(|line| line.starts_with("turnpike up")) {
            assert_eq!(lines.len(), 1, "{at}: a cluster is started by itself");
            walkthrough.start(up.split('#').next().unwrap().trim());
            continue;
        }
        let script = lines.join("\n");
        if script.trim().is_empty() {
            continue;
        }
        run += 1;
        let (printed, code) = walkthrough.run(&script);
        assert_eq!(code, 0, "{at}: ends with {code}:\n{script}\n{printed}");
        assert!(!printed.contains("panicked"), "{at}: {printed}");
        let shown = blocks.get(index + 1).filter(|next| next.language == "text");
        if let Some(shown) = shown {
            let (expected, lines) = (shown.text.lines().collect::<Vec<_>>(), printed.lines());
            let lines: Vec<&str> = lines.map(str::trim_end).collect();
            let is_shown = matches(&expected, &lines);
            if !is_shown && blesses {
                let shown = format!("```text\n{}```", shown.text);
                let new = format!("```text\n{}```", blessed(&expected, &lines));
                rewritten = rewritten.replacen(&shown, &new, 1);
                continue;
            }
            assert!(
                is_shown,
                "{at} does not print what the page shows.\n--- shown\n{}\n--- printed\n{printed}",
                shown.text
            );
        }
    }
    if rewritten != page.text {
        fs::write(root().join(name), rewritten).unwrap();
    }
    run
}

#[test]
fn the_tutorial_prints_what_it_shows_and_ends_in_a_bill() {
    assert!(follow("docs/tutorial.md") >= 10);
}

#[test]
fn readme_followed_literally_works_to_the_end() {
    assert!(follow("README.md") >= 3);
}

#[test]
fn the_page_of_the_language_steps_through_a_plan_as_it_shows() {
    assert_eq!(follow("docs/price-plans.md"), 1);
}

/// The command `table check` of the page accepts the first table of the page.
#[test]
fn the_table_that_the_page_of_tables_checks_is_sound() {
    let page = file("docs/tables.md");
    let blocks = page.blocks();
    let table =
        blocks.iter().find(|block| block.text.starts_with("# turnpike-table id=world-dial"));
    let check =
        blocks.iter().flat_map(|block| block.text.lines()).find(|l| l.contains("table check"));
    let walkthrough = Walkthrough::new();
    fs::write(walkthrough.dir.path().join("world-dial.csv"), &table.unwrap().text).unwrap();
    let (printed, code) = walkthrough.run(check.unwrap());
    assert_eq!(code, 0, "{printed}");
}

#[test]
fn the_gallerys_first_plan_is_the_example() {
    let page = file("docs/plan-gallery.md");
    let first = page.blocks().into_iter().find(|block| block.language == "xml");
    assert_eq!(first.unwrap().text, file("examples/dial-up.xml").text);
}

#[test]
fn dots_match_any_letters_or_lines() {
    assert!(fits("pid … at http://…:7070", "pid 12 at http://127.0.0.1:7070"));
    assert!(!fits("pid … at", "pid 12 on"));
    assert!(matches(&["a", "…", "z"], &["a", "b", "c", "z"]));
    assert!(matches(&["a", "…", "z"], &["a", "z"]));
    assert!(!matches(&["a", "z"], &["a", "b", "z"]));
}
