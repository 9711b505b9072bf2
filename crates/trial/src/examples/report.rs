//! The report on a plan's examples.

use std::fmt;

use serde::Serialize;
use turnpike_plan::{Example, Subject};

/// Maximum number of differences listed for one example.
const DIFFERENCES_MAX: usize = 50;

/// The results of all examples of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExamplesReport {
    /// The result of each example, in the order of the plan.
    pub examples: Vec<ExampleReport>,
}

/// The result of one example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExampleReport {
    /// The name of the example.
    pub name: String,
    /// The line of the example in the XML, from 1.
    pub line: u32,
    /// The number of records that were given to the plan.
    pub records: usize,
    /// The number of charge lines of these records and of due charges.
    pub lines: usize,
    /// The differences; empty if the example passed.
    pub differences: Vec<Difference>,
    /// The number of further differences, which are not listed.
    pub more: usize,
}

/// A difference between expectation and result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The position: `line 12` of the plan, or `expected.csv:3`.
    pub at: String,
    /// The record, if the difference concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The due date, if the difference concerns a due charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The component, if the difference concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The expectation in the example.
    pub expected: String,
    /// The result of the plan.
    pub found: String,
}

impl ExamplesReport {
    /// Whether all examples passed; true for a plan without examples.
    pub fn passed(&self) -> bool {
        self.examples.iter().all(ExampleReport::passed)
    }

    /// The number of failed examples.
    pub fn failed(&self) -> usize {
        self.examples.iter().filter(|example| !example.passed()).count()
    }
}

impl ExampleReport {
    pub(crate) fn of(example: &Example) -> Self {
        Self { name: example.name.clone(), line: example.line, ..Self::default() }
    }

    /// Whether the example has no differences.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }

    /// Adds a difference that names no record or date, at the position `at` or else at the example.
    pub(crate) fn fails(
        &mut self,
        at: Option<&str>,
        expected: impl Into<String>,
        found: impl ToString,
    ) {
        let at = at.map_or_else(|| format!("line {}", self.line), str::to_owned);
        let (expected, found) = (expected.into(), found.to_string());
        self.differs(Difference { expected, found, ..Difference::at(at, None) });
    }

    /// Adds a difference.
    pub(crate) fn differs(&mut self, difference: Difference) {
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(difference);
        } else {
            self.more += 1;
        }
    }
}

impl Difference {
    /// A difference for this record or date, with empty texts.
    pub(crate) fn at(at: String, of: Option<&Subject>) -> Self {
        let (record, due) = match of {
            Some(Subject::Record(id)) => (Some(id.clone()), None),
            Some(Subject::Due(date)) => (None, Some(date.to_string())),
            None => (None, None),
        };
        Self { at, record, due, component: None, expected: String::new(), found: String::new() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        let named = [("record", &self.record), ("due", &self.due), ("component", &self.component)];
        let named = named.iter().filter_map(|(what, name)| Some((*what, name.as_ref()?)));
        let mut between = "";
        for (what, name) in named {
            write!(f, "{between}{what} {name}")?;
            between = ", ";
        }
        if !between.is_empty() {
            f.write_str(": ")?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl fmt::Display for ExampleReport {
    /// Writes `two hours: ok, 1 record, 2 lines`; or `two hours: FAILED`, with one line per
    /// difference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed() {
            let plural = |count: usize| if count == 1 { "" } else { "s" };
            let Self { name, records, lines, .. } = self;
            let (r, l) = (plural(*records), plural(*lines));
            return write!(f, "{name}: ok, {records} record{r}, {lines} line{l}");
        }
        write!(f, "{}: FAILED", self.name)?;
        for difference in &self.differences {
            write!(f, "\n  {difference}")?;
        }
        if self.more > 0 {
            write!(f, "\n  … and {} more", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for ExamplesReport {
    /// Writes the reports of the examples in order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, example) in self.examples.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            example.fmt(f)?;
        }
        Ok(())
    }
}
