//! Runs one seed in a separate process.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use turnpike_mutants::{Check, MUTANT};

/// The time after which a run is killed. A run takes less than a second, unless virtual time does
/// not advance.
const STUCK: Duration = Duration::from_secs(60);

/// The check that the environment variable [`MUTANT`] names, if it is set. It is off in all runs; a
/// developer uses this to search for seeds that fail.
pub(crate) fn named() -> Option<Check> {
    let name = std::env::var(MUTANT).ok()?;
    Some(*Check::ALL.iter().find(|check| check.name() == name).expect("the name of a check"))
}

/// Runs one seed. Only a separate process makes it possible to control all random numbers of the
/// run, and to switch a check off for this run alone.
pub(crate) fn child(seed: u64, quiet: bool, mutant: Option<Check>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "one", "--nocapture"]).env("SEED", seed.to_string());
    if quiet {
        command.env("QUIET", "1");
    } else {
        command.env_remove("QUIET");
    }
    match mutant {
        Some(check) => command.env(MUTANT, check.name()),
        None => command.env_remove(MUTANT),
    };
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let watched = running.id();
    let (done, over) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if over.recv_timeout(STUCK) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-9", &watched.to_string()]).status();
        }
    });
    let mut output = Output { status: Default::default(), stdout: Vec::new(), stderr: Vec::new() };
    let errors = running.stderr.take().unwrap();
    let reading = std::thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    running.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
    output.status = running.wait().unwrap();
    drop(done);
    watch.join().unwrap();
    output.stderr = reading.join().unwrap().into_bytes();
    output
}
