//! The switch, and the proof that a test notices it.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use crate::Line;

/// The environment variable that names the line that is off.
pub const MUTANT: &str = "TURNPIKE_MUTANT";

/// A test that takes longer hangs.
const HANGS: Duration = Duration::from_secs(120);

/// Is this line switched off in this process? Never in one that was built for a release.
pub fn off(line: Line) -> bool {
    static OFF: OnceLock<Option<Line>> = OnceLock::new();
    cfg!(debug_assertions) && *OFF.get_or_init(named) == Some(line)
}

/// # Panics
/// When the variable names no line: whoever wrote it would look at a program that is whole.
fn named() -> Option<Line> {
    let name = std::env::var(MUTANT).ok().filter(|name| !name.is_empty())?;
    let line = Line::ALL.iter().copied().find(|line| line.name() == name);
    assert!(line.is_some(), "{MUTANT}={name}: there is no such line");
    line
}

/// Runs tests of the calling test program again, each with its line off and in a process of its own:
/// each must fail, and say how. That it passes with the line on is its own business.
///
/// # Panics
/// When a mutant survives, when a test fails in another way, and when it does not end.
pub fn all_caught(mutants: &[(Line, &str, &str)]) {
    let missed: Vec<String> = mutants
        .iter()
        .filter_map(|(line, test, how)| {
            let why = caught(*line, test, how).err()?;
            Some(format!("{line:?}, {test}: {why}"))
        })
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

fn caught(line: Line, test: &str, how: &str) -> Result<(), String> {
    let told = run(line, test)?;
    if !told.contains("running 1 test") {
        return Err("there is no such test".to_owned());
    }
    if !told.contains("test result: FAILED") {
        return Err("it survives".to_owned());
    }
    if !told.contains(how) {
        return Err(format!("it does not fall by {how:?}, but by:\n{told}"));
    }
    Ok(())
}

/// What the test program says.
#[expect(clippy::expect_used, reason = "a test's helper")]
fn run(line: Line, test: &str) -> Result<String, String> {
    let program = std::env::current_exe().expect("a program knows where it is");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(MUTANT, line.name());
    command.env("RUST_BACKTRACE", "0");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("a program starts once more");
    let (tell, told) = mpsc::channel();
    let mut out = running.stdout.take().expect("it is piped");
    let mut errors = running.stderr.take().expect("it is piped");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        let _ = tell.send(text);
    });
    let text = told.recv_timeout(HANGS);
    let _ = running.kill();
    let _ = running.wait();
    let text = text.map_err(|_| "it does not end".to_owned())?;
    Ok(text + &reading.join().unwrap_or_default())
}
