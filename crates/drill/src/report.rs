//! The report on a drill, as a table and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::Counts;
use crate::clock::{Micros, millis};
use crate::observations::BatchAnswer;
use crate::pause::{InjectedFault, Pause, Quantiles};
use crate::watch::ObservedOwnership;

/// The verdict on a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The scenario is not possible with this database.
    LeftOut,
    /// All checks passed and all targets were met.
    Passed,
    /// All checks passed, but a pause was longer than its target.
    TargetMissed,
    /// A process ended without the drill's doing, so the checks say nothing.
    NotJudged,
    /// A check failed: a record was lost, doubled or refused, or an invariant was violated.
    Violated,
}

impl Verdict {
    /// The verdict as text.
    pub const fn word(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Passed => "passed",
            Self::TargetMissed => "TARGET MISSED",
            Self::NotJudged => "COULD NOT BE JUDGED",
            Self::Violated => "VIOLATED",
        }
    }

    /// Whether the report has figures.
    pub const fn has_figures(self) -> bool {
        match self {
            Self::LeftOut | Self::NotJudged => false,
            Self::Passed | Self::TargetMissed | Self::Violated => true,
        }
    }
}

/// A limit on pauses, with the measured value.
#[derive(Clone, Debug, Serialize)]
pub struct TargetReport {
    /// The statistic: `p50`, `p99`, `max`.
    pub of: &'static str,
    /// The limit in milliseconds.
    pub limit_ms: f64,
    /// The measured value in milliseconds.
    pub measured_ms: f64,
    /// Whether the measured value is within the limit.
    pub met: bool,
}

/// The report on one fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// The description.
    pub what: String,
    /// The start of the fault, in milliseconds since the load began.
    pub at_ms: f64,
    /// The end of the fault, in milliseconds since the load began.
    pub until_ms: f64,
    /// The pause of each partition in milliseconds; `None` if the partition was not served again.
    pub pauses_ms: BTreeMap<u32, Option<f64>>,
}

/// The report on one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: &'static str,
    /// The faults, as text.
    pub help: &'static str,
    /// The condition that must hold.
    pub holds: &'static str,
    /// The tested invariants and rules, by their numbers in docs/protocol.md.
    pub proves: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The reasons if the verdict is not [`Verdict::Passed`].
    pub why: Vec<String>,
    /// The kind of database.
    pub database: &'static str,
    /// The duration of the load, in seconds.
    pub seconds: f64,
    /// The injected faults.
    pub faults: Vec<FaultReport>,
    /// The pauses of clients.
    pub pauses: Quantiles,
    /// The limits on pauses.
    pub targets: Vec<TargetReport>,
    /// The waits of all batches, from due time to answer.
    pub waits: Quantiles,
    /// The outcomes of the records.
    pub records: Counts,
    /// The number of records that were suspended or rejected.
    pub refused: u64,
    /// The number of answers RETRY to batches.
    pub retries: u64,
    /// The number of client streams that broke.
    pub broken_streams: u64,
    /// The number of observed changes of ownership.
    pub takeovers: u64,
    /// The events, for the HTML page.
    #[serde(skip)]
    pub timeline: Timeline,
}

/// The events of a scenario over time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The start of the load, on the clock of the drill.
    pub from: Micros,
    /// The time at which all batches were answered.
    pub until: Micros,
    /// All answers.
    pub answers: Vec<BatchAnswer>,
    /// All faults.
    pub faults: Vec<InjectedFault>,
    /// All pauses.
    pub pauses: Vec<Pause>,
    /// The owners of the partitions.
    pub ownerships: Vec<ObservedOwnership>,
}

impl Report {
    /// The number of faults that affected a partition. The death of a node that owned none is no
    /// fault to any client.
    pub fn effective_faults(&self) -> usize {
        self.faults.iter().filter(|fault| !fault.pauses_ms.is_empty()).count()
    }
}

impl Timeline {
    /// The fault with the longest finite pause, and that pause.
    pub fn worst(&self) -> Option<(&InjectedFault, Micros)> {
        let ended = self.pauses.iter().filter_map(|pause| Some((pause.fault, pause.micros?)));
        let (fault, pause) = ended.max_by_key(|(_, micros)| *micros)?;
        Some((self.faults.get(fault)?, pause))
    }

    /// The faults with their pauses.
    pub fn faults(&self) -> Vec<FaultReport> {
        let relative = |at: Micros| millis(at.saturating_sub(self.from));
        let report = |(place, fault): (usize, &InjectedFault)| FaultReport {
            what: fault.what.clone(),
            at_ms: relative(fault.at),
            until_ms: relative(fault.until),
            pauses_ms: self
                .pauses
                .iter()
                .filter(|pause| pause.fault == place)
                .map(|pause| (pause.partition, pause.micros.map(millis)))
                .collect(),
        };
        self.faults.iter().enumerate().map(report).collect()
    }
}

const HEADER: [&str; 12] = [
    "SCENARIO", "FAULTS", "P50", "P99", "MAX", "SENT", "ACCEPTED", "RATED", "LOST", "DOUBLED",
    "TARGETS", "RESULT",
];

/// Renders the final table.
pub fn table(reports: &[Report]) -> String {
    let mut rows: Vec<Vec<String>> = vec![HEADER.map(str::to_owned).to_vec()];
    rows.extend(reports.iter().map(row));
    let widths: Vec<usize> = (0..HEADER.len())
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            let is_number = (1..10).contains(&column);
            if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(report: &Report) -> Vec<String> {
    let Report { pauses, records, .. } = report;
    let mut cells = vec![report.scenario.to_owned()];
    if !report.verdict.has_figures() {
        cells.extend((2..HEADER.len()).map(|_| "-".to_owned()));
    } else {
        cells.push(report.effective_faults().to_string());
        cells.extend([pauses.p50_ms, pauses.p99_ms, pauses.max_ms].map(show_ms));
        let Counts { sent, accepted, rated, lost, doubled, .. } = *records;
        cells.extend([sent, accepted, rated, lost, doubled].map(|count| count.to_string()));
        let target = |target: &TargetReport| {
            let sign = if target.met { "<=" } else { "OVER" };
            format!("{} {sign} {}", target.of, show_ms(target.limit_ms))
        };
        cells.push(report.targets.iter().map(target).collect::<Vec<_>>().join(", "));
    }
    cells.push(report.verdict.word().to_owned());
    cells
}

/// Formats milliseconds: `87 ms`, `12.5 s` from ten seconds on, `never` for a pause without an end.
pub fn show_ms(ms: f64) -> String {
    if ms > 1e9 {
        "never".to_owned()
    } else if ms >= 9_999.5 {
        format!("{:.1} s", ms / 1_000.0)
    } else {
        format!("{ms:.0} ms")
    }
}
