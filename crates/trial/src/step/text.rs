//! The text form of a step.

use std::fmt;

use super::{Booked, Moved, Port, Stepped, UnitRange, VariableChange};

/// Maximum number of ranges shown for one port.
const RUNS_MAX: usize = 8;

impl fmt::Display for Stepped {
    /// The primitive on one line, and its effects on the lines below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, line {})", self.primitive, self.kind, self.line)?;
        for port in &self.inputs {
            write!(f, "\n  takes {port}")?;
        }
        for port in &self.outputs {
            write!(f, "\n  gives {port}")?;
        }
        for line in &self.booked {
            write!(f, "\n  books line {line}")?;
        }
        for line in &self.moved {
            write!(f, "\n  moves line {line}")?;
        }
        for variable in &self.variables {
            write!(f, "\n  sets  {variable}")?;
        }
        if let Some(reason) = self.suspended {
            write!(f, "\n  the record is suspended: {reason}")?;
            if let Some(detail) = &self.detail {
                write!(f, ": {detail}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.port)?;
        if self.runs.is_empty() {
            return f.write_str(if self.empty_record {
                "a record without units"
            } else {
                "nothing"
            });
        }
        for (place, run) in self.runs.iter().take(RUNS_MAX).enumerate() {
            let between = if place == 0 { "" } else { "\n              " };
            write!(f, "{between}{run}")?;
        }
        match self.runs.len().saturating_sub(RUNS_MAX) {
            0 => Ok(()),
            more => write!(f, "\n              … and {more} more"),
        }
    }
}

impl fmt::Display for UnitRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quantity)?;
        if self.times != 1 {
            write!(f, ", each {} times", self.times)?;
        }
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if from == to => write!(f, " at {from}"),
            (Some(from), Some(to)) => write!(f, " from {from} to {to}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Booked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, component, kind, quantity, price, amount, currency, .. } = self;
        write!(f, "{number}: {component}, {kind}")?;
        if quantity != "0" && quantity != "0 s" && quantity != "0 B" {
            write!(f, ", {quantity}")?;
        }
        write!(f, " at {price}: {amount} {currency}")?;
        if !self.period.is_empty() {
            write!(f, ", period {}", self.period)?;
        }
        if let Some((before, after)) = &self.level {
            write!(f, ", level {before} to {after}")?;
        }
        if let Some(of) = self.of {
            write!(f, ", derived from line {of}")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        if self.posting == "account" { Ok(()) } else { write!(f, ", {}", self.posting) }
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} now, {} before", self.number, self.after, self.before)
    }
}

impl fmt::Display for VariableChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, period_words, before_words, after_words, .. } = self;
        f.write_str(variable)?;
        if !period_words.is_empty() {
            write!(f, " of {period_words}")?;
        }
        write!(f, " from {before_words} to {after_words}")
    }
}
