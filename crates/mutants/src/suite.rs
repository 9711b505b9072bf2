//! The switch that turns a check off, and a function that proves that a test fails without a check.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use crate::Check;

/// The environment variable that names the check that is off.
pub const MUTANT: &str = "TURNPIKE_MUTANT";

/// The time limit for a test. A test that takes longer counts as hanging.
const HANGS: Duration = Duration::from_secs(120);

/// Whether this check is switched off in this process. It never is in a release build.
pub fn off(check: Check) -> bool {
    static OFF: OnceLock<Option<Check>> = OnceLock::new();
    cfg!(debug_assertions) && *OFF.get_or_init(named) == Some(check)
}

/// The check that the environment variable names, if it is set.
///
/// # Panics
/// When the variable names no check. Otherwise a misspelled name would test the unchanged program.
fn named() -> Option<Check> {
    let name = std::env::var(MUTANT).ok().filter(|name| !name.is_empty())?;
    let check = Check::ALL.iter().copied().find(|check| check.name() == name);
    assert!(check.is_some(), "{MUTANT}={name}: no check has this name");
    check
}

/// Runs tests of the calling test program again, each in a separate process with its check off.
/// Each must fail, and its output must contain the given text. The test itself has to prove that it
/// passes with the check on.
///
/// A test is given by the name of its function. If several files of the program have a test of this
/// name, the one in the calling file is used.
///
/// # Panics
/// When a test passes with its check off (the mutant survives), fails with another output, does not
/// end, or does not exist.
#[track_caller]
pub fn all_caught(mutants: &[(Check, &str, &str)]) {
    let (file, tests) = (std::panic::Location::caller().file(), listed());
    let missed: Vec<String> = mutants
        .iter()
        .filter_map(|(check, test, how)| {
            let why =
                path_of(test, file, &tests).and_then(|test| caught(*check, test, how)).err()?;
            Some(format!("{check:?}, {test}: {why}"))
        })
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

/// The module paths of all tests of the calling program.
#[expect(clippy::expect_used, reason = "a test's helper")]
fn listed() -> Vec<String> {
    let program = std::env::current_exe().expect("the path of the running program");
    let output = Command::new(program).args(["--list", "--format", "terse"]).output();
    let output = output.expect("the program can be started again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// The module path of the test function `test`. Tests in the source file `file` take precedence.
fn path_of<'a>(test: &str, file: &str, tests: &'a [String]) -> Result<&'a str, String> {
    if let Some(exact) = tests.iter().find(|path| *path == test) {
        return Ok(exact);
    }
    let module = std::path::Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
    let in_file = format!("{module}::{test}");
    let is_in = |path: &str, of: &str| path == of || path.ends_with(&format!("::{of}"));
    let named = |of: &str| -> Vec<&'a str> {
        tests.iter().map(String::as_str).filter(|path| is_in(path, of)).collect()
    };
    match (&named(&in_file)[..], &named(test)[..]) {
        ([only], _) | ([], [only]) => Ok(only),
        ([], []) => Err("there is no such test".to_owned()),
        (_, several) => Err(format!("several tests have this name: {several:?}")),
    }
}

fn caught(check: Check, test: &str, how: &str) -> Result<(), String> {
    let told = run(check, test)?;
    if !told.contains("running 1 test") {
        return Err("there is no such test".to_owned());
    }
    if !told.contains("test result: FAILED") {
        return Err("the test passes with the check off: the mutant survives".to_owned());
    }
    if !told.contains(how) {
        return Err(format!("the test fails, but its output does not contain {how:?}:\n{told}"));
    }
    Ok(())
}

/// Runs one test with the check off, and returns the output of the test program.
#[expect(clippy::expect_used, reason = "a test's helper")]
fn run(check: Check, test: &str) -> Result<String, String> {
    let program = std::env::current_exe().expect("the path of the running program");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(MUTANT, check.name());
    command.env("RUST_BACKTRACE", "0");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("the program can be started again");
    let (tell, told) = mpsc::channel();
    let mut out = running.stdout.take().expect("the output is piped");
    let mut errors = running.stderr.take().expect("the output is piped");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        // What could be read is shown; whether a test failed is read from the exit code.
        let _ = errors.read_to_string(&mut text);
        text
    });
    std::thread::spawn(move || {
        let mut text = String::new();
        // As above; and if no receiver is left, the time is over.
        let _ = out.read_to_string(&mut text);
        let _ = tell.send(text);
    });
    let text = told.recv_timeout(HANGS);
    // Both fail only if the program has ended already.
    let _ = running.kill();
    let _ = running.wait();
    let text = text.map_err(|_| "the test does not end within two minutes".to_owned())?;
    Ok(text + &reading.join().expect("the reader of errors ends"))
}

#[cfg(test)]
mod tests {
    use super::path_of;

    fn tests() -> Vec<String> {
        ["memory::a_fence", "sqlite::a_fence", "postgres::p_only", "inner::memory::deep", "plain"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn a_test_is_found_by_its_path_or_its_name_and_in_the_calling_file_first() {
        let tests = tests();
        let found = |test| path_of(test, "crates/store/tests/memory.rs", &tests);
        assert_eq!(found("plain"), Ok("plain"));
        assert_eq!(found("sqlite::a_fence"), Ok("sqlite::a_fence"));
        assert_eq!(found("a_fence"), Ok("memory::a_fence"));
        assert_eq!(found("p_only"), Ok("postgres::p_only"));
        assert_eq!(found("deep"), Ok("inner::memory::deep"));
    }

    #[test]
    fn a_name_that_no_test_has_or_that_several_have_is_refused() {
        let tests = tests();
        let found = |test| path_of(test, "tests/other.rs", &tests);
        assert_eq!(found("fence"), Err("there is no such test".to_owned()));
        assert!(found("a_fence").unwrap_err().contains("sqlite::a_fence"));
    }
}
