//! What running the examples came to.

use std::fmt;

use serde::Serialize;
use turnpike_plan::{Example, Subject};

/// Differences that are told of one example: past these, nobody reads on.
const DIFFERENCES_MAX: usize = 50;

/// What became of all examples of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExamplesReport {
    /// In the order of the plan.
    pub examples: Vec<ExampleReport>,
}

/// What became of one example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExampleReport {
    /// Its name.
    pub name: String,
    /// Line of the XML, from 1.
    pub line: u32,
    /// Records that were rated.
    pub records: usize,
    /// Lines that they made.
    pub lines: usize,
    /// What is not as expected; none when the example is fulfilled.
    pub differences: Vec<Difference>,
    /// Further differences that are only counted.
    pub more: usize,
}

/// One thing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: `line 12` of the plan, or `expected.csv:3`.
    pub at: String,
    /// The record concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The date on which something fell due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The component concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// What the example says.
    pub expected: String,
    /// What the plan does.
    pub found: String,
}

impl ExamplesReport {
    /// Does the plan do what all its examples say? Also when it has none.
    pub fn passed(&self) -> bool {
        self.examples.iter().all(ExampleReport::passed)
    }

    /// How many examples are not fulfilled.
    pub fn failed(&self) -> usize {
        self.examples.iter().filter(|example| !example.passed()).count()
    }
}

impl ExampleReport {
    pub(crate) fn of(example: &Example) -> Self {
        Self { name: example.name.clone(), line: example.line, ..Self::default() }
    }

    /// Is everything as the example says?
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }

    /// Notes a difference that concerns no record; at the example itself unless said.
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

    /// Notes a difference.
    pub(crate) fn differs(&mut self, difference: Difference) {
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(difference);
        } else {
            self.more += 1;
        }
    }
}

impl Difference {
    /// One that concerns this record or date, with nothing said yet.
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
    /// `two hours: ok, 1 record, 2 lines`; or `two hours: FAILED`, and each difference on a line.
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
    /// One example after the other.
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
