//! The text form of a difference.

use std::fmt;

use super::plan_diff::{Changed, PlanChange, PlanDiff};

impl fmt::Display for PlanDiff {
    /// Writes one line per change, marked `+`, `-` or `~`, and the warnings last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {} -> {}", self.before, self.after)?;
        if self.text_only {
            writeln!(f, "  no difference but in comments or order")?;
        } else if self.is_empty() {
            writeln!(f, "  no difference")?;
        }
        for change in &self.head {
            writeln!(f, "  ~ {change}")?;
        }
        section(f, "parameters", &self.parameters)?;
        section(f, "primitives", &self.primitives)?;
        if !self.prices.is_empty() {
            writeln!(f, "prices")?;
        }
        for price in &self.prices {
            let (before, after) = (price.before.clone(), price.after.clone());
            let what = match &price.component {
                own if *own == price.primitive => own.clone(),
                step => format!("{}/{step}", price.primitive),
            };
            let change = Changed { what, before, after };
            writeln!(f, "  {} {change}", change.mark())?;
        }
        section(f, "examples", &self.examples)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, changes: &[PlanChange]) -> fmt::Result {
    if !changes.is_empty() {
        writeln!(f, "{title}")?;
    }
    for PlanChange { id, kind, how, details } in changes {
        let mark = match *how {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        writeln!(f, "  {mark} {id} ({kind})")?;
        for detail in details.iter().filter(|detail| mark == '~' || detail.what != "type") {
            writeln!(f, "      {detail}")?;
        }
    }
    Ok(())
}

impl Changed {
    const fn mark(&self) -> char {
        match (&self.before, &self.after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        }
    }
}

impl fmt::Display for Changed {
    /// Writes `upto of step free: 100 h -> 50 h`; without an arrow if only the second plan has the
    /// value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{what}: {before} -> {after}"),
            (Some(only), None) => write!(f, "{what}: {only} -> (none)"),
            (None, Some(only)) => write!(f, "{what}: {only}"),
            (None, None) => f.write_str(what),
        }
    }
}
