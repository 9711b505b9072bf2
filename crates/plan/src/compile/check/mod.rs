//! Checks that a graph is sound, in this order: wiring, order, units, currencies. Each step assumes
//! that the earlier ones passed.
//!
//! ```text
//! primitives -> wiring.rs   links to existing ports, no open port, each charge consumed once
//!            -> order.rs    no cycle; topological order, ties by document order
//!            -> units.rs    one measure for each flow; measures.rs: the unit of the measure
//!            -> paths.rs    no mixed currencies; warnings of units that count twice
//!            -> fees.rs     warnings of connection fees that one call is charged twice
//! ```

pub(crate) mod fees;
mod groups;
mod measures;
mod order;
mod paths;
mod units;
mod wiring;

pub(crate) use measures::no_time;
pub(crate) use units::Flows;
pub(crate) use wiring::{LinkSource, Wiring};

use turnpike_types::Currency;

use crate::language::document::Document;
use crate::language::findings::Findings;
use crate::language::graph::Primitive;

/// The results of the checks, for code generation.
pub(crate) struct Checked {
    pub(crate) wiring: Wiring,
    /// Primitives in topological order, ties by document order.
    pub(crate) order: Vec<usize>,
    pub(crate) flows: Flows,
    /// The currency of the charges that leave each primitive, by index.
    pub(crate) charged: Vec<Currency>,
    /// The currency that is posted to the account.
    pub(crate) posts: Currency,
}

/// Checks the graph; `None`, with findings, when it is not sound.
pub(crate) fn check(
    document: &Document,
    primitives: &[Primitive],
    findings: &mut Findings,
) -> Option<Checked> {
    let wiring = Wiring::of(document, primitives, findings);
    let order = order::topological(primitives, &wiring, findings)?;
    if !findings.clean() {
        return None;
    }
    let flows = Flows::of(document, primitives, &wiring, &order, findings);
    let paths::Paths { certain, charged, posts } =
        paths::check(document, primitives, &wiring, &order, findings);
    fees::check(primitives, &wiring, &flows.label, &certain, findings);
    findings.clean().then_some(Checked { wiring, order, flows, charged, posts })
}
