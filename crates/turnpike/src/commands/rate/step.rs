//! `turnpike rate --step`: shows the evaluation of each record, primitive by primitive.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write};
use std::path::Path;

use turnpike_plan::Plan;
use turnpike_trial::{FellDue, Stepped, Stepper, TrialCatalogue, TrialOutcome};

use crate::exit::usage;

/// The most bytes of an answer that are read at once.
const ANSWER_BYTES_MAX: u64 = 1_024;
const HELP: &str =
    "n or Enter: next primitive   c: continue to the next breakpoint   r: next record   q: quit";

/// Which steps are shown next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepMode {
    /// Stop at every primitive.
    Each,
    /// Stop at breakpoints only.
    ToBreakpoint,
    /// Show nothing until the next record.
    NextRecord,
    /// Show nothing more.
    Over,
}

/// Shows steps; at a terminal it waits for a key between them.
pub(super) struct Walk<R, W> {
    /// The input for commands; `None` without a terminal.
    keys: Option<R>,
    out: W,
    json: bool,
    /// The ids and types of primitives at which the walk stops.
    breakpoints: Vec<String>,
    mode: StepMode,
    /// The record that was shown last.
    record: Option<String>,
    failed: Option<io::Error>,
}

/// A [`Walk`] with this process's standard input and output; interactive at a terminal.
pub(super) fn at_terminal(
    json: bool,
    breakpoints: Vec<String>,
    usage: &Path,
) -> Walk<io::StdinLock<'static>, io::StdoutLock<'static>> {
    let asks = io::stdin().is_terminal() && usage != Path::new("-") && !json;
    let keys = asks.then(|| io::stdin().lock());
    Walk::new(keys, io::stdout().lock(), json, breakpoints)
}

/// Checks that each breakpoint is the id or the type of a primitive.
///
/// # Errors
/// A breakpoint that would never be reached.
pub(super) fn check_breakpoints(
    breakpoints: &[String],
    catalogue: &TrialCatalogue,
) -> anyhow::Result<()> {
    let known = |name: &str| {
        let mut primitives = catalogue.plans().flat_map(Plan::primitives);
        primitives.any(|primitive| primitive.id == name || primitive.kind == name)
    };
    match breakpoints.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => {
            Err(usage(format!("--break {name}: no plan has a primitive of this id or type")))
        }
    }
}

impl<R: BufRead, W: Write> Walk<R, W> {
    pub(super) fn new(keys: Option<R>, out: W, json: bool, breakpoints: Vec<String>) -> Self {
        let mode = if breakpoints.is_empty() { StepMode::Each } else { StepMode::ToBreakpoint };
        Self { keys, out, json, breakpoints, mode, record: None, failed: None }
    }

    /// Whether the user has quit.
    pub(super) fn is_over(&self) -> bool {
        self.mode == StepMode::Over
    }

    /// Shows the outcome of a record.
    ///
    /// # Errors
    /// When the output can't be written, such as a closed pipe.
    pub(super) fn outcome(&mut self, record: &str, outcome: &TrialOutcome<'_>) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.mode == StepMode::NextRecord {
            self.mode =
                if self.breakpoints.is_empty() { StepMode::Each } else { StepMode::ToBreakpoint };
        }
        let text = match outcome {
            TrialOutcome::Rated(charges) => {
                let lines = charges.rated().lines.len();
                let late = if charges.is_late() { ", late" } else { "" };
                format!("rated{late}, {lines} line{}", if lines == 1 { "" } else { "s" })
            }
            TrialOutcome::Suspended(waits) => format!("suspended, {waits}"),
            TrialOutcome::Duplicate(line) => format!("the same as on line {line}"),
            TrialOutcome::Conflict(line) => format!("rejected, conflict with line {line}"),
        };
        match (self.json, self.mode) {
            (true, _) | (_, StepMode::Over) => Ok(()),
            _ => writeln!(self.out, "record {record}: {text}\n"),
        }
    }

    /// Shows each due charge, after the steps of the primitives that produced it.
    ///
    /// # Errors
    /// When the output can't be written, such as a closed pipe.
    pub(super) fn fell_due(&mut self, dues: &[FellDue]) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.json || self.mode == StepMode::Over {
            return Ok(());
        }
        self.record = None;
        for due in dues {
            let FellDue { account, what, .. } = due;
            writeln!(self.out, "account {account}, {what} due {}", due.date())?;
            match due.charges() {
                Ok(charges) => {
                    for charge in charges.iter() {
                        let (component, amount) = (charge.component, charge.line.amount);
                        let (name, currency) = (&component.component, component.currency);
                        writeln!(self.out, "  books {name}: {amount} {currency}")?;
                    }
                }
                Err(reason) => writeln!(self.out, "  not booked, {reason}")?,
            }
        }
        Ok(())
    }

    fn is_breakpoint(&self, step: &Stepped) -> bool {
        self.breakpoints.iter().any(|name| *name == step.primitive || *name == step.kind)
    }

    fn show(&mut self, step: &Stepped) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.out, step)?;
            return self.out.write_all(b"\n");
        }
        if self.record.as_ref() != Some(&step.record) {
            let Stepped { record, plan, version, .. } = step;
            writeln!(self.out, "record {record} through plan {plan} version {version}")?;
            self.record = Some(record.clone());
        }
        writeln!(self.out, "{step}")
    }

    /// Reads the next command from the terminal.
    fn ask(&mut self) -> io::Result<()> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        loop {
            write!(self.out, "(n c r q, h for help) ")?;
            self.out.flush()?;
            let mut answer = String::new();
            let ended = keys.by_ref().take(ANSWER_BYTES_MAX).read_line(&mut answer)? == 0;
            self.mode = match answer.trim() {
                _ if ended => StepMode::Over,
                "" | "n" => StepMode::Each,
                "c" => StepMode::ToBreakpoint,
                "r" => StepMode::NextRecord,
                "q" => StepMode::Over,
                _ => {
                    writeln!(self.out, "{HELP}")?;
                    continue;
                }
            };
            return Ok(());
        }
    }

    fn take(&mut self, step: &Stepped) -> io::Result<()> {
        let stops = match self.mode {
            StepMode::Each => true,
            StepMode::ToBreakpoint => self.is_breakpoint(step),
            StepMode::NextRecord | StepMode::Over => false,
        };
        // Without breakpoints, `c` shows all remaining steps without a stop.
        let passes = self.mode == StepMode::ToBreakpoint && self.breakpoints.is_empty();
        if stops || passes {
            self.show(step)?;
        }
        if stops { self.ask() } else { Ok(()) }
    }
}

impl<R: BufRead, W: Write> Stepper for Walk<R, W> {
    fn step(&mut self, step: &Stepped) {
        if self.failed.is_none() {
            self.failed = self.take(step).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(record: &str, primitive: &str, kind: &str) -> Stepped {
        Stepped {
            record: record.to_owned(),
            plan: "p".to_owned(),
            version: 1,
            primitive: primitive.to_owned(),
            kind: kind.to_owned(),
            line: 5,
            inputs: Vec::new(),
            outputs: Vec::new(),
            booked: Vec::new(),
            moved: Vec::new(),
            variables: Vec::new(),
            suspended: None,
            detail: None,
        }
    }

    /// Sends two records through three primitives. Returns the ids of the primitives that were
    /// shown.
    fn shown(keys: Option<&str>, breakpoints: &[&str]) -> String {
        let mut out = Vec::new();
        let breakpoints = breakpoints.iter().map(|&name| name.to_owned()).collect();
        let mut walk = Walk::new(keys.map(str::as_bytes), &mut out, false, breakpoints);
        let no_plan = turnpike_types::SuspenseReason::NoPlan.into();
        let suspended = TrialOutcome::Suspended(&no_plan);
        for record in ["r1", "r2"] {
            for (id, kind) in [("a", "Adder"), ("b", "StepRater"), ("c", "StepRater")] {
                walk.step(&step(record, id, kind));
            }
            walk.outcome(record, &suspended).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        let ids = text.lines().filter_map(|line| line.split_once(" (A").or(line.split_once(" (S")));
        ids.map(|(id, _)| id.rsplit(' ').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn through_a_pipe_everything_is_shown_or_what_the_breakpoints_name() {
        assert_eq!(shown(None, &[]), "abcabc");
        assert_eq!(shown(None, &["b"]), "bb");
        assert_eq!(shown(None, &["StepRater"]), "bcbc");
        assert_eq!(shown(None, &["a", "c"]), "acac");
    }

    #[test]
    fn at_a_terminal_each_answer_continues_in_its_own_way() {
        assert_eq!(shown(Some("\nn\nq\n"), &[]), "abc");
        assert_eq!(shown(Some("r\nq\n"), &[]), "aa");
        assert_eq!(shown(Some("c\n"), &[]), "abcabc", "nothing to stop at");
        assert_eq!(shown(Some(""), &[]), "a", "the input has ended");
        assert_eq!(shown(Some("what?\nq\n"), &[]), "a", "help, then another question");
        // `c` continues to the next breakpoint, and `n` to the next primitive.
        assert_eq!(shown(Some("c\nn\nq\n"), &["b"]), "bbc");
        assert_eq!(shown(Some("r\nq\n"), &["StepRater"]), "bb");
    }

    #[test]
    fn the_renderer_shows_the_account_of_the_record_and_its_outcome() {
        let mut out = Vec::new();
        let mut walk = Walk::new(None::<&[u8]>, &mut out, false, Vec::new());
        walk.step(&step("r1", "a", "Adder"));
        walk.outcome("r1", &TrialOutcome::Duplicate(7)).unwrap();
        let said = "record r1 through plan p version 1\na (Adder, line 5)\nrecord r1: the same as on line 7\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), said);
    }

    #[test]
    fn as_json_a_step_is_a_line() {
        let mut out = Vec::new();
        let mut walk = Walk::new(None::<&[u8]>, &mut out, true, Vec::new());
        walk.step(&step("r1", "a", "Adder"));
        walk.step(&step("r1", "b", "StepRater"));
        walk.outcome("r1", &TrialOutcome::Duplicate(7)).unwrap();
        let lines = String::from_utf8(out).unwrap();
        let types: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].take())
            .collect();
        assert_eq!(types, ["Adder", "StepRater"]);
    }
}
